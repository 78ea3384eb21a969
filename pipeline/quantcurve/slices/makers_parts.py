"""How a slice is drawn: from parts with numbered items, the parts in turn, each in an order that the seed gives.

A part knows how many distinct items it has and makes any of them from its number. So a slice of any length needs no
list of all items, a longer slice begins with a shorter one, and no item comes twice.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import islice
from random import Random
from typing import Any, NamedTuple, Protocol

from quantcurve.slices.items import Item


class Makes(Protocol):
    """Makes the item of a number from 0 on, without its id; what the number leaves open is drawn."""

    def __call__(self, index: int, chance: Random) -> Item:
        """The item."""
        ...


class Part(NamedTuple):
    """Items of one pattern."""

    name: str
    """Unique among the parts of a slice; the beginning of its items' ids."""
    size: int
    """Distinct items."""
    make: Makes
    """Items of numbers from 0 to size - 1."""


def drawn(slice_name: str, parts: Sequence[Part], items: int, seed: int) -> Iterator[Item]:
    """So many items, one of each part in turn while the part has more.

    Args:
        slice_name: other slices of the same seed are in another order.
        parts: with `items` items at least.
        items: how many.
        seed: of the orders, and of what a number leaves open.
    """
    ranks = Random(f"{slice_name} {seed} parts").sample(range(len(parts)), len(parts))
    return islice(_in_turn([_in_order(slice_name, parts[rank], seed) for rank in ranks]), items)


def combinations(over: Sequence[Sequence[Any]]) -> int:
    """How many ways there are to take one value of each."""
    return math.prod(len(values) for values in over)


def combination(index: int, over: Sequence[Sequence[Any]]) -> list[Any]:
    """One value of each: the way of a number from 0 to combinations(over) - 1."""
    taken = []
    for values in over:
        index, place = divmod(index, len(values))
        taken.append(values[place])
    return taken


def listed(text: str) -> tuple[str, ...]:
    """Entries of a table: what stands between semicolons, with single spaces."""
    return tuple(" ".join(entry.split()) for entry in text.split(";") if entry.strip())


def paired(text: str) -> tuple[tuple[str, str], ...]:
    """Entries of a table with two columns, a colon between them."""
    rows = [entry.split(": ", 1) for entry in listed(text)]
    return tuple((left, right) for left, right in rows)


def shuffled_choices(right: str, wrong: Sequence[str], chance: Random, most: int = 4) -> tuple[tuple[str, ...], int]:
    """Choices in random order, and the place of the right one.

    Args:
        right: the right choice.
        wrong: from which the others are drawn; what equals the right one is left out.
        chance: draws.
        most: choices, if there are so many.
    """
    others = sorted(set(wrong) - {right})
    texts = [right, *chance.sample(others, min(most - 1, len(others)))]
    chance.shuffle(texts)
    return tuple(texts), texts.index(right)


def _in_turn(sources: list[Iterator[Item]]) -> Iterator[Item]:
    while sources:
        left = []
        for source in sources:
            item = next(source, None)
            if item is not None:
                yield item
                left.append(source)
        sources = left


def _in_order(slice_name: str, part: Part, seed: int) -> Iterator[Item]:
    for index in _permutation(part.size, Random(f"{slice_name} {seed} {part.name}")):
        item = part.make(index, Random(f"{slice_name} {seed} {part.name} {index}"))
        yield item.model_copy(update={"id": f"{part.name}-{index}-seed{seed}"})


def _permutation(size: int, chance: Random) -> Iterator[int]:
    """Fisher and Yates's shuffle, of which only what was moved is kept."""
    moved: dict[int, int] = {}
    for place in range(size):
        other = chance.randrange(place, size)
        yield moved.get(other, other)
        moved[other] = moved.pop(place, place)
