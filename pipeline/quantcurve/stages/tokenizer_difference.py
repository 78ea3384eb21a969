"""Where tokenizers differ: the first string, narrowed down, with the token ids of both."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from quantcurve.engines.base import Tokens
from quantcurve.errors import BackendError, printable

BEFORE, AFTER = 3, 8
"""Tokens shown before and from the first that differs."""
UNMEASURED = "nothing was measured, because a model would get other tokens than the reference does"
FOR_A_FILE = "give the model as a Hugging Face folder, whose own tokenizer is taken, or leave out variants.openvino"
FOR_A_FOLDER = (
    "the tokenizer in {original} is not the one that its conversion to GGUF wrote down: see whether its tokenizer "
    "files belong together, give the model as a GGUF file, whose vocabulary is taken, or leave out variants.openvino"
)
"""What to do, by where the model came from."""


class NamedText(NamedTuple):
    """A text to compare on."""

    name: str
    content: str


class Lane(NamedTuple):
    """One tokenizer."""

    name: str
    tokenize: Callable[[list[str]], list[Tokens]]
    """Texts to their ids, special tokens included."""
    pieces: Callable[[list[int]], list[str]]
    """Ids to what they stand for."""


class Ids(NamedTuple):
    """What one lane made of the string, around the first token that differs."""

    lane: str
    ids: tuple[int, ...]
    pieces: tuple[str, ...]
    start: int
    """Place of the first of these among all tokens of the string."""
    total: int
    """Tokens of the whole string."""


class Difference(NamedTuple):
    """Two lanes that do not agree."""

    text: str
    """Name of the text."""
    string: str
    """The smallest part of it that was found to show the difference."""
    position: int
    """First token that differs, from 0."""
    expected: Ids
    found: Ids


class Comparison(NamedTuple):
    """Lanes on texts."""

    tokens: int
    """Of all texts, by the first lane."""
    difference: Difference | None


def first_difference(lanes: Sequence[Lane], texts: Sequence[NamedText]) -> Difference | None:
    """The first text on which a lane differs from the first lane, narrowed down; None where all agree."""
    return compare(lanes, texts).difference


def compare(lanes: Sequence[Lane], texts: Sequence[NamedText]) -> Comparison:
    """Give all texts to all lanes; the first lane is the truth.

    Raises:
        ValueError: fewer than two lanes, or no text.
    """
    if len(lanes) < 2 or not texts:
        raise ValueError(f"{len(lanes)} tokenizers on {len(texts)} texts: nothing to compare")
    truth, *others = lanes
    contents = [text.content for text in texts]
    expected = truth.tokenize(contents)
    tokens = sum(len(ids) for ids in expected)
    for lane in others:
        found = lane.tokenize(contents)
        for text, a, b in zip(texts, expected, found, strict=True):
            if not agree(a, b):
                return Comparison(tokens, _narrowed(truth, lane, text))
    return Comparison(tokens, None)


def error(difference: Difference, how: str, original: Path | None = None) -> BackendError:
    """The difference as an error.

    Args:
        difference: what was found.
        how: what the lanes had been told to do.
        original: Hugging Face folder that the tokenizer was taken from, if the model came as one.
    """
    a, b = difference.expected, difference.found
    width = max(len(a.lane), len(b.lane)) + 1
    return BackendError(
        f"text {printable(difference.text)!r}: the tokenizers of {a.lane} and {b.lane} differ ({how}), first on\n"
        f"    {shortened(difference.string)!r}\n"
        f"  at token {difference.position}:\n"
        + "".join(f"    {ids.lane + ':':{width}} {_shown(ids)}\n" for ids in (a, b))
        + f"  {UNMEASURED}; {FOR_A_FOLDER.format(original=original) if original else FOR_A_FILE}"
    )


def shortened(text: str, most: int = 200) -> str:
    """A text's two ends, if it is longer than so many characters."""
    return text if len(text) <= most else f"{text[: most // 2]} ... {text[-most // 2 :]}"


def _shown(ids: Ids) -> str:
    shown = [f"{i} {piece!r}" for i, piece in zip(ids.ids, ids.pieces, strict=True)]
    before = ["..."] if ids.start else []
    after = ["..."] if ids.start + len(ids.ids) < ids.total else []
    return ", ".join([*before, *shown, *after]) or "(no tokens)"


def _narrowed(truth: Lane, lane: Lane, text: NamedText) -> Difference:
    string = narrow(text.content, lambda part: not agree(*_both(truth, lane, part)))
    a, b = _both(truth, lane, string)
    common = min(len(a), len(b))
    unequal = np.flatnonzero(a[:common] != b[:common])
    position = int(unequal[0]) if len(unequal) else common
    return Difference(text.name, string, position, _around(truth, a, position), _around(lane, b, position))


def _both(truth: Lane, lane: Lane, text: str) -> tuple[Tokens, Tokens]:
    return truth.tokenize([text])[0], lane.tokenize([text])[0]


def _around(lane: Lane, ids: Tokens, position: int) -> Ids:
    start = max(0, position - BEFORE)
    shown = [int(i) for i in ids[start : position + AFTER]]
    return Ids(lane.name, tuple(shown), tuple(lane.pieces(shown)), start, len(ids))


def narrow(text: str, differs: Callable[[str], bool]) -> str:
    """A small part of a text that still differs: lines, then words, then characters are cut off at both ends."""
    text = "".join(_trimmed(text.splitlines(keepends=True), differs))
    text = "".join(_trimmed(re.findall(r"\S+\s*|\s+", text), differs))
    return "".join(_trimmed(list(text), differs))


def _trimmed(units: list[str], differs: Callable[[str], bool]) -> list[str]:
    """As many units cut off from both ends as can be, in steps that halve."""
    size = len(units) // 2
    while size:
        for kept in (units[size:], units[:-size]):
            if differs("".join(kept)):
                units, size = kept, min(size, len(kept) // 2)
                break
        else:
            size //= 2
    return units


def agree(a: Tokens, b: Tokens) -> bool:
    """Whether two lanes gave the same ids."""
    return np.array_equal(a, b)
