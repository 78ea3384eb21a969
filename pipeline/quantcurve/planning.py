"""What a run would do: stages, what is in the store already, and estimates of disk, memory and time. Writes nothing."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from quantcurve import machine, sources
from quantcurve.engines.child import Child
from quantcurve.errors import BackendError
from quantcurve.recipe import Benchmark, LoadedRecipe, Recipe, at
from quantcurve.results import Frozen, ModelFile
from quantcurve.run import REFERENCE, Where, open_session
from quantcurve.session import Session
from quantcurve.stages import benchmark, resolve, screen, tokenize
from quantcurve.texts import LoadedText, load_texts

BYTES_PER_TOKEN = 3.5
"""Of English text, where the text is not tokenised yet."""
PREFILL_EFFICIENCY = 0.75
"""Share of a plain matrix product's speed that scoring and prefill reach."""
QUANTIZE_WEIGHTS_PER_S = 3e7
"""Of one core; K-quants, the slowest common types."""


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


@dataclass
class _Known:
    """What the store holds of this recipe."""

    reference: resolve.ReferenceStep | None = None
    reference_path: Path | None = None
    windowed: list[tokenize.Windowed | None] = field(default_factory=list)
    hashes: dict[str, str] = field(default_factory=dict)
    """Content hashes of the reference and the variants that are there."""
    scored: set[str] = field(default_factory=set)
    """Models with scores on all windows."""
    timed: bool = False


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
        session = open_session(where._replace(logs=Path(logs)), remember=False)
        with at(loaded, "model", "source"):
            located = sources.locate(recipe.model.source, loaded.path.parent)
        known = _look_up(recipe, texts, located, session)
        sizes = _sizes(located, known, recipe, session)
    rates = _measure_rates(session.threads)
    steps = [
        PlannedStep(
            stage="resolve",
            what=recipe.model.source,
            cached=known.reference is not None,
            disk_bytes=sizes.reference,
            seconds=3 * sizes.reference / rates.memory_bytes_per_s,
        ),
        *(
            PlannedStep(stage="tokenize", what=text.name, cached=found is not None, seconds=0.5)
            for text, found in zip(texts, known.windowed, strict=True)
        ),
        *(_quantize_step(name, sizes, known, session) for name in recipe.variants.gguf),
        *_screen_steps(recipe, texts, sizes, rates, known),
    ]
    if recipe.benchmark:
        steps.append(_benchmark_step(recipe, recipe.benchmark, sizes, rates, known.timed))
    return Plan(
        name=recipe.name,
        steps=tuple(steps),
        memory_bytes=int(1.5 * sizes.reference) + 200 * 2**20,
        disk_free_bytes=machine.free_disk_bytes(session.store.folder),
        memory_available_bytes=machine.available_memory_bytes(),
    )


def _look_up(recipe: Recipe, texts: Sequence[LoadedText], located: sources.Located, session: Session) -> _Known:
    """Follow the keys from stage to stage as far as the store has results."""
    known = _Known(windowed=[None] * len(texts))
    source_hash = sources.content_hash(located, session.store.hash_file)
    found = session.peek(
        "resolve", resolve.reference_inputs(recipe.model, source_hash, session.engine), resolve.ReferenceStep
    )
    if found is None:
        return known
    known.reference, folder = found
    known.reference_path = located.path if known.reference.is_source else folder / "model.gguf"
    reference_hash = known.hashes[REFERENCE] = known.reference.file.content_hash
    for name in recipe.variants.gguf:
        inputs = resolve.VariantInputs(reference_hash=reference_hash, file_type=name, engine=session.engine)
        if variant := session.peek("quantize", inputs, ModelFile):
            known.hashes[name] = variant[0].content_hash
    known.windowed = [
        tokenize.find(recipe, entry, text, reference_hash, session)
        for entry, text in zip(recipe.texts, texts, strict=True)
    ]
    _look_up_figures(recipe, known, session)
    return known


def _look_up_figures(recipe: Recipe, known: _Known, session: Session) -> None:
    windowed = [w for w in known.windowed if w is not None]
    if len(windowed) < len(known.windowed):
        return
    config = session.scoring_config(recipe.engine, recipe.windows.tokens)
    chunks = screen.chunks(windowed, config.sequences)
    for name, model_hash in known.hashes.items():
        against = None if name == REFERENCE else known.hashes[REFERENCE]
        keys = (screen.score_inputs(model_hash, against, chunk, config, session.engine) for chunk in chunks)
        if all(session.cached("screen", key) for key in keys):
            known.scored.add(name)
    if recipe.benchmark:
        inputs = benchmark.speed_inputs(recipe, recipe.benchmark, list(known.hashes.values()), session)
        known.timed = session.cached("benchmark", inputs)


def _sizes(located: sources.Located, known: _Known, recipe: Recipe, session: Session) -> _Sizes:
    from quantcurve.engines import llamacpp_files, llamacpp_quantize

    if located.kind == "hf_folder" and known.reference_path is None:
        weight_bytes = sum(p.stat().st_size for p in located.path.iterdir() if p.suffix in {".safetensors", ".bin"})
        unknown = "size known when the model is converted"
        return _Sizes(weight_bytes // 2, weight_bytes, dict.fromkeys(recipe.variants.gguf, unknown))
    path = known.reference_path or located.path
    with Child("plan", session.log("plan")) as child:
        header = child.call(llamacpp_files.header, path)
        specs = [llamacpp_quantize.SizeSpec(name) for name in recipe.variants.gguf]
        variants = dict(
            zip(recipe.variants.gguf, child.call(llamacpp_quantize.planned_sizes, path, specs), strict=True)
        )
    weights = sum(t.weights for t in header.tensors)
    return _Sizes(weights, known.reference.file.size_bytes if known.reference else 2 * weights, variants)


def _quantize_step(name: str, sizes: _Sizes, known: _Known, session: Session) -> PlannedStep:
    size = sizes.variants[name]
    return PlannedStep(
        stage="quantize",
        what=name,
        cached=name in known.hashes,
        disk_bytes=size if isinstance(size, int) else 0,
        seconds=sizes.weights / QUANTIZE_WEIGHTS_PER_S / session.threads,
        note="" if isinstance(size, int) else size,
    )


def _screen_steps(
    recipe: Recipe, texts: Sequence[LoadedText], sizes: _Sizes, rates: _Rates, known: _Known
) -> list[PlannedStep]:
    windows = sum(_window_count(recipe, i, text, known) for i, text in enumerate(texts))
    seconds = windows * recipe.windows.tokens * 2 * sizes.weights / (rates.flops * PREFILL_EFFICIENCY)
    return [
        PlannedStep(
            stage="screen",
            what=f"{name}, {windows} windows of {recipe.windows.tokens}",
            cached=name in known.scored,
            disk_bytes=_scratch_bytes(known) if name == REFERENCE else 0,
            seconds=seconds,
        )
        for name in (REFERENCE, *recipe.variants.gguf)
    ]


def _scratch_bytes(known: _Known) -> int:
    """Reference logits of the largest chunk, on disk for a moment."""
    found = [w for w in known.windowed if w is not None]
    if not found:
        return screen.SCRATCH_BYTES
    return max(screen.logits_bytes(c.windows.shape, found[c.text].step.vocabulary) for c in screen.chunks(found, 1))


def _window_count(recipe: Recipe, index: int, text: LoadedText, known: _Known) -> int:
    if found := known.windowed[index]:
        return len(found.windows)
    whole = int(text.size_bytes / BYTES_PER_TOKEN / recipe.windows.tokens)
    limit = recipe.window_limit(recipe.texts[index])
    return whole if limit is None else min(limit, whole)


def _benchmark_step(recipe: Recipe, bench: Benchmark, sizes: _Sizes, rates: _Rates, timed: bool) -> PlannedStep:
    prefill = 2 * sizes.weights * bench.prompt_tokens / (rates.flops * PREFILL_EFFICIENCY)
    decode = bench.decode_tokens * sizes.reference / rates.memory_bytes_per_s
    models = 1 + len(recipe.variants.gguf)
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
