"""A run of an encoder's recipe: export, compress, embed, time, and the record of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from quantcurve import encoder_contract, machine
from quantcurve.encoder_contract import MeasuredEncoder
from quantcurve.encoder_quality import Embeddings, quality
from quantcurve.encoder_recipe import EncoderRecipe, LoadedEncoder, at, refuse
from quantcurve.encoder_results import (
    EncoderLatency,
    EncoderResult,
    EncoderVariantResult,
    EncoderWorkload,
    TextSetResult,
)
from quantcurve.encoder_texts import EncoderTexts, Sentences, hash_of, load_texts
from quantcurve.engines import openvino
from quantcurve.errors import BackendError
from quantcurve.estimates import Missing
from quantcurve.recipe_openvino import OpenVinoVariant
from quantcurve.session import Session
from quantcurve.stages import accuracy_control, encoder, encoder_control, encoder_embed, encoder_latency
from quantcurve.stages.export import failed
from quantcurve.stages.resolve import Failed
from quantcurve.verdicts import VariantVerdict


def run(loaded: LoadedEncoder, session: Session) -> EncoderResult:
    """Run an encoder's recipe: everything already in the store is read, the rest is made.

    Raises:
        RecipeError: a source or a text of the recipe is wrong.
        PrerequisiteError: something is missing on this machine.
        BackendError: the reference cannot be made or measured; what fails for one variant is in its result.
    """
    openvino.require()
    texts = load_texts(loaded)
    check(loaded, texts)
    with session.store.in_use():
        return _run(loaded, texts, session)


def check(loaded: LoadedEncoder, texts: EncoderTexts) -> None:
    """Look at the contract's domains, load the validation function and draw its items, before anything is made.

    Raises:
        RecipeError: a budget on a domain that is not there, the function cannot be loaded, or there are too few pairs.
    """
    refuse(loaded, texts.retrieval.domains)
    if any(v.accuracy_control for v in loaded.recipe.variants.openvino):
        encoder_control.prepare(loaded, texts.pairs, context_tokens=0)


def workload_of(recipe: EncoderRecipe) -> EncoderWorkload | None:
    """What is timed, if anything is."""
    bench = recipe.benchmark
    if bench is None:
        return None
    return EncoderWorkload(tokens=bench.tokens, batch=bench.batch, passes=bench.passes, seed=recipe.seed)


def _run(loaded: LoadedEncoder, texts: EncoderTexts, session: Session) -> EncoderResult:
    recipe = loaded.recipe
    with session.timed("export"), at(loaded, "model", "source"):
        source = encoder.locate(recipe.model.source, loaded.path.parent, session)
        reference = encoder.export(source, session)
    with session.timed("compress"), at(loaded, "variants", "openvino"):
        made = _variants(reference, loaded, texts, session)
    irs = [reference, *(m for m in made if not isinstance(m, Failed))]
    with session.timed("embed"):
        judged, lost = _embedded(irs, texts, session)
    timed = [ir for ir in irs if ir.name in judged]
    bench, workload = recipe.benchmark, workload_of(recipe)
    with session.timed("benchmark"):
        latency = (
            encoder_latency.measure(timed, workload, bench.repetitions, bench.benchmark_app, session)
            if bench and workload
            else {}
        )
    results = [_result(item, lost, judged, reference, loaded, latency) for item in [reference, *made]]
    verdicts = _verdicts(recipe, timed, {name: embeddings for name, (embeddings, _) in judged.items()}, latency)
    assert session.openvino
    return EncoderResult(
        name=recipe.name,
        model=source.description,
        model_hash=source.content_hash,
        pipeline=reference.step.pipeline.describe(),
        reference=results[0],
        variants=tuple(r.model_copy(update={"verdict": verdicts.get(r.name)}) for r in results[1:]),
        similarity=_set(texts.pairs.source, [*texts.pairs.first, *texts.pairs.second], len(texts.pairs.first)),
        retrieval=_set(
            texts.retrieval.source, texts.judged, len(texts.retrieval.queries), len(texts.retrieval.passages)
        ),
        calibration=_calibration(texts),
        workload=workload,
        engine=session.openvino,
        machine=machine.facts(),
        threads=session.threads,
        seed=recipe.seed,
        stages=session.stage_times(),
        recipe_text=loaded.text,
    )


def _variants(
    reference: encoder.EncoderIr, loaded: LoadedEncoder, texts: EncoderTexts, session: Session
) -> list[encoder.EncoderIr | Failed]:
    entries = loaded.recipe.variants.openvino
    with accuracy_control.references(reference.path, session) as references:

        def controlled(entry: OpenVinoVariant, sentences: Sentences) -> encoder.EncoderIr:
            prepared = encoder_control.prepare(loaded, texts.pairs, reference.step.pipeline.max_tokens)
            with session.timed(accuracy_control.STAGE):
                return encoder_control.control(reference, entry, sentences, prepared, references, session)

        return encoder.compress(reference, entries, texts.sentences, session, controlled)


def _embedded(
    irs: Sequence[encoder.EncoderIr], texts: EncoderTexts, session: Session
) -> tuple[dict[str, tuple[Embeddings, encoder_embed.Embedded]], dict[str, Failed]]:
    """What every model made of the texts, by name; the reference must embed them, others may fail."""
    found: dict[str, tuple[Embeddings, encoder_embed.Embedded]] = {}
    lost: dict[str, Failed] = {}
    for ir in irs:
        try:
            embedded = encoder_embed.embed(ir, texts.judged, session)
        except BackendError as error:
            if ir.entry is None:
                raise
            lost[ir.name] = failed(ir.name, error, session.log(ir.name))
            continue
        found[ir.name] = Embeddings(texts, dict(zip(texts.judged, embedded.rows, strict=True))), embedded
    return found, lost


def _result(
    item: encoder.EncoderIr | Failed,
    lost: dict[str, Failed],
    judged: dict[str, tuple[Embeddings, encoder_embed.Embedded]],
    reference: encoder.EncoderIr,
    loaded: LoadedEncoder,
    latency: dict[str, EncoderLatency | Missing],
) -> EncoderVariantResult:
    lacking = item if isinstance(item, Failed) else lost.get(item.name)
    if lacking:
        return EncoderVariantResult(name=lacking.name, status="failed", reason=lacking.reason, log=lacking.log)
    assert not isinstance(item, Failed)
    own, embedded = judged[item.name]
    base = None if item.entry is None else judged[reference.name][0]
    return EncoderVariantResult(
        name=item.name,
        status="measured",
        weights=item.entry.weights if item.entry else "",
        file=item.step.file,
        config=embedded.config,
        quality=quality(own, base, loaded.recipe.retrieval.depths, loaded.recipe.seed),
        latency=latency.get(item.name),
        accuracy_control=item.step.control,
    )


def _verdicts(
    recipe: EncoderRecipe,
    irs: Sequence[encoder.EncoderIr],
    embeddings: Mapping[str, Embeddings],
    latency: Mapping[str, EncoderLatency | Missing],
) -> dict[str, VariantVerdict]:
    """Of all variants that made embeddings; the reference comes first."""
    reference, *variants = (
        MeasuredEncoder(embeddings[ir.name], ir.step.file.size_bytes, latency.get(ir.name)) for ir in irs
    )
    names = [ir.name for ir in irs[1:]]
    return encoder_contract.judge(recipe, reference, dict(zip(names, variants, strict=True)))


def _set(source: str, texts: Sequence[str], items: int, passages: int = 0) -> TextSetResult:
    return TextSetResult(source=source, content_hash=hash_of(texts), items=items, passages=passages)


def _calibration(texts: EncoderTexts) -> TextSetResult | None:
    found = texts.sentences
    if found is None:
        return None
    return TextSetResult(
        source=found.source, content_hash=hash_of(found.texts), items=len(found.texts), left_out=found.left_out
    )
