"""The recipe's slices as items, in a random order that the seed fixes: any beginning of it is a sample of the whole."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from quantcurve.recipe_contract import Contract
from quantcurve.recipe_slices import SliceEntry
from quantcurve.scorecard_plan import items_of
from quantcurve.slices import checks, files, makers
from quantcurve.slices.items import CheckItem, Item

T = TypeVar("T")


class LoadedSlice(NamedTuple):
    """A slice, and its items in the order in which they are asked."""

    entry: SliceEntry
    items: Sequence[Item]


def load(entry: SliceEntry, contract: Contract, base: Path, seed: int) -> LoadedSlice:
    """Items of one slice: as many as its entry says, or as its budgets need, or as there are.

    Args:
        entry: of the recipe.
        contract: budgets.
        base: folder of the recipe.
        seed: of the recipe.

    Raises:
        RecipeError: the file cannot be read, or is wrong.
    """
    if entry.file is None:
        count = items_of(contract, entry.name, entry.items, makers.distinct(entry.maker))
        return LoadedSlice(entry, makers.made(entry.maker, count, seed))
    every = files.read(_path(entry, base), entry.kind, entry.format, None, seed)
    return LoadedSlice(entry, _drawn(every, entry, contract, seed))


def load_check(entry: SliceEntry, contract: Contract, base: Path, seed: int) -> list[CheckItem]:
    """Items of one check; arguments and errors as `load`."""
    return _drawn(checks.read(_path(entry, base)), entry, contract, seed)


def _path(entry: SliceEntry, base: Path) -> Path:
    assert entry.file
    return base / Path(entry.file).expanduser()


def _drawn(every: Sequence[T], entry: SliceEntry, contract: Contract, seed: int) -> list[T]:
    order = np.random.default_rng(seed).permutation(len(every))
    count = items_of(contract, entry.name, entry.items, len(every))
    return [every[i] for i in order[:count]]
