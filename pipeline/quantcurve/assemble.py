"""From what the stages made to the record of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from quantcurve import __version__, machine, openvino_lane
from quantcurve.budgets_system import SystemFigures
from quantcurve.calibration import CalibrationResult
from quantcurve.engines.base import CacheTypes, LlamaCppConfig
from quantcurve.estimates import Missing
from quantcurve.metrics import sequential
from quantcurve.metrics.transforms import exp_estimate
from quantcurve.recipe import LoadedRecipe, Recipe
from quantcurve.recipe_openvino import FLOOR
from quantcurve.records import REFERENCE, EngineIdentity, Frozen, ImatrixResult, LlamaCppEffective, TokenizersResult
from quantcurve.results import CacheFigures, Divergence, LossSplit, ReferenceResult, RunResult, Slice, VariantResult
from quantcurve.scorecard_plan import Candidate
from quantcurve.scorecard_records import Scorecard
from quantcurve.session import Session
from quantcurve.stages import export, figures, frontier, resolve, screen, tasks, tokenize
from quantcurve.stages.benchmark import Timed
from quantcurve.stages.scoring import Model
from quantcurve.store import key_of
from quantcurve.variant_notes import Made, Runs, notes

FAILED = Missing(missing="not timed: the variant failed")
NOT_ASKED = Missing(missing="not timed: the recipe has no benchmark")


class RunKey(Frozen):
    """What determines a run's figures."""

    recipe: Recipe
    reference: str
    windows: tuple[str, ...]
    scoring: LlamaCppConfig
    speed: str | None
    """Hash of the machine, where speed was measured."""
    engines: tuple[EngineIdentity, ...]
    calibration: str | None
    """Content hash of the calibration set."""
    imatrix: str | None
    """Content hash of the importance matrix."""
    slices: tuple[str, ...]
    """Of each slice that was asked a hash of its items and of what judges them."""
    packages: tuple[tuple[str, str], ...]
    """Name and version of what exports and compresses for OpenVINO."""


class Inputs(NamedTuple):
    """What a run measured with."""

    reference: resolve.Reference
    windowed: Sequence[tokenize.Windowed]
    tokenizers: TokenizersResult | None
    calibration: CalibrationResult | None
    imatrix: ImatrixResult | None
    slices: tuple[str, ...] = ()
    """See RunKey."""


class More(NamedTuple):
    """What is known of some variants only, by name."""

    caches: Mapping[str, tuple[CacheFigures, ...] | Missing]
    splits: Mapping[str, LossSplit | Missing]
    latencies: openvino_lane.Latencies
    evaluated: tasks.Evaluated = tasks.Evaluated()
    cards: Mapping[str, Scorecard] = {}


class _Found(NamedTuple):
    """What the record of a variant is made of."""

    made: Sequence[Made]
    openvino: tuple[str, ...]
    """Names of what OpenVINO runs."""
    windowed: Sequence[tokenize.Windowed]
    screened: screen.Screened
    more: More
    timed: Timed | None


def candidates(models: Sequence[Model], screened: screen.Screened) -> list[Candidate]:
    """Variants as the scorecard's shortlist sees them; the engine floor is none."""
    found = []
    for model in models:
        if model.name == FLOOR:
            continue
        scores = screened.variants[model.name]
        assert scores.kl is not None
        lane: Literal["llama.cpp", "OpenVINO"] = "llama.cpp" if isinstance(model.runtime, CacheTypes) else "OpenVINO"
        discarded = screened.verdicts[model.name].decision == "discard"
        found.append(Candidate(model.name, lane, model.size_bytes, float(scores.kl.mean()), discarded))
    return found


def systems(models: Sequence[Model], timed: Timed | None) -> dict[str, SystemFigures]:
    """What each model takes on this machine."""
    found = {}
    for model in models:
        speed = timed.speeds[model.name] if timed else NOT_ASKED
        plain = SystemFigures(model.size_bytes)
        if timed and not isinstance(speed, Missing):
            work = timed.workload
            plain = SystemFigures(
                model.size_bytes, speed.samples, speed.peak_memory_bytes, work.prompt_tokens, work.decode_tokens
            )
        found[model.name] = plain
    return found


def variants(
    recipe: Recipe,
    made: Sequence[Made],
    windowed: Sequence[tokenize.Windowed],
    screened: screen.Screened,
    more: More,
    timed: Timed | None,
) -> tuple[list[VariantResult], tuple[str, ...]]:
    """All variants with their figures, on or behind the Pareto front, and warnings about the machine's noise.

    The engine floor is no variant to choose: it stands neither on the front nor behind it, and is tied with none.
    """
    found = _Found(made, openvino_lane.names(recipe), windowed, screened, more, timed)
    judged = [_judged(item, found) for item in made]
    competing = (v for v in judged if v.name != FLOOR and v.verdict and v.verdict.decision != "discard")
    points = [_point(v, screened) for v in competing]
    standings = {s.name: s for s in frontier.pareto(points, screened.route)}
    placed = [v.model_copy(update=standing._asdict()) if (standing := standings.get(v.name)) else v for v in judged]
    warnings = frontier.speed_warnings(points, recipe.benchmark.decode_tokens) if recipe.benchmark else ()
    return placed, warnings


def record(
    loaded: LoadedRecipe,
    session: Session,
    inputs: Inputs,
    screened: screen.Screened,
    timed: Timed | None,
    evaluated: tasks.Evaluated,
    placed: Sequence[VariantResult],
    warnings: tuple[str, ...],
) -> RunResult:
    """The record of a run."""
    recipe = loaded.recipe
    config, timing = screened.configs[REFERENCE], timed.configs.get(REFERENCE) if timed else None
    assert isinstance(config, LlamaCppEffective)
    assert timing is None or isinstance(timing, LlamaCppEffective)
    return RunResult(
        name=recipe.name,
        quantcurve_version=__version__,
        run_key=key_of(run_key(recipe, session, inputs, timed is not None)),
        recipe_text=loaded.text,
        engine=session.engine,
        openvino=session.openvino,
        scoring_config=config,
        timing_config=timing,
        workload=timed.workload if timed else None,
        machine=machine.facts(),
        texts=tuple(w.result() for w in inputs.windowed),
        screen=screened.effort,
        calibration=inputs.calibration,
        imatrix=inputs.imatrix,
        tokenizers=inputs.tokenizers,
        reference=_reference_result(inputs, screened, timed, evaluated),
        variants=tuple(placed),
        warnings=warnings + _context_warnings(config.trained_context_tokens, recipe),
        stages=session.stage_times(),
    )


def run_key(recipe: Recipe, session: Session, inputs: Inputs, timed: bool) -> RunKey:
    """What determines the figures of a run; `timed`: whether speed is among them."""
    return RunKey(
        recipe=recipe,
        reference=inputs.reference.step.file.content_hash,
        windows=tuple(tokenize.windows_hash(w.windows) for w in inputs.windowed),
        scoring=session.scoring_config(recipe.engine, recipe.windows.tokens),
        speed=key_of(machine.facts()) if timed else None,
        engines=tuple(e for e in (session.engine, session.openvino) if e),
        calibration=inputs.calibration.content_hash if inputs.calibration else None,
        imatrix=inputs.imatrix.content_hash if inputs.imatrix else None,
        slices=inputs.slices,
        packages=export.packages() if session.openvino else (),
    )


def _judged(item: Made, found: _Found) -> VariantResult:
    """A variant's figures and verdict, before it is placed among the others."""
    screened, more, timed = found.screened, found.more, found.timed
    engine: Literal["llama.cpp", "OpenVINO"] = "OpenVINO" if item.name in found.openvino else "llama.cpp"
    failed = item if isinstance(item, resolve.Failed) else screened.failed.get(item.name)
    if failed:
        return VariantResult(
            name=failed.name,
            engine=engine,
            status="failed",
            failure=failed.reason,
            log=failed.log,
            speed=FAILED if timed else NOT_ASKED,
        )
    assert not isinstance(item, resolve.Failed)
    texts = [w.scored_text() for w in found.windowed]
    overall, each = figures.slices(texts, screened.route, screened.variants[item.name], screened.reference)
    return VariantResult(
        name=item.name,
        engine=engine,
        status="measured",
        accuracy_control=item.step.control if isinstance(item, export.Ir) else None,
        file=item.file,
        tensor_types=item.step.tensor_types if isinstance(item, resolve.Variant) else (),
        verdict=screened.verdicts[item.name],
        overall=_stopped_early(overall, item.name, screened),
        slices=each,
        speed=timed.speeds[item.name] if timed else NOT_ASKED,
        scoring_config=screened.configs[item.name],
        timing_config=timed.configs.get(item.name) if timed else None,
        kv_cache=more.caches.get(item.name, ()),
        weights_from=item.step.weights_from if isinstance(item, export.Ir) else "reference",
        loss_split=more.splits.get(item.name),
        latency=more.latencies.benchmark_app.get(item.name),
        genai=more.latencies.genai.get(item.name),
        tasks=more.evaluated.variants.get(item.name, ()),
        scorecard=more.cards.get(item.name),
        notes=notes(item, Runs(found.made, screened.configs, more.latencies.genai)),
    )


def _stopped_early(overall: Slice, name: str, screened: screen.Screened) -> Slice:
    """Where a variant stopped early, the figures that decided when carry the intervals that allow for the looking."""
    scores, reference = screened.variants[name], screened.reference
    n = len(scores.nll)
    if n == len(screened.route.order):
        return overall
    assert overall.divergence and scores.kl is not None
    differences = (scores.nll - reference.nll[:n]).mean(axis=1)
    ln_ratio = sequential.confidence_sequence(differences, screened.alpha, screen.LN_RATIO)
    kl = sequential.confidence_sequence(scores.kl.mean(axis=1), screen.KL_ALPHA, figures.NATS)
    update = {
        "ln_perplexity_ratio": ln_ratio,
        "perplexity_ratio": exp_estimate(ln_ratio, "ratio"),
        "kl_mean": figures.not_negative(kl),
    }
    divergence: Divergence = overall.divergence.model_copy(update=update)
    return overall.model_copy(update={"divergence": divergence})


def _point(variant: VariantResult, screened: screen.Screened) -> frontier.Point:
    assert variant.file and variant.scoring_config
    scores = screened.variants[variant.name]
    assert scores.kl is not None
    config = variant.scoring_config
    return frontier.Point(
        name=variant.name,
        kl_windows=scores.kl.mean(axis=1),
        size_bytes=variant.file.size_bytes,
        cache_bytes_per_token=config.cache_bytes_per_token,
        decode_s=() if isinstance(variant.speed, Missing) else variant.speed.samples.decode_s,
    )


def _context_warnings(trained_tokens: int, recipe: Recipe) -> tuple[str, ...]:
    lengths = [recipe.windows.tokens]
    if any(v.cache.label() for v in recipe.variants.gguf):
        lengths.append(recipe.kv_cache.long_context_tokens)
    return tuple(
        f"windows of {length} tokens are longer than the context the model knows ({trained_tokens})"
        for length in lengths
        if length > trained_tokens
    )


def _reference_result(
    inputs: Inputs, screened: screen.Screened, timed: Timed | None, evaluated: tasks.Evaluated
) -> ReferenceResult:
    step = inputs.reference.step
    texts = [w.scored_text() for w in inputs.windowed]
    overall, each = figures.slices(texts, screened.route, screened.reference, None)
    return ReferenceResult(
        name=step.precision,
        source=inputs.reference.source,
        precision=step.precision,
        file=step.file,
        provenance=step.provenance,
        overall=overall,
        slices=each,
        speed=timed.speeds[REFERENCE] if timed else NOT_ASKED,
        tasks=evaluated.reference,
    )
