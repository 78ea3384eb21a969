"""Which calibration items may be used: no duplicates, nothing of what figures come from."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from quantcurve.calibration_items import Item, boilerplate_of
from quantcurve.near_duplicates import (
    SHINGLE_CHARACTERS,
    SHINGLE_WORDS,
    Hashes,
    HeldOut,
    content_hash,
    near_duplicates,
    runs,
)


class Fate(IntEnum):
    """What becomes of an item."""

    KEPT = 0
    DUPLICATE = 1
    """The same as an earlier one, but for case and white space."""
    NEAR_DUPLICATE = 2
    OVERLAPPING = 3
    """Is a held-out text, or shares a passage with one (see near_duplicates.HeldOut)."""
    REFUSED = 4
    """By the chat template."""


def sift(items: Sequence[Item], held_out: Sequence[str]) -> NDArray[np.int8]:
    """The fate of each item, (n,), by the first reason that holds; the first of several that are alike is kept.

    System messages that several items share count as theirs neither here nor there: a bot's logs all have one.

    Args:
        items: of all sources, the preferred ones first.
        held_out: texts that figures come from.
    """
    boilerplate = boilerplate_of(items)
    contents = [item.content(boilerplate) for item in items]
    fates = np.full(len(items), Fate.KEPT, np.int8)
    seen: set[str] = set()
    for i, content in enumerate(contents):
        own = content_hash(content)
        fates[i] = Fate.DUPLICATE if own in seen else Fate.KEPT
        seen.add(own)
    kept = np.flatnonzero(fates == Fate.KEPT)
    near = near_duplicates([_shingles(contents[i]) for i in kept])
    fates[kept[near]] = Fate.NEAR_DUPLICATE
    apart = HeldOut(held_out)
    for i in kept[~near]:
        if apart.overlaps(contents[i]):
            fates[i] = Fate.OVERLAPPING
    return fates


def _shingles(content: str) -> Hashes:
    """Of a text with enough words to compare; sums that differ in a sign are no duplicates."""
    return runs(content, SHINGLE_WORDS, SHINGLE_CHARACTERS)
