"""What a run would do: stages, what is in the store already, and estimates of disk, memory and time. Writes nothing."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from quantcurve import sources
from quantcurve.engines.child import Child
from quantcurve.engines.gguf_file import GgufHeader
from quantcurve.recipe import Benchmark, LoadedRecipe, Recipe
from quantcurve.results import Frozen, ModelFile
from quantcurve.run import REFERENCE, Where, open_session
from quantcurve.session import Session
from quantcurve.stages import resolve, screen, tokenize
from quantcurve.texts import LoadedText, load_text

BYTES_PER_TOKEN = 3.5
"""Of English text, where the text is not tokenised yet."""
PREFILL_EFFICIENCY = 0.5
"""Prefill reaches about half of a plain matrix product's speed."""


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
    """Sizes that estimates start from."""

    weights: int
    reference: int
    variants: dict[str, int | str]


def plan(loaded: LoadedRecipe, where: Where | None = None) -> Plan:
    """Plan a run without making or writing anything.

    Raises:
        RecipeError, PrerequisiteError, ModelFileError: as `run` would before it starts to compute.
    """
    recipe, base = loaded.recipe, loaded.path.parent
    texts = [load_text(text, base) for text in recipe.texts]
    with tempfile.TemporaryDirectory(prefix="quantcurve-plan-") as logs:
        session = open_session((where or Where())._replace(logs=Path(logs)))
        located = sources.locate(recipe.model.source, base)
        source_hash = sources.content_hash(located, session.store.hash_file)
        inputs = resolve.reference_inputs(recipe.model, source_hash, session.engine)
        folder = session.store.find("resolve", inputs) if session.cached("resolve", inputs) else None
        step = resolve.ReferenceStep.model_validate_json((folder / "result.json").read_text()) if folder else None
        sizes = _sizes(located, step, recipe, session)
        rates = _measure_rates(session.threads)
        steps = [
            PlannedStep(
                stage="resolve",
                what=recipe.model.source,
                cached=step is not None,
                disk_bytes=sizes.reference,
                seconds=3 * sizes.reference / rates.memory_bytes_per_s,
            )
        ]
        reference_hash = step.file.content_hash if step else None
        steps += _tokenize_steps(recipe, texts, reference_hash, session)
        steps += _quantize_steps(recipe, sizes, reference_hash, session)
        steps += _screen_steps(recipe, texts, sizes, rates, reference_hash, session)
        if recipe.benchmark:
            steps.append(_benchmark_step(recipe, recipe.benchmark, sizes, rates))
    return _plan(recipe, steps, sizes, session)


def _plan(recipe: Recipe, steps: Sequence[PlannedStep], sizes: _Sizes, session: Session) -> Plan:
    import psutil

    existing = next(p for p in (session.store.folder, *session.store.folder.parents) if p.exists())
    return Plan(
        name=recipe.name,
        steps=tuple(steps),
        memory_bytes=int(1.5 * sizes.reference) + 200 * 2**20,
        disk_free_bytes=int(psutil.disk_usage(str(existing)).free),
        memory_available_bytes=int(psutil.virtual_memory().available),
    )


def _sizes(located: sources.Located, step: resolve.ReferenceStep | None, recipe: Recipe, session: Session) -> _Sizes:
    from quantcurve.engines import llamacpp_child

    if located.kind == "hf_folder" and step is None:
        weight_bytes = sum(p.stat().st_size for p in located.path.iterdir() if p.suffix in {".safetensors", ".bin"})
        unknown = "known when the model is converted"
        return _Sizes(weight_bytes // 2, weight_bytes, dict.fromkeys(recipe.variants.gguf, unknown))
    path = located.path
    if step and not step.is_source:
        inputs = resolve.reference_inputs(
            recipe.model, sources.content_hash(located, session.store.hash_file), session.engine
        )
        folder = session.store.find("resolve", inputs)
        assert folder
        path = folder / "model.gguf"
    with Child("plan", session.log("plan")) as child:
        header: GgufHeader = child.call(llamacpp_child.header, path)
        variants = child.call(llamacpp_child.quantized_size_bytes, path, list(recipe.variants.gguf), session.threads)
    weights = sum(t.weights for t in header.tensors)
    return _Sizes(weights, step.file.size_bytes if step else 2 * weights, variants)


def _tokenize_steps(
    recipe: Recipe, texts: Sequence[LoadedText], reference_hash: str | None, session: Session
) -> list[PlannedStep]:
    steps = []
    for entry, text in zip(recipe.texts, texts, strict=True):
        cached = reference_hash is not None and session.cached(
            "tokenize", tokenize.tokens_inputs(recipe, entry, text, reference_hash, session.engine)
        )
        steps.append(PlannedStep(stage="tokenize", what=text.name, cached=cached, seconds=0.5))
    return steps


def _quantize_steps(recipe: Recipe, sizes: _Sizes, reference_hash: str | None, session: Session) -> list[PlannedStep]:
    steps = []
    for name in recipe.variants.gguf:
        size = sizes.variants[name]
        cached = reference_hash is not None and session.cached(
            "quantize", resolve.VariantInputs(reference_hash=reference_hash, file_type=name, engine=session.engine)
        )
        steps.append(
            PlannedStep(
                stage="quantize",
                what=name,
                cached=cached,
                disk_bytes=size if isinstance(size, int) else 0,
                seconds=sizes.weights * 3e-8 / session.threads,
                note="" if isinstance(size, int) else size,
            )
        )
    return steps


def _screen_steps(
    recipe: Recipe,
    texts: Sequence[LoadedText],
    sizes: _Sizes,
    rates: _Rates,
    reference_hash: str | None,
    session: Session,
) -> list[PlannedStep]:
    windows = sum(_window_count(recipe, i, t) for i, t in enumerate(texts))
    seconds = windows * recipe.windows.tokens * 2 * sizes.weights / (rates.flops * PREFILL_EFFICIENCY)
    done = _scored(recipe, texts, reference_hash, session)
    return [
        PlannedStep(
            stage="screen",
            what=f"{name}, {windows} windows of {recipe.windows.tokens}",
            cached=name in done,
            disk_bytes=screen.SCRATCH_BYTES if name == REFERENCE else 0,
            seconds=seconds,
        )
        for name in (REFERENCE, *recipe.variants.gguf)
    ]


def _window_count(recipe: Recipe, index: int, text: LoadedText) -> int:
    whole = int(text.size_bytes / BYTES_PER_TOKEN / recipe.windows.tokens)
    limit = recipe.window_limit(recipe.texts[index])
    return whole if limit is None else min(limit, whole)


def _scored(recipe: Recipe, texts: Sequence[LoadedText], reference_hash: str | None, session: Session) -> set[str]:
    """Models whose scores on all windows are in the store."""
    if reference_hash is None:
        return set()
    windowed = []
    for entry, text in zip(recipe.texts, texts, strict=True):
        inputs = tokenize.tokens_inputs(recipe, entry, text, reference_hash, session.engine)
        folder = session.store.find("tokenize", inputs)
        if folder is None:
            return set()
        step = tokenize.TokensStep.model_validate_json((folder / "result.json").read_text())
        with np.load(folder / "windows.npz") as arrays:
            windowed.append(tokenize.Windowed(text, arrays["windows"], arrays["scored_bytes"], step))
    config = session.scoring_config(recipe.engine, recipe.windows.tokens)
    found = screen.chunks(windowed, config.sequences)
    done = set()
    for name in (REFERENCE, *recipe.variants.gguf):
        against, model_hash = (None, reference_hash) if name == REFERENCE else (reference_hash, None)
        if model_hash is None:
            variant = session.store.find(
                "quantize", resolve.VariantInputs(reference_hash=reference_hash, file_type=name, engine=session.engine)
            )
            if variant is None:
                continue
            model_hash = ModelFile.model_validate_json((variant / "result.json").read_text()).content_hash
        if all(
            session.cached("screen", screen.score_inputs(model_hash, against, c, config, session.engine)) for c in found
        ):
            done.add(name)
    return done


def _benchmark_step(recipe: Recipe, bench: Benchmark, sizes: _Sizes, rates: _Rates) -> PlannedStep:
    prefill = 2 * sizes.weights * bench.prompt_tokens / (rates.flops * PREFILL_EFFICIENCY)
    decode = bench.decode_tokens * sizes.reference / rates.memory_bytes_per_s
    rounds = 1 + len(recipe.variants.gguf)
    return PlannedStep(
        stage="benchmark",
        what=f"{bench.repetitions} rounds over the reference and the variants that the screen keeps",
        cached=False,
        seconds=rounds * ((bench.repetitions + 1) * prefill + bench.repetitions * decode),
        note="in the store or not: known when the screen has decided",
    )


def _measure_rates(threads: int) -> _Rates:
    side = 512
    a = np.ones((side, side), np.float32)
    a @ a
    started = time.perf_counter()
    for _ in range(10):
        a @ a
    elapsed = time.perf_counter() - started
    # numpy's matrix product uses all cores this process may run on.
    from quantcurve.machine import usable_cores

    flops = 10 * 2 * side**3 / elapsed * min(1.0, threads / usable_cores())
    block = np.ones(2**24, np.uint8)
    started = time.perf_counter()
    for _ in range(4):
        block.copy()
    return _Rates(flops, 4 * block.nbytes / (time.perf_counter() - started))
