"""What the store holds of a recipe: the keys are followed from stage to stage as far as there are results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from quantcurve import openvino_lane, sources
from quantcurve.calibration_items import load_offered
from quantcurve.recipe import LoadedRecipe, Recipe, at
from quantcurve.recipe_accuracy import chosen
from quantcurve.records import REFERENCE, ImatrixResult
from quantcurve.run import needs_calibration, reference_model, variant_model
from quantcurve.session import Session
from quantcurve.stages import (
    benchmark,
    calibrate,
    compress,
    controls,
    export,
    genai,
    imatrix,
    latency,
    resolve,
    screen,
    tokenize,
    tokenizer_gate,
    validation_sets,
)
from quantcurve.stages.calibrate import Calibrated
from quantcurve.stages.route import route
from quantcurve.stages.scoring import Model
from quantcurve.texts import LoadedText


@dataclass
class Known:
    """What the store holds of this recipe."""

    reference: resolve.Reference | None = None
    windowed: list[tokenize.Windowed | None] = field(default_factory=list)
    calibrated: Calibrated | None = None
    """The calibration set, if one is needed and there is one."""
    matrix_hash: str | None = None
    """Of the importance matrix, if one is wanted and there is one."""
    tokenizers: bool = False
    """Whether those of both lanes are known to agree."""
    models: dict[str, Model] = field(default_factory=dict)
    """The reference and the variants that are there."""
    scored: set[str] = field(default_factory=set)
    """Models whose whole way through the screen is there."""
    timed: bool = False
    latency: set[str] = field(default_factory=set)
    """Variants whose every round by benchmark_app is there."""
    genai: set[str] = field(default_factory=set)
    """Variants with OpenVINO GenAI's figures."""


def look_up(loaded: LoadedRecipe, texts: Sequence[LoadedText], located: sources.Located, session: Session) -> Known:
    """What the store holds of a recipe; writes nothing.

    Raises:
        RecipeError, PrerequisiteError: a calibration text or the importance matrix of the recipe is wrong.
    """
    recipe, known = loaded.recipe, Known(windowed=[None] * len(texts))
    offered = load_offered(loaded, recipe.calibration, texts) if needs_calibration(recipe) else None
    matrix = _users_matrix(loaded, session)
    source_hash = sources.content_hash(located, session.store.hash_file)
    found = session.peek(
        "resolve", resolve.reference_inputs(recipe.model, source_hash, session.engine), resolve.ReferenceStep
    )
    if found is None:
        return known
    step, folder = found
    known.reference = resolve.reference_in(folder, located, step)
    known.models[REFERENCE] = reference_model(known.reference)
    reference_hash = step.file.content_hash
    known.windowed = [
        tokenize.find(entry, text, recipe.windows, recipe.seed, reference_hash, session)
        for entry, text in zip(recipe.texts, texts, strict=True)
    ]
    if offered:
        known.calibrated = calibrate.find(offered, recipe.calibration, recipe.seed, reference_hash, session)
    known.matrix_hash = matrix or _matrix_hash(recipe, known.calibrated, reference_hash, session)
    for entry in recipe.variants.gguf:
        inputs = resolve.variant_inputs(entry, reference_hash, known.matrix_hash, session.engine)
        if (not entry.imatrix or known.matrix_hash) and (
            variant := session.peek("quantize", inputs, resolve.VariantStep)
        ):
            made = resolve.Variant(entry, variant[1] / "model.gguf", variant[0])
            known.models[entry.label] = variant_model(made)
    if recipe.variants.openvino:
        _look_up_irs(loaded, texts, known, session)
    _look_up_figures(recipe, known, session)
    return known


def _look_up_irs(loaded: LoadedRecipe, texts: Sequence[LoadedText], known: Known, session: Session) -> None:
    assert known.reference
    recipe, reference_hash = loaded.recipe, known.reference.step.file.content_hash
    source = export.find(known.reference, session)
    if source is None:
        return
    known.models[source.name] = variant_model(source)
    gate = tokenizer_gate.gate_inputs(reference_hash, source.path, texts, session)
    known.tokenizers = session.cached(tokenizer_gate.STAGE, gate)
    calibration = openvino_lane.calibration_of(known.calibrated)
    apart = openvino_lane.apart_from([w for w in known.windowed if w], known.calibrated)
    prepared = validation_sets.find(loaded, source.path, apart, reference_hash, session)
    for entry in recipe.variants.openvino:
        if entry.data_aware and not calibration:
            continue
        if entry.accuracy_control:
            validation = chosen(entry.accuracy_control, recipe.validations)
            judged = prepared.get(validation.name) if validation else None
            found = controls.find(source, entry, calibration, judged, session) if judged else None
        else:
            found = compress.find_variant(source, entry, calibration, session)
        if found:
            known.models[entry.label] = variant_model(found)
    _look_up_latencies(recipe, known, session)


def _look_up_latencies(recipe: Recipe, known: Known, session: Session) -> None:
    models = [m for name, m in known.models.items() if name in openvino_lane.names(recipe)]
    if plan := openvino_lane.latency_plan(recipe):
        rounds = range(plan.rounds)
        known.latency = {
            m.name
            for m in models
            if all(session.cached("latency", latency.latency_inputs(m, plan, r, session)) for r in rounds)
        }
    if recipe.benchmark and (workload := recipe.benchmark.genai):
        known.genai = {m.name for m in models if session.cached("genai", genai.genai_inputs(m, workload, session))}


def _users_matrix(loaded: LoadedRecipe, session: Session) -> str | None:
    """Hash of the importance matrix that the user has, if a variant wants one."""
    settings = loaded.recipe.imatrix
    if not settings.file or not any(v.imatrix for v in loaded.recipe.variants.gguf):
        return None
    with at(loaded, "imatrix", "file"):
        return imatrix.read(loaded.path.parent / Path(settings.file).expanduser(), session).result.content_hash


def _matrix_hash(recipe: Recipe, calibrated: Calibrated | None, reference_hash: str, session: Session) -> str | None:
    """Of the computed importance matrix, if a variant wants one and it is there."""
    if calibrated is None or not any(v.imatrix for v in recipe.variants.gguf):
        return None
    config = session.scoring_config(recipe.engine, recipe.calibration.window_tokens)
    inputs = imatrix.inputs_of(reference_hash, calibrated.result, config, session.engine)
    made = session.peek("imatrix", inputs, ImatrixResult)
    return made[0].content_hash if made else None


def _look_up_figures(recipe: Recipe, known: Known, session: Session) -> None:
    windowed = [w for w in known.windowed if w is not None]
    if len(windowed) < len(known.windowed):
        return
    reference, *variants = known.models.values()
    config, along = session.scoring_config(recipe.engine, recipe.windows.tokens), route(windowed, recipe.seed)
    known.scored = screen.stored(screen.Task(reference, variants, windowed, along, recipe.screen, config), session)
    if recipe.benchmark:
        inputs = benchmark.speed_inputs(recipe, recipe.benchmark, list(known.models.values()), session)
        known.timed = session.cached("benchmark", inputs)
