"""Items of a validation: windows of texts, or the user's records, of which the search sees some and the finished model
alone is judged on others."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quantcurve import text_files
from quantcurve.engines.base import Tokens
from quantcurve.errors import RecipeError
from quantcurve.recipe_accuracy import Validation
from quantcurve.recipe_text import Text
from quantcurve.text_files import Record
from quantcurve.validation import NO_TOKENS, Item

OVERLAP_TOKENS = 32
"""So many tokens in a row may not stand in two windows that must be disjoint; of shorter items nearly half, which one
side has of a passage as long as an item that the border of two windows cuts."""
_FACTOR = np.uint64(0x9E3779B97F4A7C15)
"""Odd, so that multiplication modulo 2^64 loses nothing."""
_HIGH = np.uint64(29)

Hashes = NDArray[np.uint64]


class TextWindows(NamedTuple):
    """A text of the validation, cut into windows."""

    name: str
    windows: Tokens
    """(W, T) ids, in the order of the text."""


class Items(NamedTuple):
    """What a model is judged on. Both parts are in random order."""

    search: tuple[Item, ...]
    held_out: tuple[Item, ...]
    leaked: int
    """Windows that were left out because they share a passage with calibration or evaluation."""
    duplicates: int
    """Windows that were passed over because they share a passage with one that was chosen, and records that stand there
    more than once."""

    def content_hash(self) -> str:
        """SHA-256 of the items of both parts, in their order."""
        total = hashlib.sha256()
        for part in (self.search, self.held_out):
            for item in part:
                total.update(json.dumps([item.number, item.source, item.tokens.tolist()]).encode())
                total.update(_canonical(item.record))
            total.update(b"|")
        return total.hexdigest()


def windows(validation: Validation, texts: Sequence[TextWindows], used: Sequence[Tokens], seed: int) -> Items:
    """Choose windows, evenly over the texts as far as they reach; both parts have about the same shares of each.

    Item numbers count the windows of all texts, from 1.

    Args:
        validation: how many of each part.
        texts: its texts, all with windows of one length.
        used: windows (W, any length) of calibration and evaluation: an item that shares OVERLAP_TOKENS consecutive
            tokens with one is left out, so that nothing is judged on what it was fitted to.
        seed: of the choice.

    Raises:
        RecipeError: there are too few.
    """
    table = np.concatenate([text.windows for text in texts])
    length = max(1, min(OVERLAP_TOKENS, table.shape[1] // 2 - 1))  # a window's first token may be BOS in its place
    runs = _runs(table, length)
    taken = [np.unique(_runs(part, length)) for part in used]
    leaking = np.zeros(len(table), np.bool_)
    if taken:
        leaking |= np.isin(runs, np.concatenate(taken)).any(axis=1)
    rng = np.random.default_rng(seed)
    order = list(_in_turn(texts, leaking, rng))
    wanted = validation.items + validation.held_out
    chosen, duplicates = _disjoint(runs, order, wanted)
    leaked = int(leaking.sum())
    if len(chosen) < wanted:
        why = f"{leaked} share {length} tokens in a row with calibration or evaluation, {duplicates} with one another"
        raise _too_few(validation, len(chosen), len(table), "windows", why, "add texts")
    source = np.repeat(np.arange(len(texts)), [len(text.windows) for text in texts])
    items = [Item(i + 1, texts[source[i]].name, _frozen(table[i])) for i in sorted(chosen, key=lambda i: source[i])]
    return _split(items, validation, rng, leaked, duplicates)


def records(validation: Validation, base: Path, seed: int) -> Items:
    """Read the records of a validation and choose some.

    Item numbers are lines of a JSONL file, else places in the file, from 1.

    Args:
        validation: has `records`.
        base: folder that relative paths start from (the recipe's).
        seed: of the choice.

    Raises:
        RecipeError: the file cannot be read, a record is no object, or there are too few.
        PrerequisiteError: a package or the hub is missing.
    """
    assert validation.records
    text = Text(name=validation.name, source=validation.records.source)
    try:
        read = text_files.read(text, base)
    except RecipeError as error:
        raise RecipeError(f"validation {str(error).removeprefix('text ')}") from error
    if isinstance(read, str):
        raise RecipeError(
            f"validation {validation.name}: {text.source} is plain text; records are objects, one a line, in a .jsonl, "
            ".json or .parquet file"
        )
    distinct = {_canonical(_row(validation, record)): record for record in reversed(read)}  # the first of equals stays
    kept = list(reversed(distinct.values()))
    wanted, duplicates = validation.items + validation.held_out, len(read) - len(kept)
    if len(kept) < wanted:
        why = f"{duplicates} stand there more than once"
        raise _too_few(validation, len(kept), len(read), "records", why, "add records")
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(kept))[:wanted]
    items = [Item(kept[i].number, kept[i].path.name, NO_TOKENS, kept[i].row) for i in chosen]
    return _split(items, validation, rng, 0, duplicates)


def _too_few(validation: Validation, usable: int, there: int, what: str, why: str, fix: str) -> RecipeError:
    asked = f"items: {validation.items} and held_out: {validation.held_out} ask for "
    return RecipeError(
        f"validation {validation.name}: {usable} of {there} {what} can be used ({why}); {asked}"
        f"{validation.items + validation.held_out}; {fix} or ask for fewer"
    )


def _runs(table: Tokens, length: int) -> Hashes:
    """Hashes (W, T - length + 1) of all runs of so many tokens: polynomials of scrambled ids, modulo 2^64."""
    codes = table.astype(np.uint64) + np.uint64(1)
    for _ in range(2):
        codes = codes * _FACTOR
        codes ^= codes >> _HIGH
    count = max(0, table.shape[1] - length + 1)
    total = np.zeros((len(table), count), np.uint64)
    for k in range(length if count else 0):
        total = total * _FACTOR + codes[:, k : k + count]
    return total


def _in_turn(texts: Sequence[TextWindows], leaking: NDArray[np.bool_], rng: np.random.Generator) -> Iterator[int]:
    """Windows that do not leak, one of each text in turn, of each text in random order."""
    ends = np.cumsum([len(text.windows) for text in texts])
    free = [np.flatnonzero(~leaking[end - len(text.windows) : end]) for text, end in zip(texts, ends, strict=True)]
    starts = [int(end) - len(text.windows) for text, end in zip(texts, ends, strict=True)]
    queues = [start + rng.permutation(part) for start, part in zip(starts, free, strict=True)]
    for turn in zip_longest(*queues):
        yield from (int(i) for i in turn if i is not None)


def _disjoint(runs: Hashes, order: Sequence[int], wanted: int) -> tuple[list[int], int]:
    """The first windows that share no run with one before, and how many were passed over."""
    seen: set[int] = set()
    chosen: list[int] = []
    for place, i in enumerate(order):
        if len(chosen) == wanted:
            return chosen, place - len(chosen)
        own = set(runs[i].tolist())
        if seen.isdisjoint(own):
            chosen.append(i)
            seen |= own
    return chosen, len(order) - len(chosen)


def _split(
    items: Sequence[Item], validation: Validation, rng: np.random.Generator, leaked: int, duplicates: int
) -> Items:
    """Part items that stand text by text, each in random order, so that every text has its share in both parts."""
    share = np.arange(len(items) + 1) * validation.items // len(items)
    searched = np.diff(share) > 0
    parts = [[items[i] for i in rng.permutation(np.flatnonzero(mask))] for mask in (searched, ~searched)]
    return Items(tuple(parts[0]), tuple(parts[1]), leaked, duplicates)


def _row(validation: Validation, record: Record) -> dict[str, Any]:
    where = f"validation {validation.name}: {record.path}:{record.number}"
    if not isinstance(record.row, dict) or not record.row:
        raise RecipeError(f"{where}: a record is an object with fields, not {record.row!r:.60}")
    try:
        json.dumps(record.row, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError as error:
        raise RecipeError(f"{where}: half a surrogate pair; remove it") from error
    return record.row


def _canonical(row: Any) -> bytes:
    return json.dumps(dict(row), sort_keys=True, default=str).encode()


def _frozen(tokens: Tokens) -> Tokens:
    own = np.array(tokens, np.int32)
    own.flags.writeable = False
    return own
