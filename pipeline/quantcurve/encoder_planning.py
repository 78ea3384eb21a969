"""What a run of an encoder's recipe would do; see planning.py. Writes nothing."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from quantcurve import encoder_run, machine
from quantcurve.encoder_recipe import EncoderRecipe, LoadedEncoder, at
from quantcurve.encoder_texts import EncoderTexts, load_texts
from quantcurve.engines import openvino
from quantcurve.plan_steps import (
    COMPRESS_WEIGHTS_PER_S,
    CONTROL_FACTOR,
    DATA_AWARE_WEIGHTS_PER_S,
    EXPORT_WEIGHTS_PER_S,
    PREFILL_EFFICIENCY,
    STORED_BITS,
    TOOL_START_S,
    PlannedStep,
    Rates,
)
from quantcurve.planning import Plan, measure_rates
from quantcurve.recipe_openvino import FLOOR, OpenVinoVariant
from quantcurve.run import Where, open_session
from quantcurve.session import Session
from quantcurve.stages import encoder, encoder_control, encoder_embed, encoder_latency
from quantcurve.weight_formats import STATIC

WEIGHT_FILES = {".safetensors", ".bin"}
START_S = 3.0
"""Of a process that NNCF or OpenVINO works in."""
TOKENS_PER_TEXT = 24
STATIC_BITS = 8.2
"""Of a weight of W8A8."""


class Known(NamedTuple):
    """What the store holds."""

    reference: encoder.EncoderIr | None
    variants: dict[str, encoder.EncoderIr]
    embedded: frozenset[str]
    timed: bool
    tools: frozenset[str]
    """Models that benchmark_app has timed."""


def plan(loaded: LoadedEncoder, where: Where | None = None) -> Plan:
    """Plan a run without making or writing anything.

    Raises:
        RecipeError, PrerequisiteError, ModelFileError: as the run would before it starts to compute.
    """
    openvino.require()
    texts = load_texts(loaded)
    encoder_run.check(loaded, texts)
    with tempfile.TemporaryDirectory(prefix="quantcurve-plan-") as logs:
        session = open_session((where or Where())._replace(logs=Path(logs)), remember=False, openvino_too=True)
        with at(loaded, "model", "source"):
            source = encoder.locate(loaded.recipe.model.source, loaded.path.parent, session)
        known = _look_up(loaded, source, texts, session)
        weights = sum(p.stat().st_size for p in source.path.iterdir() if p.suffix in WEIGHT_FILES) // 4
    rates = measure_rates(session.threads)
    return Plan(
        name=loaded.recipe.name,
        steps=tuple(_steps(loaded.recipe, texts, known, weights, rates)),
        memory_bytes=12 * weights + 500 * 2**20,
        disk_free_bytes=machine.free_disk_bytes(session.store.folder),
        memory_available_bytes=machine.available_memory_bytes(),
    )


def _look_up(loaded: LoadedEncoder, source: encoder.EncoderSource, texts: EncoderTexts, session: Session) -> Known:
    reference = encoder.find_export(source, session)
    if reference is None:
        return Known(None, {}, frozenset(), False, frozenset())
    variants = {}
    for entry in loaded.recipe.variants.openvino:
        if entry.accuracy_control and texts.sentences:
            prepared = encoder_control.prepare(loaded, texts.pairs, reference.step.pipeline.max_tokens)
            found = encoder_control.find(reference, entry, texts.sentences, prepared, session)
        else:
            found = encoder.find(reference, entry, texts.sentences, session)
        if found:
            variants[entry.label] = found
    models = [reference, *variants.values()]
    embedded = frozenset(ir.name for ir in models if encoder_embed.is_embedded(ir, texts.judged, session))
    bench, complete = loaded.recipe.benchmark, len(variants) == len(loaded.recipe.variants.openvino)
    workload = encoder_run.workload_of(loaded.recipe)
    if not (bench and workload):
        return Known(reference, variants, embedded, True, frozenset())
    timed = complete and encoder_latency.is_measured(models, workload, bench.repetitions, session)
    tools = frozenset(ir.name for ir in models if encoder_latency.is_by_app(ir, workload, session))
    return Known(reference, variants, embedded, timed, tools)


def _steps(
    recipe: EncoderRecipe, texts: EncoderTexts, known: Known, weights: int, rates: Rates
) -> Iterator[PlannedStep]:
    yield PlannedStep(
        stage="export",
        what=recipe.model.source,
        cached=known.reference is not None,
        disk_bytes=4 * weights,
        seconds=START_S + weights / EXPORT_WEIGHTS_PER_S,
    )
    for entry in recipe.variants.openvino:
        yield _compress_step(entry, entry.label in known.variants, weights)
    names = (FLOOR, *(entry.label for entry in recipe.variants.openvino))
    per_token_s = 2 * weights / (rates.flops * PREFILL_EFFICIENCY)
    for name in names:
        seconds = START_S + len(texts.judged) * TOKENS_PER_TEXT * per_token_s
        what = f"{name}: {len(texts.judged)} texts"
        yield PlannedStep(stage="embed", what=what, cached=name in known.embedded, seconds=seconds)
    if bench := recipe.benchmark:
        pass_s = bench.tokens * bench.batch * per_token_s
        seconds = len(names) * (START_S + (bench.repetitions + 1) * bench.passes * pass_s)
        what = f"{bench.repetitions} rounds over the reference and {len(names) - 1} variants"
        yield PlannedStep(stage="benchmark", what=what, cached=known.timed, seconds=seconds)
        for name in names if bench.benchmark_app else ():
            seconds = TOOL_START_S + encoder_latency.APP_PASSES * pass_s
            yield PlannedStep(
                stage="latency", what=f"{name}, benchmark_app", cached=name in known.tools, seconds=seconds
            )


def _compress_step(entry: OpenVinoVariant, cached: bool, weights: int) -> PlannedStep:
    static = entry.weights in STATIC
    seconds = START_S + weights / (DATA_AWARE_WEIGHTS_PER_S if static else COMPRESS_WEIGHTS_PER_S)
    return PlannedStep(
        stage="accuracy_control" if entry.accuracy_control else "compress",
        what=entry.label,
        cached=cached,
        disk_bytes=int(weights * (STATIC_BITS if static else STORED_BITS[entry.weights]) / 8),
        seconds=seconds * CONTROL_FACTOR if entry.accuracy_control else seconds,
    )
