"""What a run would ask: lm-eval's tasks, whose length is only seen when they are loaded, and the scorecard's slices."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from quantcurve.recipe import Recipe
from quantcurve.scorecard_plan import items_of
from quantcurve.stages.scorecard import entries


class Planned(NamedTuple):
    """A step whose time is not known beforehand."""

    stage: str
    what: str


def evaluated(recipe: Recipe, variants: int) -> Iterator[Planned]:
    """Of a recipe with so many variants that are compared."""
    evaluation = recipe.evaluate
    for task in evaluation.tasks if evaluation else ():
        asked = len(evaluation.variants) if evaluation and evaluation.variants else variants
        documents = f"{task.limit} documents" if task.limit else "all documents"
        yield Planned("evaluate", f"{task.label}, {documents}, the reference and {asked} variants")
    lanes = sum(1 for some in (recipe.variants.gguf, recipe.variants.openvino) if some)
    models = min(lanes * recipe.contract.shortlist, variants)
    for entry in entries(recipe):
        items = items_of(recipe.contract, entry.name, entry.items, None)
        yield Planned("scorecard", f"{entry.name}, up to {items} items, the reference and {models} variants at most")
