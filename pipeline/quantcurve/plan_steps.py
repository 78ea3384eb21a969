"""The steps of a plan, with estimates of their disk and time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from quantcurve import openvino_lane
from quantcurve.engines.gguf_file import TensorInfo
from quantcurve.engines.openvino_layers import layers
from quantcurve.errors import RecipeError
from quantcurve.latency_records import DECODE_STEPS
from quantcurve.lookup import Known
from quantcurve.metrics import sequential
from quantcurve.plan_evaluation import BYTES_PER_TOKEN, Planned, evaluated
from quantcurve.recipe import Benchmark, LoadedRecipe, Recipe
from quantcurve.recipe_gguf import GgufVariant
from quantcurve.recipe_openvino import FLOOR, OpenVinoVariant
from quantcurve.records import REFERENCE, Frozen
from quantcurve.run import needs_calibration
from quantcurve.session import Session
from quantcurve.stages import export, ir_check, tokenizer_gate
from quantcurve.stages.latency import PREFILLS
from quantcurve.stages.route import SCRATCH_BYTES, chunks, logits_bytes, route
from quantcurve.texts import LoadedText
from quantcurve.weight_formats import BITS, WEIGHTS, bits
from quantcurve.width_refusals import width_refusal

PREFILL_EFFICIENCY = 0.75
"""Share of a plain matrix product's speed that scoring and prefill reach."""
TYPICAL_WINDOWS = 48
"""That a variant takes until the screen has judged it and its KL divergence is known well enough."""
QUANTIZE_WEIGHTS_PER_S = 3e7
"""Of one core; K-quants, the slowest common types."""
EXPORT_WEIGHTS_PER_S = 4e6
COMPRESS_WEIGHTS_PER_S = 1e7
DATA_AWARE_WEIGHTS_PER_S = 1e6
"""With calibration texts; AWQ and scale estimation."""
CONTROL_FACTOR = 4
"""What a search for layers to restore takes over making the variant once, where it ranks by one compilation."""
SPLIT_CELLS = 4
"""Ways in which a variant is run to split its loss, at most."""
TOOL_START_S = 8.0
"""Of benchmark_app and OpenVINO GenAI on one model."""
STORED_BITS = {name: BITS.get(name, 4) + {4: 0.3, 8: 0.1}.get(bits(name), 0.0) for name in WEIGHTS}
"""About so many a weight, scales included; the head and the embedding of a 4-bit variant have more."""


class PlannedStep(Frozen):
    """One step of the run."""

    stage: str
    what: str
    cached: bool
    disk_bytes: int = 0
    """What it will leave in the store, or use for a moment (screen)."""
    seconds: float | None = 0.0
    """None: nothing is known of it."""
    note: str = ""


class Rates(NamedTuple):
    """How fast this machine is, measured in a fraction of a second."""

    flops: float
    memory_bytes_per_s: float


class Sizes(NamedTuple):
    """Sizes that estimates start from; a variant's is llama.cpp's reason where it would refuse."""

    weights: int
    reference: int
    variants: dict[str, int | str]
    tensors: tuple[TensorInfo, ...] = ()
    """Of the reference's file, where that is known."""
    no_tokenizer: str = ""
    """Why there is none for OpenVINO."""


def steps(
    loaded: LoadedRecipe, texts: Sequence[LoadedText], known: Known, sizes: Sizes, rates: Rates, session: Session
) -> Iterator[PlannedStep]:
    """All steps of a run in their order."""
    recipe = loaded.recipe
    yield PlannedStep(
        stage="resolve",
        what=recipe.model.source,
        cached=known.reference is not None,
        disk_bytes=sizes.reference,
        seconds=3 * sizes.reference / rates.memory_bytes_per_s,
    )
    for text, found in zip(texts, known.windowed, strict=True):
        yield PlannedStep(stage="tokenize", what=text.name, cached=found is not None, seconds=0.5)
    yield from _calibrate_steps(recipe, known)
    if recipe.variants.openvino:
        yield from _export_steps(sizes, known)
    yield from _imatrix_steps(recipe, known, sizes, rates)
    for variant in recipe.variants.gguf:
        yield _quantize_step(variant, sizes, known, session)
    yield from _compress_steps(recipe, sizes, known)
    yield from _screen_steps(recipe, texts, sizes, rates, known)
    yield from _cache_steps(recipe, sizes, rates)
    yield from _split_steps(recipe, sizes, rates)
    for planned in evaluated(loaded, len(_compared(recipe))):
        yield _evaluation_step(planned, sizes, rates)
    if recipe.benchmark:
        yield _benchmark_step(recipe, recipe.benchmark, sizes, rates, known.timed)
        yield from _latency_steps(recipe, recipe.benchmark, sizes, rates, known)


def _calibrate_steps(recipe: Recipe, known: Known) -> Iterator[PlannedStep]:
    settings = recipe.calibration
    if needs_calibration(recipe):
        what = f"{settings.mix}, {settings.tokens // settings.window_tokens} windows of {settings.window_tokens}"
        yield PlannedStep(stage="calibrate", what=what, cached=known.calibrated is not None, seconds=3)


def _imatrix_steps(recipe: Recipe, known: Known, sizes: Sizes, rates: Rates) -> Iterator[PlannedStep]:
    if any(v.imatrix for v in recipe.variants.gguf):
        there = recipe.imatrix.file is not None or known.matrix_hash is not None
        what = recipe.imatrix.file or f"calibration:{recipe.calibration.mix}"
        seconds = recipe.calibration.tokens * 2 * sizes.weights / (rates.flops * PREFILL_EFFICIENCY)
        yield PlannedStep(stage="imatrix", what=what, cached=there, seconds=seconds)


def _quantize_step(variant: GgufVariant, sizes: Sizes, known: Known, session: Session) -> PlannedStep:
    size = sizes.variants[variant.label]
    return PlannedStep(
        stage="quantize",
        what=variant.label,
        cached=variant.label in known.models,
        disk_bytes=size if isinstance(size, int) else 0,
        seconds=sizes.weights / QUANTIZE_WEIGHTS_PER_S / session.threads,
        note="" if isinstance(size, int) else size,
    )


def _compared(recipe: Recipe) -> tuple[str, ...]:
    """Names of all that is compared with the reference."""
    return (*(v.label for v in recipe.variants.gguf), *openvino_lane.names(recipe))


def _export_steps(sizes: Sizes, known: Known) -> Iterator[PlannedStep]:
    size, seconds = 4 * sizes.weights, sizes.weights / EXPORT_WEIGHTS_PER_S
    there, note = FLOOR in known.models, sizes.no_tokenizer
    yield PlannedStep(stage="export", what=FLOOR, cached=there, disk_bytes=size, seconds=seconds, note=note)
    yield PlannedStep(
        stage=tokenizer_gate.STAGE, what=", ".join(tokenizer_gate.LANES), cached=known.tokenizers, seconds=10
    )


def _compress_steps(recipe: Recipe, sizes: Sizes, known: Known) -> Iterator[PlannedStep]:
    weights = sizes.weights
    for variant in recipe.variants.openvino:
        seconds = weights / (DATA_AWARE_WEIGHTS_PER_S if variant.data_aware else COMPRESS_WEIGHTS_PER_S)
        yield PlannedStep(
            stage="accuracy_control" if variant.accuracy_control else "compress",
            what=variant.label,
            cached=variant.label in known.models,
            disk_bytes=int(weights * STORED_BITS[variant.weights] / 8),
            seconds=seconds * (CONTROL_FACTOR if variant.accuracy_control else 1),
            note=_refusal(variant, sizes, known),
        )


def _refusal(variant: OpenVinoVariant, sizes: Sizes, known: Known) -> str:
    """Why NNCF would refuse a variant. Rules match names that only an IR has: before the export nothing is said of a
    variant with rules."""
    if floor := known.models.get(FLOOR):
        try:
            return ir_check.refusal(layers(floor.path), variant) or ""
        except RecipeError as error:
            return str(error)
    if variant.layers:
        return "its rules for single layers are checked once the model is exported"
    return width_refusal(variant, export.widths(sizes.tensors)) or ""


def _screen_steps(
    recipe: Recipe, texts: Sequence[LoadedText], sizes: Sizes, rates: Rates, known: Known
) -> Iterator[PlannedStep]:
    windows = sum(_window_count(recipe, i, text, known) for i, text in enumerate(texts))
    early = not recipe.screen.exhaustive and windows > sequential.MIN_WINDOWS
    taken = min(windows, TYPICAL_WINDOWS) if early else windows
    seconds = taken * recipe.windows.tokens * 2 * sizes.weights / (rates.flops * PREFILL_EFFICIENCY)
    counted = f"{sequential.MIN_WINDOWS} to {windows}" if early else str(windows)
    for name in (REFERENCE, *_compared(recipe)):
        yield PlannedStep(
            stage="screen",
            what=f"{name}, {counted} windows of {recipe.windows.tokens}",
            cached=name in known.scored,
            disk_bytes=_scratch_bytes(recipe.seed, known) if name == REFERENCE else 0,
            seconds=seconds,
        )


def _cache_steps(recipe: Recipe, sizes: Sizes, rates: Rates) -> Iterator[PlannedStep]:
    """Of the stage that compares KV caches; whether it is in the store is only seen when it runs."""
    settings = recipe.kv_cache
    tokens = settings.short_windows * recipe.windows.tokens + settings.long_windows * settings.long_context_tokens
    for variant in recipe.variants.gguf:
        if variant.cache.label():
            yield PlannedStep(
                stage="kv_cache",
                what=f"{variant.label}, at {recipe.windows.tokens} and {settings.long_context_tokens} tokens",
                cached=False,
                seconds=5 * tokens * 2 * sizes.weights / (rates.flops * PREFILL_EFFICIENCY),
                note="at most",
            )


def _scratch_bytes(seed: int, known: Known) -> int:
    """Reference logits of the largest chunk, on disk for a moment."""
    found = [w for w in known.windowed if w is not None]
    if len(found) < len(known.windowed) or not found:
        return SCRATCH_BYTES
    vocabulary = found[0].step.vocabulary
    return max(logits_bytes(c.windows.shape, vocabulary) for c in chunks(found, route(found, seed), 1))


def _window_count(recipe: Recipe, index: int, text: LoadedText, known: Known) -> int:
    if found := known.windowed[index]:
        return len(found.windows)
    whole = int(text.size_bytes / BYTES_PER_TOKEN / recipe.windows.tokens)
    limit = recipe.windows.limit_of(recipe.texts[index])
    return whole if limit is None else min(limit, whole)


def _evaluation_step(planned: Planned, sizes: Sizes, rates: Rates) -> PlannedStep:
    """Of answers as long as they may be, on models as large as the reference."""
    if not planned.models:
        return PlannedStep(
            stage=planned.stage, what=planned.what, cached=False, seconds=None, note="no estimate of time"
        )
    per_token = 2 * sizes.weights / (rates.flops * PREFILL_EFFICIENCY)
    step = max(sizes.reference / rates.memory_bytes_per_s, planned.batch * per_token)
    seconds = min(planned.pass_tokens * per_token + planned.steps * step, planned.most_s)
    return PlannedStep(stage=planned.stage, what=planned.what, cached=False, seconds=planned.models * seconds)


def _benchmark_step(recipe: Recipe, bench: Benchmark, sizes: Sizes, rates: Rates, timed: bool) -> PlannedStep:
    prefill = 2 * sizes.weights * bench.prompt_tokens / (rates.flops * PREFILL_EFFICIENCY)
    decode = bench.decode_tokens * sizes.reference / rates.memory_bytes_per_s
    models = 1 + len(_compared(recipe))
    return PlannedStep(
        stage="benchmark",
        what=f"{bench.repetitions} rounds over the reference and {models - 1} variants",
        cached=timed,
        seconds=models * ((bench.repetitions + 1) * prefill + bench.repetitions * decode),
    )


def _split_steps(recipe: Recipe, sizes: Sizes, rates: Rates) -> Iterator[PlannedStep]:
    """Of the stage that splits losses; whether it is in the store is only seen when it runs."""
    windows = recipe.openvino.split_windows
    for variant in recipe.variants.openvino if windows else ():
        tokens = SPLIT_CELLS * (windows or 0) * recipe.windows.tokens
        yield PlannedStep(
            stage="loss_split",
            what=f"{variant.label}, {windows} windows",
            cached=False,
            seconds=tokens * 2 * sizes.weights / (rates.flops * PREFILL_EFFICIENCY),
            note="at most",
        )


def _latency_steps(recipe: Recipe, bench: Benchmark, sizes: Sizes, rates: Rates, known: Known) -> Iterator[PlannedStep]:
    """Of OpenVINO's own tools."""
    token = sizes.reference / rates.memory_bytes_per_s
    prompt_token = 2 * sizes.weights / (rates.flops * PREFILL_EFFICIENCY)
    names, plan, work = openvino_lane.names(recipe), openvino_lane.latency_plan(recipe), bench.genai
    for name in names if plan else ():
        assert plan
        prefill = (2 + PREFILLS) * sum(plan.contexts) * prompt_token
        decode = DECODE_STEPS * len(plan.contexts) * token
        yield PlannedStep(
            stage="latency",
            what=f"{name}, {plan.rounds} rounds at contexts of {', '.join(map(str, plan.contexts))} tokens",
            cached=name in known.latency,
            seconds=plan.rounds * (TOOL_START_S + 2 * (prefill + decode)),
        )
    for name in names if work else ():
        assert work
        once = work.prompt_tokens * prompt_token + work.new_tokens * token
        yield PlannedStep(
            stage="genai",
            what=f"{name}, {work.repetitions} times {work.prompt_tokens} tokens and {work.new_tokens} new ones",
            cached=name in known.genai,
            seconds=TOOL_START_S + (1 + work.repetitions) * once,
        )
