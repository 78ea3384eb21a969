"""A run of an encoder's recipe: export, compress, embed, time, and the record of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from quantcurve import machine
from quantcurve.encoder_recipe import EncoderRecipe, LoadedEncoder, at
from quantcurve.encoder_results import (
    AtDepth,
    Drift,
    EncoderLatency,
    EncoderQuality,
    EncoderResult,
    EncoderVariantResult,
    EncoderWorkload,
    RankingFigures,
    TextSetResult,
    WorstText,
)
from quantcurve.encoder_texts import ALL, EncoderTexts, Sentences, hash_of, load_texts
from quantcurve.engines import openvino
from quantcurve.engines.base import Doubles, Floats
from quantcurve.errors import BackendError
from quantcurve.estimates import Estimate, Figure, Missing
from quantcurve.metrics import embedding as figures
from quantcurve.recipe_openvino import OpenVinoVariant
from quantcurve.session import Session
from quantcurve.stages import accuracy_control, encoder, encoder_control, encoder_embed, encoder_latency
from quantcurve.stages.export import failed
from quantcurve.stages.resolve import Failed

Depths = tuple[AtDepth, ...]


class Judged(NamedTuple):
    """What a model made of all texts that it is judged on."""

    texts: EncoderTexts
    rows: dict[str, Floats]
    """Embedding of each text."""

    def cosines(self) -> Doubles:
        """Of the graded pairs, (n,)."""
        pairs = self.texts.pairs
        return figures.cosines(self.of(pairs.first), self.of(pairs.second))

    def ranking(self) -> figures.Ranking:
        """Of all passages, for every query."""
        found = self.texts.retrieval
        return figures.ranking(self.of([q.text for q in found.queries]), self.of(found.passages))

    def of(self, texts: Sequence[str]) -> Floats:
        """Embeddings (n, width)."""
        return np.stack([self.rows[text] for text in texts])


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
    """Load the validation function and draw its items, before anything is made.

    Raises:
        RecipeError: the function cannot be loaded, or there are too few pairs.
    """
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
    assert session.openvino
    return EncoderResult(
        name=recipe.name,
        model=source.description,
        model_hash=source.content_hash,
        pipeline=reference.step.pipeline.describe(),
        reference=results[0],
        variants=tuple(results[1:]),
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
) -> tuple[dict[str, tuple[Judged, encoder_embed.Embedded]], dict[str, Failed]]:
    """What every model made of the texts, by name; the reference must embed them, others may fail."""
    found: dict[str, tuple[Judged, encoder_embed.Embedded]] = {}
    lost: dict[str, Failed] = {}
    for ir in irs:
        try:
            embedded = encoder_embed.embed(ir, texts.judged, session)
        except BackendError as error:
            if ir.entry is None:
                raise
            lost[ir.name] = failed(ir.name, error, session.log(ir.name))
            continue
        found[ir.name] = Judged(texts, dict(zip(texts.judged, embedded.rows, strict=True))), embedded
    return found, lost


def _result(
    item: encoder.EncoderIr | Failed,
    lost: dict[str, Failed],
    judged: dict[str, tuple[Judged, encoder_embed.Embedded]],
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


def quality(own: Judged, base: Judged | None, depths: Sequence[int], seed: int) -> EncoderQuality:
    """What embeddings are worth, and what has become of them.

    Args:
        own: of the model.
        base: of the reference; None: this is the reference.
        depths: k of recall and overlap.
        seed: of the bootstrap.
    """
    graded, found = own.texts.pairs.graded, own.cosines()
    domains = own.texts.retrieval.domains
    queries = _per_query(own, base, depths)
    return EncoderQuality(
        spearman=figures.spearman(graded, found, seed),
        spearman_change=figures.spearman_difference(graded, found, base.cosines(), seed) if base else None,
        drift=_drift(own, base, seed) if base else None,
        ranking=_ranking(queries, ALL, seed),
        domains=tuple(_ranking(queries, domain, seed) for domain in domains if len(domains) > 1),
    )


def _drift(own: Judged, base: Judged, seed: int) -> Drift:
    texts = own.texts.judged
    drifts = 1 - figures.cosines(own.of(texts), base.of(texts))
    worst = int(drifts.argmax())
    mean = figures.mean(drifts, seed, "1 - cosine", "texts")
    assert isinstance(mean, Estimate)
    return Drift(mean=mean, worst=WorstText(text=texts[worst], drift=float(drifts[worst])))


class _PerQuery(NamedTuple):
    """Figures of every query, (n,) each, by depth; of the reference only recall."""

    domains: tuple[str, ...]
    recall: dict[int, Doubles]
    change: dict[int, Doubles]
    overlap: dict[int, Doubles]
    taus: Doubles | None


def _per_query(own: Judged, base: Judged | None, depths: Sequence[int]) -> _PerQuery:
    asked = own.texts.retrieval.queries
    relevant, domains = [q.relevant for q in asked], tuple(q.domain for q in asked)
    ranked = own.ranking()
    recall = {k: figures.recalls(ranked, relevant, k) for k in depths}
    if base is None:
        return _PerQuery(domains, recall, {}, {}, None)
    other = base.ranking()
    change = {k: recall[k] - figures.recalls(other, relevant, k) for k in depths}
    overlap = {k: figures.overlaps(ranked, other, k) for k in depths}
    return _PerQuery(domains, recall, change, overlap, figures.taus(ranked, other))


def _ranking(found: _PerQuery, domain: str, seed: int) -> RankingFigures:
    some = np.array([domain in {ALL, d} for d in found.domains])

    def at_depths(values: dict[int, Doubles], figure: Callable[[Doubles, str], Figure], name: str) -> Depths:
        return tuple(AtDepth(k=k, figure=figure(v[some], f"{name}@{k}")) for k, v in values.items())

    def share(values: Doubles, unit: str) -> Figure:
        return figures.mean_share(values, unit, "queries")

    def mean(values: Doubles, unit: str) -> Figure:
        return figures.mean(values, seed, unit, "queries")

    return RankingFigures(
        domain=domain,
        queries=int(some.sum()),
        recall=at_depths(found.recall, share, "recall"),
        recall_change=at_depths(found.change, mean, "recall"),
        overlap=at_depths(found.overlap, share, "overlap"),
        tau=None if found.taus is None else mean(found.taus[some], "Kendall's tau-b"),
    )


def _set(source: str, texts: Sequence[str], items: int, passages: int = 0) -> TextSetResult:
    return TextSetResult(source=source, content_hash=hash_of(texts), items=items, passages=passages)


def _calibration(texts: EncoderTexts) -> TextSetResult | None:
    found = texts.sentences
    if found is None:
        return None
    return TextSetResult(
        source=found.source, content_hash=hash_of(found.texts), items=len(found.texts), left_out=found.left_out
    )
