"""The items of every validation: windows of texts by llama.cpp's tokenizer, or records; none of them is a text of
calibration or evaluation."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from quantcurve import validation_items, validation_loading
from quantcurve.engines.base import Tokens
from quantcurve.errors import RecipeError
from quantcurve.recipe import LoadedRecipe, Windows, at
from quantcurve.recipe_accuracy import Validation, chosen
from quantcurve.recipe_text import Text
from quantcurve.session import Session
from quantcurve.stages import tokenize
from quantcurve.stages.accuracy_control import Prepared
from quantcurve.stages.resolve import Reference
from quantcurve.texts import LoadedText, load_text

Cut = Callable[[Sequence[Text], Sequence[LoadedText], Windows], list[tokenize.Windowed]]
LONGEST_CONTEXT = 4096
"""Of items that are records, whose length is not known before they are tokenised: at most so many tokens, or what the
model was trained for."""


def wanted(loaded: LoadedRecipe) -> list[tuple[int, Validation]]:
    """Validations that a variant under accuracy control means, with their places in the recipe."""
    recipe = loaded.recipe
    controls = [v.accuracy_control for v in recipe.variants.openvino if v.accuracy_control]
    meant = {found.name for control in controls if (found := chosen(control, recipe.validations))}
    return [(i, v) for i, v in enumerate(recipe.validations) if v.name in meant]


def check_functions(loaded: LoadedRecipe) -> None:
    """Load every validation function once, before anything is made.

    Raises:
        RecipeError: one cannot be loaded; the message has its place in the recipe.
    """
    for index, validation in wanted(loaded):
        with at(loaded, "validations", index, "function"):
            validation_loading.load(validation.function, loaded.path.parent)


def prepare(
    loaded: LoadedRecipe, exported: Path, apart_from: Sequence[Tokens], reference: Reference, session: Session
) -> dict[str, Prepared]:
    """Every validation that is used, by name.

    Args:
        loaded: the recipe.
        exported: folder of the float32 IR.
        apart_from: windows of calibration and evaluation, (W, T) each.
        reference: whose tokenizer cuts texts.
        session: the run's surroundings.

    Raises:
        RecipeError: a text or record is wrong, or there are too few items.
    """

    def cut(texts: Sequence[Text], loaded_texts: Sequence[LoadedText], windows: Windows) -> list[tokenize.Windowed]:
        return tokenize.tokenize(texts, loaded_texts, windows, loaded.recipe.seed, reference, session)

    found = {}
    for index, validation in wanted(loaded):
        with at(loaded, "validations", index):
            if prepared := _prepared(loaded, validation, exported, apart_from, cut):
                found[validation.name] = prepared
    return found


def find(
    loaded: LoadedRecipe, exported: Path, apart_from: Sequence[Tokens], reference_hash: str, session: Session
) -> dict[str, Prepared]:
    """As `prepare`, without validations whose texts are not tokenised yet; writes nothing."""

    def cut(texts: Sequence[Text], loaded_texts: Sequence[LoadedText], windows: Windows) -> list[tokenize.Windowed]:
        pairs = zip(texts, loaded_texts, strict=True)
        found = (tokenize.find(t, text, windows, loaded.recipe.seed, reference_hash, session) for t, text in pairs)
        return [windowed for windowed in found if windowed]

    made = ((v.name, _prepared(loaded, v, exported, apart_from, cut)) for _, v in wanted(loaded))
    return {name: prepared for name, prepared in made if prepared}


def _prepared(
    loaded: LoadedRecipe, validation: Validation, exported: Path, apart_from: Sequence[Tokens], cut: Cut
) -> Prepared | None:
    base, seed = loaded.path.parent, loaded.recipe.seed
    function_hash = validation_loading.source_hash(validation.function, base)
    if validation.records:
        items = validation_items.records(validation, base, seed)
        return Prepared(validation, items, function_hash, base, _context(exported))
    texts = [load_text(text, base) for text in validation.texts]
    windowed = cut(validation.texts, texts, Windows(tokens=validation.item_tokens, choose="random"))
    if len(windowed) < len(texts):
        return None
    named = [validation_items.TextWindows(text.text.name, text.windows) for text in windowed]
    items = validation_items.windows(validation, named, apart_from, seed)
    return Prepared(validation, items, function_hash, base, validation.item_tokens)


def _context(exported: Path) -> int:
    """Tokens that a record may have."""
    try:
        trained = json.loads((exported / "config.json").read_text())["max_position_embeddings"]
    except (OSError, ValueError, KeyError) as error:
        raise RecipeError(f"{exported / 'config.json'}: it does not tell the model's context ({error})") from error
    return min(int(trained), LONGEST_CONTEXT)
