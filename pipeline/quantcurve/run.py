"""The whole pipeline on one screen: `run` makes every stage's artifacts and the record of the run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from quantcurve import assemble, machine, openvino_lane
from quantcurve.calibration_items import Offered, load_offered
from quantcurve.engines import llamacpp, openvino
from quantcurve.errors import BackendError, RecipeError
from quantcurve.recipe import LoadedRecipe, Recipe, Windows, at
from quantcurve.recipe_text import MIN_WINDOWS
from quantcurve.records import REFERENCE
from quantcurve.results import RunResult
from quantcurve.session import Event, Progress, Session
from quantcurve.stages import (
    benchmark,
    calibrate,
    export,
    imatrix,
    kv_cache,
    resolve,
    scorecard,
    screen,
    tasks,
    tokenize,
    validation_sets,
)
from quantcurve.stages.route import route
from quantcurve.stages.scoring import Model
from quantcurve.store import Store
from quantcurve.texts import LoadedText, load_texts


class Where(NamedTuple):
    """Where and how to run: nothing here belongs into a recipe."""

    threads: int | None = None
    """CPU threads; None for all physical cores."""
    device: Literal["cpu", "gpu"] = "cpu"
    cache: Path | None = None
    logs: Path | None = None
    force: frozenset[str] = frozenset()


def silent(event: Event) -> None:
    """Progress that nobody watches."""


def open_session(
    where: Where, progress: Progress = silent, remember: bool = True, openvino_too: bool = False
) -> Session:
    """The surroundings of a run; `remember` as in Store, `openvino_too` for a recipe with variants for it.

    Raises:
        PrerequisiteError: llama-cpp-python is not installed, or has no GPU support where one is asked for; OpenVINO is
            not, and the recipe has variants for it.
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
        openvino=openvino.identity(store.hash_file) if openvino_too else None,
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
        PrerequisiteError: something is missing on this machine, also a device that a variant names.
        BackendError: the reference cannot be made or measured; what fails for one variant is in its result.
    """
    session = open_session(where or Where(), progress, openvino_too=bool(loaded.recipe.variants.openvino))
    openvino_lane.require_devices(loaded, session)
    openvino_lane.require_tools(loaded.recipe)
    validation_sets.check_functions(loaded)
    tasks.check(loaded, session)
    scorecard.check(loaded)
    session.store.sweep()
    texts = load_texts(loaded)
    offered = load_offered(loaded, loaded.recipe.calibration, texts) if needs_calibration(loaded.recipe) else None
    with session.store.in_use():
        return _run(loaded, texts, offered, session)


def _run(loaded: LoadedRecipe, texts: Sequence[LoadedText], offered: Offered | None, session: Session) -> RunResult:
    recipe, base = loaded.recipe, loaded.path.parent
    with session.timed("resolve"), at(loaded, "model", "source"):
        reference = resolve.resolve(recipe.model, base, session)
    with session.timed("tokenize"), at(loaded, "texts"):
        windowed = tokenize.tokenize(recipe.texts, texts, recipe.windows, recipe.seed, reference, session)
    contexts = _contexts(loaded, texts, windowed, reference, session)
    calibrated = _calibrated(loaded, offered, reference, session)
    exported = openvino_lane.export_checked(loaded, texts, reference, session)
    matrix = _matrix(loaded, calibrated, reference, session)
    with session.timed("quantize"), at(loaded, "variants", "gguf"):
        ggufs = resolve.quantize(reference, recipe.variants.gguf, matrix, session)
    made = [*ggufs, *openvino_lane.compress(loaded, exported, calibrated, windowed, reference, session)]
    models = [variant_model(v) for v in made if not isinstance(v, resolve.Failed)]
    original = reference_model(reference)
    config = session.scoring_config(recipe.engine, recipe.windows.tokens)
    along = route(windowed, recipe.seed)
    with session.timed("screen"):
        screened = screen.screen(screen.Task(original, models, windowed, along, recipe.screen, config), session)
    measured = [m for m in models if m.name not in screened.failed]
    with session.timed("kv_cache"):
        caches = kv_cache.measure(original, measured, contexts, session)
    splits = openvino_lane.splits(recipe, original, measured, windowed, screened, session)
    with session.timed("evaluate"):
        evaluated = tasks.evaluate(loaded, reference, [original, *measured], session)
    with session.timed("benchmark"):
        timed = benchmark.benchmark(recipe, recipe.benchmark, [original, *measured], session)
    with session.timed("scorecard"):
        candidates, systems = assemble.candidates(measured, screened), assemble.systems([original, *measured], timed)
        scored = scorecard.evaluate(loaded, reference, [original, *measured], candidates, systems, session)
    more = assemble.More(caches, splits, openvino_lane.latencies(recipe, measured, session), evaluated, scored.cards)
    with session.timed("frontier"):
        variants, warnings = assemble.variants(recipe, made, windowed, screened, more, timed)
    inputs = assemble.Inputs(
        reference,
        windowed,
        exported.tokenizers if isinstance(exported, openvino_lane.Exported) else None,
        calibrated.result if isinstance(calibrated, calibrate.Calibrated) else None,
        matrix.result if isinstance(matrix, imatrix.Matrix) else None,
        scored.asked,
    )
    return assemble.record(loaded, session, inputs, screened, timed, evaluated, variants, warnings)


def reference_model(reference: resolve.Reference) -> Model:
    """The reference as it is scored and timed."""
    return Model(REFERENCE, reference.path, reference.step.file.content_hash, reference.step.file.size_bytes)


def variant_model(variant: resolve.Variant | export.Ir) -> Model:
    """A variant as it is scored and timed."""
    file = variant.file
    runtime = variant.entry.cache if isinstance(variant, resolve.Variant) else variant.runtime
    return Model(variant.name, variant.path, file.content_hash, file.size_bytes, runtime)


def needs_calibration(recipe: Recipe) -> bool:
    """Whether a variant is made with calibration texts."""
    by_matrix = any(v.imatrix for v in recipe.variants.gguf) and not recipe.imatrix.file
    return by_matrix or any(v.data_aware for v in recipe.variants.openvino)


def _calibrated(
    loaded: LoadedRecipe, offered: Offered | None, reference: resolve.Reference, session: Session
) -> calibrate.Calibrated | resolve.Failed | None:
    """The calibration set, if a variant needs one. Where too little is left of its texts it is `Failed`, with the
    variants that need it."""
    if offered is None:
        return None
    recipe = loaded.recipe
    try:
        with session.timed("calibrate"), at(loaded, "calibration"):
            return calibrate.calibrate(offered, recipe.calibration, recipe.seed, reference, session)
    except RecipeError as error:
        return resolve.Failed("calibration", str(error), str(session.log("calibration")))


def _matrix(
    loaded: LoadedRecipe,
    calibrated: calibrate.Calibrated | resolve.Failed | None,
    reference: resolve.Reference,
    session: Session,
) -> imatrix.Matrix | resolve.Failed | None:
    """The importance matrix, if a variant wants one. One that cannot be computed is `Failed`, with those variants."""
    recipe = loaded.recipe
    if not any(v.imatrix for v in recipe.variants.gguf):
        return None
    if recipe.imatrix.file:
        with session.timed("imatrix"), at(loaded, "imatrix", "file"):
            return imatrix.read(loaded.path.parent / Path(recipe.imatrix.file).expanduser(), session)
    if calibrated is None or isinstance(calibrated, resolve.Failed):
        return calibrated
    config = session.scoring_config(recipe.engine, recipe.calibration.window_tokens)
    try:
        with session.timed("imatrix"):
            return imatrix.compute(reference, calibrated, config, session)
    except BackendError as error:
        return resolve.Failed("imatrix", error.message, str(error.log))


def _contexts(
    loaded: LoadedRecipe,
    texts: Sequence[LoadedText],
    windowed: Sequence[tokenize.Windowed],
    reference: resolve.Reference,
    session: Session,
) -> list[kv_cache.Context]:
    """The windows on which other KV caches than F16 are compared, if a variant has one."""
    recipe, settings = loaded.recipe, loaded.recipe.kv_cache
    if all(v.cache == kv_cache.F16 for v in recipe.variants.gguf):
        return []
    config = session.scoring_config(recipe.engine, recipe.windows.tokens)
    short = kv_cache.Context(windowed, route(windowed, recipe.seed), settings.short_windows, config)
    length = settings.long_context_tokens
    if length == recipe.windows.tokens:
        return [short]
    enough = [i for i, w in enumerate(windowed) if w.step.tokens >= MIN_WINDOWS * length]
    if not enough:
        longest = max(windowed, key=lambda w: w.step.tokens)
        with at(loaded, "kv_cache", "long_context_tokens"):
            raise RecipeError(
                f"no text has {MIN_WINDOWS} windows of {length} tokens (the longest, {longest.text.name}, has "
                f"{longest.step.tokens} tokens); add a longer text or give a shorter context"
            )
    with session.timed("tokenize"):
        windows = Windows(tokens=length)
        long = tokenize.tokenize(
            [recipe.texts[i].model_copy(update={"windows": None}) for i in enough],
            [texts[i] for i in enough],
            windows,
            recipe.seed,
            reference,
            session,
        )
    long_config = session.scoring_config(recipe.engine, length)
    return [short, kv_cache.Context(long, route(long, recipe.seed), settings.long_windows, long_config)]
