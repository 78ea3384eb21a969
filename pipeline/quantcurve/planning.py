"""What a run would do: stages, what is in the store already, and estimates of disk, memory and time. Writes nothing."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from quantcurve import machine, sources
from quantcurve.engines.child import Child
from quantcurve.engines.gguf_file import TensorInfo
from quantcurve.errors import BackendError
from quantcurve.lookup import Known, look_up
from quantcurve.metrics import sequential
from quantcurve.recipe import Benchmark, GgufVariant, LoadedRecipe, Recipe, at
from quantcurve.recipe_openvino import WEIGHTS, width_refusal
from quantcurve.records import Frozen
from quantcurve.run import Where, open_session, openvino_names
from quantcurve.session import Session
from quantcurve.stages import export
from quantcurve.stages.export import FLOOR
from quantcurve.stages.route import SCRATCH_BYTES, chunks, logits_bytes, route
from quantcurve.stages.scoring import REFERENCE
from quantcurve.texts import LoadedText, load_texts

BYTES_PER_TOKEN = 3.5
"""Of English text, where the text is not tokenised yet."""
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
BITS = {name: 4.3 if "4" in name else 8.1 for name in WEIGHTS} | {"F32": 32.0, "F16": 16.0}
"""About so many a weight, scales included; the head and the embedding of a 4-bit variant have more."""


class PlannedStep(Frozen):
    """One step of the run."""

    stage: str
    what: str
    cached: bool
    disk_bytes: int = 0
    """What it will leave in the store, or use for a moment (screen)."""
    seconds: float = 0.0
    note: str = ""


class Plan(Frozen):
    """All steps, and the most memory that the run will need at once."""

    name: str
    steps: tuple[PlannedStep, ...]
    memory_bytes: int
    disk_free_bytes: int
    memory_available_bytes: int

    @property
    def seconds(self) -> float:
        """Estimate for what is not in the store."""
        return sum(s.seconds for s in self.steps if not s.cached)

    @property
    def disk_bytes(self) -> int:
        """Estimate for what is not in the store."""
        return sum(s.disk_bytes for s in self.steps if not s.cached)


class _Rates(NamedTuple):
    """How fast this machine is, measured in a fraction of a second."""

    flops: float
    memory_bytes_per_s: float


class _Sizes(NamedTuple):
    """Sizes that estimates start from; a variant's is llama.cpp's reason where it would refuse."""

    weights: int
    reference: int
    variants: dict[str, int | str]
    tensors: tuple[TensorInfo, ...] = ()
    """Of the reference's file, where that is known."""


def plan(loaded: LoadedRecipe, where: Where | None = None) -> Plan:
    """Plan a run without making or writing anything.

    Raises:
        RecipeError, PrerequisiteError, ModelFileError: as `run` would before it starts to compute.
    """
    try:
        return _plan(loaded, where or Where())
    except BackendError as error:
        raise type(error)(error.message) from error  # its log went with the temporary folder


def _plan(loaded: LoadedRecipe, where: Where) -> Plan:
    recipe = loaded.recipe
    texts = load_texts(loaded)
    with tempfile.TemporaryDirectory(prefix="quantcurve-plan-") as logs:
        openvino_too = bool(recipe.variants.openvino)
        session = open_session(where._replace(logs=Path(logs)), remember=False, openvino_too=openvino_too)
        with at(loaded, "model", "source"):
            located = sources.locate(recipe.model.source, loaded.path.parent)
        known = look_up(loaded, texts, located, session)
        with at(loaded, "variants", "gguf"):
            sizes = _sizes(located, known, recipe, session)
    rates = _measure_rates(session.threads)
    return Plan(
        name=recipe.name,
        steps=tuple(_steps(recipe, texts, known, sizes, rates, session)),
        memory_bytes=int(1.5 * sizes.reference) + 200 * 2**20,
        disk_free_bytes=machine.free_disk_bytes(session.store.folder),
        memory_available_bytes=machine.available_memory_bytes(),
    )


def _steps(
    recipe: Recipe, texts: Sequence[LoadedText], known: Known, sizes: _Sizes, rates: _Rates, session: Session
) -> Iterator[PlannedStep]:
    yield PlannedStep(
        stage="resolve",
        what=recipe.model.source,
        cached=known.reference is not None,
        disk_bytes=sizes.reference,
        seconds=3 * sizes.reference / rates.memory_bytes_per_s,
    )
    for text, found in zip(texts, known.windowed, strict=True):
        yield PlannedStep(stage="tokenize", what=text.name, cached=found is not None, seconds=0.5)
    if any(v.imatrix for v in recipe.variants.gguf):
        yield _imatrix_step(recipe, known, sizes, rates)
    for variant in recipe.variants.gguf:
        yield _quantize_step(variant, sizes, known, session)
    if recipe.variants.openvino:
        yield from _openvino_steps(recipe, sizes, known)
    yield from _screen_steps(recipe, texts, sizes, rates, known)
    yield from _cache_steps(recipe, sizes, rates)
    if recipe.benchmark:
        yield _benchmark_step(recipe, recipe.benchmark, sizes, rates, known.timed)


def _sizes(located: sources.Located, known: Known, recipe: Recipe, session: Session) -> _Sizes:
    from quantcurve.engines import llamacpp_files, llamacpp_quantize

    labels = [v.label for v in recipe.variants.gguf]
    if located.kind == "hf_folder" and known.reference is None:
        weight_bytes = sum(p.stat().st_size for p in located.path.iterdir() if p.suffix in {".safetensors", ".bin"})
        return _Sizes(weight_bytes // 2, weight_bytes, dict.fromkeys(labels, "size known when the model is converted"))
    path = known.reference.path if known.reference else located.path
    specs = [llamacpp_quantize.SizeSpec(v.type, v.tensors, v.imatrix) for v in recipe.variants.gguf]
    with Child("plan", session.log("plan")) as child:
        header = child.call(llamacpp_files.header, path)
        sizes = child.call(llamacpp_quantize.planned_sizes, path, specs)
    weights = sum(t.weights for t in header.tensors)
    reference = known.reference.step.file.size_bytes if known.reference else 2 * weights
    return _Sizes(weights, reference, dict(zip(labels, sizes, strict=True)), header.tensors)


def _imatrix_step(recipe: Recipe, known: Known, sizes: _Sizes, rates: _Rates) -> PlannedStep:
    settings = recipe.imatrix
    if settings.file:
        return PlannedStep(stage="imatrix", what=settings.file, cached=True)
    names = ", ".join(t.name for t in settings.texts)
    windows = sum(min(settings.limit or TYPICAL_WINDOWS, t.windows or TYPICAL_WINDOWS) for t in settings.texts)
    seconds = windows * settings.window_tokens * 2 * sizes.weights / (rates.flops * PREFILL_EFFICIENCY)
    return PlannedStep(stage="imatrix", what=names, cached=known.matrix_hash is not None, seconds=seconds)


def _quantize_step(variant: GgufVariant, sizes: _Sizes, known: Known, session: Session) -> PlannedStep:
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
    return (*(v.label for v in recipe.variants.gguf), *openvino_names(recipe))


def _openvino_steps(recipe: Recipe, sizes: _Sizes, known: Known) -> Iterator[PlannedStep]:
    size, weights = 4 * sizes.weights, sizes.weights
    there = FLOOR in known.models
    yield PlannedStep(stage="export", what=FLOOR, cached=there, disk_bytes=size, seconds=weights / EXPORT_WEIGHTS_PER_S)
    for variant in recipe.variants.openvino:
        yield PlannedStep(
            stage="compress",
            what=variant.label,
            cached=variant.label in known.models,
            disk_bytes=int(weights * BITS[variant.weights] / 8) if variant.weights != "F32" else 0,
            seconds=weights / (DATA_AWARE_WEIGHTS_PER_S if variant.data_aware else COMPRESS_WEIGHTS_PER_S),
            note=width_refusal(variant, export.widths(sizes.tensors, variant)) or "",
        )


def _screen_steps(
    recipe: Recipe, texts: Sequence[LoadedText], sizes: _Sizes, rates: _Rates, known: Known
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


def _cache_steps(recipe: Recipe, sizes: _Sizes, rates: _Rates) -> Iterator[PlannedStep]:
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


def _benchmark_step(recipe: Recipe, bench: Benchmark, sizes: _Sizes, rates: _Rates, timed: bool) -> PlannedStep:
    prefill = 2 * sizes.weights * bench.prompt_tokens / (rates.flops * PREFILL_EFFICIENCY)
    decode = bench.decode_tokens * sizes.reference / rates.memory_bytes_per_s
    models = 1 + len(_compared(recipe))
    return PlannedStep(
        stage="benchmark",
        what=f"{bench.repetitions} rounds over the reference and {models - 1} variants",
        cached=timed,
        seconds=models * ((bench.repetitions + 1) * prefill + bench.repetitions * decode),
    )


def _measure_rates(threads: int) -> _Rates:
    """The best of several short measurements: the first ones only wake the threads up."""
    side = 512
    matrix, block = np.ones((side, side), np.float32), np.ones(2**24, np.uint8)
    products = min(_seconds(lambda: matrix @ matrix) for _ in range(12))
    copies = min(_seconds(block.copy) for _ in range(4))
    # numpy's matrix product uses all cores this process may run on.
    share = min(1.0, threads / machine.usable_cores())
    return _Rates(2 * side**3 / products * share, block.nbytes / copies)


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
