"""What a run would ask: lm-eval's tasks, whose length is only seen when they are loaded, and the scorecard's slices."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from quantcurve.recipe import LoadedRecipe
from quantcurve.scorecard_plan import QUICK_SECONDS
from quantcurve.slices import loading
from quantcurve.slices.asks import ANSWER_TOKENS
from quantcurve.slices.items import ChoiceItem, Item
from quantcurve.stages.scorecard import BATCH, entries

BYTES_PER_TOKEN = 3.5
"""Of English text, before it is tokenised."""


class Planned(NamedTuple):
    """A step and what goes through models for it."""

    stage: str
    what: str
    models: int = 0
    """The reference counted; 0: nothing is known of the time."""
    pass_tokens: int = 0
    """Of one model, many at a time: prompts, choices, answers that are followed."""
    steps: int = 0
    """Of one model, one token of each of `batch` answers."""
    batch: int = 1
    most_s: float = math.inf
    """Of one model, where the mode ends it."""


def evaluated(loaded: LoadedRecipe, variants: int) -> Iterator[Planned]:
    """Of a recipe with so many variants that are compared.

    Raises:
        RecipeError: a slice's file is wrong.
    """
    recipe, evaluation = loaded.recipe, loaded.recipe.evaluate
    for task in evaluation.tasks if evaluation else ():
        asked = len(evaluation.variants) if evaluation and evaluation.variants else variants
        documents = f"{task.limit} documents" if task.limit else "all documents"
        yield Planned("evaluate", f"{task.label}, {documents}, the reference and {asked} variants")
    lanes = sum(1 for some in (recipe.variants.gguf, recipe.variants.openvino) if some)
    models = min(lanes * recipe.contract.shortlist, variants)
    quick = recipe.contract.mode == "quick"
    found = entries(recipe)
    for entry in found:
        if entry.function:
            records = len(loading.load_check(entry, recipe.contract, loaded.path.parent, recipe.seed))
            yield Planned("scorecard", f"{entry.name}, up to {records} records by {entry.function}")
            continue
        items = loading.load(entry, recipe.contract, loaded.path.parent, recipe.seed).items
        batch = evaluation.batch if evaluation else BATCH
        yield Planned(
            "scorecard",
            f"{entry.name}, up to {len(items)} items, the reference and {models} variants at most",
            models=1 + models,
            pass_tokens=sum(_pass_tokens(item, entry.max_tokens) for item in items),
            steps=_steps(items, entry.max_tokens, batch),
            batch=batch,
            most_s=QUICK_SECONDS / len(found) if quick else math.inf,
        )


def _pass_tokens(item: Item, max_tokens: int | None) -> int:
    prompt = _tokens("".join((item.prompt, *(message.content for message in item.messages))))
    if isinstance(item, ChoiceItem):
        return prompt + sum(map(_tokens, item.choices))
    return 2 * prompt + _most(item, max_tokens)


def _steps(items: Sequence[Item], max_tokens: int | None, batch: int) -> int:
    """Answers as long as they may be, in groups of prompts of about one length."""
    lengths = [_most(item, max_tokens) for item in items if not isinstance(item, ChoiceItem)]
    return sum(max(lengths[i : i + batch]) for i in range(0, len(lengths), batch))


def _most(item: Item, max_tokens: int | None) -> int:
    return item.max_tokens or max_tokens or ANSWER_TOKENS[item.kind]


def _tokens(text: str) -> int:
    return math.ceil(len(text.encode()) / BYTES_PER_TOKEN)
