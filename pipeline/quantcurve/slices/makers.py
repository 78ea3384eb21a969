"""quantcurve's own slices: any number of items from a seed, without a file of public data and without a network.

The same name and seed give the same items in every process. The first items of a longer slice are those of a shorter
one. A different seed gives other items in another order, as far as there are others: a slice of facts has as many items
as its tables have facts.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import NamedTuple

from quantcurve.errors import RecipeError
from quantcurve.slices.items import Item
from quantcurve.slices.makers_parts import Part, drawn

VERSION = 1
"""Part of store keys: bump it where a maker's items change."""


class Maker(NamedTuple):
    """A slice that quantcurve makes."""

    name: str
    says: str
    """One sentence on what it asks."""


MAKERS = (
    Maker(
        "knowledge",
        "Multiple choice on facts that a small language model may know: capitals, chemical elements, words, animals, "
        "days and months.",
    ),
    Maker("math", "Arithmetic and word problems of one and two steps, from easy to hard, with two worked examples."),
    Maker("code", "Python functions to complete from a docstring with examples, run against asserts."),
    Maker("json", "Fields of a short text to extract into JSON by a schema that is in the prompt."),
    Maker("tools", "Function calls as JSON, one or two of them, or none where no function fits the request."),
    Maker(
        "retrieval",
        "A code word or number to find in filler text of about 200, 500 and 1000 words, planted at depths from 0 to "
        "100 percent.",
    ),
    Maker("instructions", "Short texts to write under one to three instructions that a program can check."),
    Maker("refusals", "Requests that are to be refused, and safe ones that sound like them, half and half."),
    Maker("languages", "Multiple choice on everyday facts, words and sums in twelve languages."),
)
NAMES = tuple(maker.name for maker in MAKERS)


def made(name: str, items: int, seed: int) -> tuple[Item, ...]:
    """Items of one of quantcurve's own slices, with ids that are unique in it.

    Args:
        name: one of NAMES.
        items: how many, from 1 on; made(name, 50, seed) is the beginning of made(name, 200, seed).
        seed: any integer.

    Raises:
        RecipeError: there is no such slice, or it has fewer distinct items.
    """
    if items < 1:
        raise RecipeError(f"slice {name}: {items} items; ask for 1 at least")
    parts = _parts(name)
    there = sum(part.size for part in parts)
    if items > there:
        raise RecipeError(f"slice {name}: {items} items, but there are {there} distinct ones; ask for {there} at most")
    return tuple(drawn(name, parts, items, seed))


def distinct(name: str) -> int:
    """How many distinct items a slice of NAMES has.

    Raises:
        RecipeError: there is no such slice.
    """
    return sum(part.size for part in _parts(name))


def _parts(name: str) -> Sequence[Part]:
    if name not in NAMES:
        near = difflib.get_close_matches(name, NAMES, 1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise RecipeError(f"{name!r} is no slice that quantcurve makes{hint}; write one of {', '.join(NAMES)}")
    match name:
        case "knowledge":
            from quantcurve.slices.makers_knowledge import parts
        case "math":
            from quantcurve.slices.makers_math import parts
        case "code":
            from quantcurve.slices.makers_code import parts
        case "json":
            from quantcurve.slices.makers_json import parts
        case "tools":
            from quantcurve.slices.makers_tools import parts
        case "retrieval":
            from quantcurve.slices.makers_retrieval import parts
        case "instructions":
            from quantcurve.slices.makers_instructions import parts
        case "refusals":
            from quantcurve.slices.makers_refusals import parts
        case _:
            from quantcurve.slices.makers_languages import parts
    return parts()
