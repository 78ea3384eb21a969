"""The whole pipeline on one screen: `run` makes every stage's artifacts and the record of the run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from quantcurve import __version__, machine
from quantcurve.contract import screen_verdict
from quantcurve.engines import llamacpp
from quantcurve.engines.base import EngineConfig
from quantcurve.engines.gguf_types import BY_NAME
from quantcurve.errors import RecipeError
from quantcurve.recipe import LoadedRecipe, Recipe, at
from quantcurve.results import (
    Frozen,
    Missing,
    ModelFile,
    ReferenceResult,
    RunResult,
    Slice,
    Speed,
    VariantResult,
)
from quantcurve.session import Event, Progress, Session
from quantcurve.stages import benchmark, figures, frontier, resolve, screen, tokenize
from quantcurve.store import Store, key_of
from quantcurve.texts import LoadedText, load_texts

REFERENCE = "reference"
FAILED = Missing(missing="not timed: the variant failed")
NOT_ASKED = Missing(missing="not timed: the recipe has no benchmark")


class Where(NamedTuple):
    """Where and how to run: nothing here belongs into a recipe."""

    threads: int | None = None
    """CPU threads; None for all physical cores."""
    device: Literal["cpu", "gpu"] = "cpu"
    cache: Path | None = None
    logs: Path | None = None
    force: frozenset[str] = frozenset()


class RunKey(Frozen):
    """What determines a run's figures."""

    recipe: Recipe
    reference: str
    windows: tuple[str, ...]
    scoring: EngineConfig
    speed: str | None


def silent(event: Event) -> None:
    """Progress that nobody watches."""


def open_session(where: Where, progress: Progress = silent, remember: bool = True) -> Session:
    """The surroundings of a run; `remember` as in Store.

    Raises:
        PrerequisiteError: llama-cpp-python is not installed, or has no GPU support where one is asked for.
        RecipeError: more threads than cores.
    """
    cores = machine.usable_cores()
    if where.threads and where.threads > cores:
        raise RecipeError(f"--threads {where.threads}: this process may use {cores} cores; give at most that many")
    if where.device == "gpu":
        llamacpp.require_gpu()
    store = Store(where.cache, remember)
    return Session(
        store=store,
        engine=llamacpp.identity(store.hash_file),
        threads=where.threads or machine.default_threads(),
        device=where.device,
        logs=where.logs or store.folder / "logs",
        progress=progress,
        force=where.force,
    )


def run(loaded: LoadedRecipe, where: Where | None = None, progress: Progress = silent) -> RunResult:
    """Run a recipe: everything already in the store is read, the rest is made.

    Raises:
        RecipeError: a source or a text of the recipe is wrong.
        PrerequisiteError: something is missing on this machine.
        BackendError: the reference cannot be made or measured; what fails for one variant is in its result.
    """
    session = open_session(where or Where(), progress)
    session.store.sweep()
    texts = load_texts(loaded)
    with session.store.in_use():
        return _run(loaded, texts, session)


def _run(loaded: LoadedRecipe, texts: Sequence[LoadedText], session: Session) -> RunResult:
    recipe, base = loaded.recipe, loaded.path.parent
    with session.timed("resolve"), at(loaded, "model", "source"):
        reference = resolve.resolve(recipe.model, base, session)
    with session.timed("tokenize"), at(loaded, "texts"):
        windowed = tokenize.tokenize(recipe, texts, reference, session)
    with session.timed("quantize"):
        made = resolve.quantize(reference, recipe.variants.gguf, session)
    variants = [v for v in made if isinstance(v, resolve.Variant)]
    model = screen.Model(REFERENCE, reference.path, reference.step.file.content_hash, reference.step.file.size_bytes)
    config = session.scoring_config(recipe.engine, recipe.windows.tokens)
    with session.timed("screen"):
        screened = screen.screen(model, variants, windowed, config, session)
    judged = [_judge(recipe, v, made, windowed, screened) for v in recipe.variants.gguf]
    with session.timed("benchmark"):
        timed = _time(recipe, model, variants, judged, session)
    with session.timed("frontier"):
        placed, warnings = _place(recipe, judged, timed, screened)
    return _record(loaded, session, reference, windowed, screened, placed, timed, warnings)


def _judge(
    recipe: Recipe,
    name: str,
    made: Sequence[resolve.Variant | resolve.Failed],
    windowed: Sequence[tokenize.Windowed],
    screened: screen.Screened,
) -> VariantResult:
    """A variant's figures and verdict, before it is timed."""
    item = next(m for m in made if m.name == name)
    failed = item if isinstance(item, resolve.Failed) else screened.failed.get(name)
    if failed:
        return VariantResult(name=name, status="failed", failure=failed.reason, log=failed.log)
    assert isinstance(item, resolve.Variant)
    overall, each = figures.slices([w.scored_text() for w in windowed], screened.variants[name], screened.reference)
    assert overall.divergence
    twins = [
        m.name
        for m in made
        if isinstance(m, resolve.Variant) and m.name != name and m.file.content_hash == item.file.content_hash
    ]
    return VariantResult(
        name=name,
        status="measured",
        file=item.file,
        verdict=screen_verdict(overall.divergence.ln_perplexity_ratio, recipe.screen),
        overall=overall,
        slices=each,
        notes=(
            *_main_type_note(name, item.file),
            *([f"the same file as {', '.join(twins)}, byte for byte"] if twins else ()),
        ),
    )


def _main_type_note(name: str, file: ModelFile) -> tuple[str, ...]:
    """Said where most weights are not of the type that the variant is named after."""
    main, base = file.types[0], BY_NAME[name].base
    if main.type == base:
        return ()
    return (f"{100 * main.share:.0f} % of its weights are {main.type}, the largest part; its name stands for {base}",)


def _time(
    recipe: Recipe,
    reference: screen.Model,
    variants: Sequence[resolve.Variant],
    judged: Sequence[VariantResult],
    session: Session,
) -> benchmark.Timed | None:
    """Time the reference and every measured variant, also a discarded one: the curve shows what it would buy."""
    if recipe.benchmark is None:
        return None
    measured = {v.name for v in judged if v.status == "measured"}
    models = [
        screen.Model(v.name, v.path, v.file.content_hash, v.file.size_bytes) for v in variants if v.name in measured
    ]
    return benchmark.benchmark(recipe, recipe.benchmark, [reference, *models], session)


def _place(
    recipe: Recipe,
    judged: Sequence[VariantResult],
    timed: benchmark.Timed | None,
    screened: screen.Screened,
) -> tuple[list[VariantResult], tuple[str, ...]]:
    """Put the kept variants on or behind the Pareto front."""
    speeds = timed.speeds if timed else {}
    points = [_point(v, speeds.get(v.name), screened) for v in judged if v.verdict and v.verdict.decision != "discard"]
    segments = [len(s.nll) for s in screened.reference]
    standings = dict(zip((p.name for p in points), frontier.pareto(points, segments), strict=True))
    placed = []
    for variant in judged:
        update: dict[str, object] = {"speed": speeds.get(variant.name, FAILED if timed else NOT_ASKED)}
        if standing := standings.get(variant.name):
            update |= standing._asdict()
        placed.append(variant.model_copy(update=update))
    warnings = frontier.speed_warnings(points, recipe.benchmark.decode_tokens) if recipe.benchmark else ()
    return placed, warnings


def _point(variant: VariantResult, speed: Speed | None, screened: screen.Screened) -> frontier.Point:
    assert variant.file
    scores = screened.variants[variant.name]
    windows = np.concatenate([s.kl.mean(axis=1) for s in scores if s.kl is not None])
    return frontier.Point(
        name=variant.name,
        kl_windows=windows,
        size_bytes=variant.file.size_bytes,
        decode_s=speed.samples.decode_s if speed else (),
    )


def _record(
    loaded: LoadedRecipe,
    session: Session,
    reference: resolve.Reference,
    windowed: Sequence[tokenize.Windowed],
    screened: screen.Screened,
    variants: Sequence[VariantResult],
    timed: benchmark.Timed | None,
    warnings: tuple[str, ...],
) -> RunResult:
    overall, each = figures.slices([w.scored_text() for w in windowed], screened.reference, None)
    key = RunKey(
        recipe=loaded.recipe,
        reference=reference.step.file.content_hash,
        windows=tuple(tokenize.windows_hash(w.windows) for w in windowed),
        scoring=session.scoring_config(loaded.recipe.engine, loaded.recipe.windows.tokens),
        speed=key_of(machine.facts()) if timed else None,
    )
    return RunResult(
        name=loaded.recipe.name,
        quantcurve_version=__version__,
        run_key=key_of(key),
        recipe_text=loaded.text,
        engine=session.engine,
        scoring_config=screened.config,
        timing_config=timed.config if timed else None,
        workload=timed.workload if timed else None,
        machine=machine.facts(),
        texts=tuple(w.result() for w in windowed),
        reference=_reference_result(reference, overall, each, timed),
        variants=tuple(variants),
        warnings=warnings + _context_warnings(screened, loaded.recipe),
        stages=session.stage_times(),
    )


def _context_warnings(screened: screen.Screened, recipe: Recipe) -> tuple[str, ...]:
    trained = screened.config.trained_context_tokens
    if recipe.windows.tokens <= trained:
        return ()
    return (f"windows of {recipe.windows.tokens} tokens are longer than the context the model knows ({trained})",)


def _reference_result(
    reference: resolve.Reference, overall: Slice, each: tuple[Slice, ...], timed: benchmark.Timed | None
) -> ReferenceResult:
    step = reference.step
    return ReferenceResult(
        name=step.precision,
        source=reference.source,
        precision=step.precision,
        file=step.file,
        provenance=step.provenance,
        overall=overall,
        slices=each,
        speed=timed.speeds[REFERENCE] if timed else NOT_ASKED,
    )
