"""What the store holds of a recipe: the keys are followed from stage to stage as far as there are results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from quantcurve import sources
from quantcurve.recipe import LoadedRecipe, Recipe, Windows, at
from quantcurve.records import ImatrixResult
from quantcurve.run import reference_model, variant_model
from quantcurve.session import Session
from quantcurve.stages import benchmark, export, imatrix, resolve, screen, tokenize
from quantcurve.stages.route import route
from quantcurve.stages.scoring import REFERENCE, Model
from quantcurve.texts import LoadedText, load_calibration


@dataclass
class Known:
    """What the store holds of this recipe."""

    reference: resolve.Reference | None = None
    windowed: list[tokenize.Windowed | None] = field(default_factory=list)
    matrix_hash: str | None = None
    """Of the importance matrix, if one is wanted and there is one."""
    models: dict[str, Model] = field(default_factory=dict)
    """The reference and the variants that are there."""
    scored: set[str] = field(default_factory=set)
    """Models whose whole way through the screen is there."""
    timed: bool = False


def look_up(loaded: LoadedRecipe, texts: Sequence[LoadedText], located: sources.Located, session: Session) -> Known:
    """What the store holds of a recipe; writes nothing.

    Raises:
        RecipeError, PrerequisiteError: a calibration text or the importance matrix of the recipe is wrong.
    """
    recipe, known = loaded.recipe, Known(windowed=[None] * len(texts))
    source_hash = sources.content_hash(located, session.store.hash_file)
    found = session.peek(
        "resolve", resolve.reference_inputs(recipe.model, source_hash, session.engine), resolve.ReferenceStep
    )
    if found is None:
        return known
    step, folder = found
    path = located.path if step.is_source else folder / "model.gguf"
    known.reference = resolve.Reference(path, located.description, step)
    known.models[REFERENCE] = reference_model(known.reference)
    reference_hash = step.file.content_hash
    known.windowed = [
        tokenize.find(entry, text, recipe.windows, recipe.seed, reference_hash, session)
        for entry, text in zip(recipe.texts, texts, strict=True)
    ]
    known.matrix_hash = _matrix_hash(loaded, texts, reference_hash, session)
    for entry in recipe.variants.gguf:
        inputs = resolve.variant_inputs(entry, reference_hash, known.matrix_hash, session.engine)
        if (not entry.imatrix or known.matrix_hash) and (
            variant := session.peek("quantize", inputs, resolve.VariantStep)
        ):
            made = resolve.Variant(entry, variant[1] / "model.gguf", variant[0])
            known.models[entry.label] = variant_model(made)
    if recipe.variants.openvino:
        _look_up_irs(recipe, known, session)
    _look_up_figures(recipe, known, session)
    return known


def _look_up_irs(recipe: Recipe, known: Known, session: Session) -> None:
    assert known.reference
    source = export.find(known.reference, session)
    if source is None:
        return
    known.models[source.name] = variant_model(source)
    for entry in recipe.variants.openvino:
        if found := export.find_variant(source, entry, None, session):
            known.models[entry.label] = variant_model(found)


def _matrix_hash(
    loaded: LoadedRecipe, evaluation: Sequence[LoadedText], reference_hash: str, session: Session
) -> str | None:
    """Of the importance matrix, if a variant wants one and it is there."""
    recipe, settings = loaded.recipe, loaded.recipe.imatrix
    if not any(v.imatrix for v in recipe.variants.gguf):
        return None
    if settings.file:
        with at(loaded, "imatrix", "file"):
            return imatrix.read(loaded.path.parent / Path(settings.file).expanduser(), session).result.content_hash
    windows = Windows(tokens=settings.window_tokens, limit=settings.limit)
    found = [
        tokenize.find(entry, text, windows, recipe.seed, reference_hash, session)
        for entry, text in zip(settings.texts, load_calibration(loaded, evaluation), strict=True)
    ]
    windowed = [w for w in found if w is not None]
    if len(windowed) < len(found):
        return None
    config = session.scoring_config(recipe.engine, settings.window_tokens)
    inputs = imatrix.inputs_of(reference_hash, windowed, config, session.engine)
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
