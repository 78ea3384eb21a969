"""What a run's recipe says of its variants, read back from the record."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from quantcurve import recipe_errors
from quantcurve.engines.gguf_types import BY_NAME
from quantcurve.errors import RecipeError
from quantcurve.recipe import Recipe
from quantcurve.recipe_gguf import GgufVariant
from quantcurve.recipe_openvino import OpenVinoVariant
from quantcurve.results import RunResult


class Entries(NamedTuple):
    """Variants as the recipe has them, by their names."""

    gguf: Mapping[str, GgufVariant]
    openvino: Mapping[str, OpenVinoVariant]
    recipe: Recipe | None
    """None where this version does not read it; then GGUF variants are known that are named by their type alone."""


def entries(run: RunResult) -> Entries:
    """The variants of a run's recipe."""
    try:
        recipe = Recipe.model_validate(recipe_errors.parse(Path("recipe.yaml"), run.recipe_text))
    except (RecipeError, ValidationError):
        return Entries({v.name: GgufVariant(type=v.name) for v in run.variants if v.name in BY_NAME}, {}, None)
    gguf = {variant.label: variant for variant in recipe.variants.gguf}
    return Entries(gguf, {variant.label: variant for variant in recipe.variants.openvino}, recipe)
