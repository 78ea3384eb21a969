"""Which items a calibration set takes, and how they become windows: numbers in, a selection out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from quantcurve.engines.base import Doubles, Tokens

LENGTH_BINS = 4
"""Items are drawn in turn from so many classes of length, quantiles of what is offered, the longest first."""


class Chosen(NamedTuple):
    """Items of one source, in the order they were drawn."""

    items: NDArray[np.int64]
    tokens: NDArray[np.int64]
    """How many of each: the last may be cut short."""


class Packed(NamedTuple):
    """Windows, and whose tokens they hold."""

    windows: Tokens
    """(n, window_tokens)."""
    owners: NDArray[np.int64]
    """(n, window_tokens): which of the texts; -1 for a BOS token that was put in."""


def spread(weights: Sequence[float], present: Sequence[bool]) -> Doubles:
    """Shares of strata, 0 to 1: what the absent ones were given goes to the present ones in proportion.

    Args:
        weights: positive, (n,).
        present: at least one.
    """
    kept = np.where(present, np.asarray(weights, np.float64), 0.0)
    result: Doubles = kept / kept.sum()
    return result


def whole_parts(shares: Doubles, total: int) -> NDArray[np.int64]:
    """Whole numbers in proportion to shares that add up to `total` (largest remainders)."""
    exact = shares / shares.sum() * total
    parts: NDArray[np.int64] = np.floor(exact).astype(np.int64)
    order = np.argsort(-(exact - parts), kind="stable")
    parts[order[: total - int(parts.sum())]] += 1
    return parts


def fill(shares: Doubles, available: Sequence[int], total: int) -> NDArray[np.int64]:
    """How many tokens each source of one stratum gives: in proportion to its share; what a short one cannot give, the
    others give as far as they can.

    Args:
        shares: positive, (n,).
        available: tokens of each.
        total: asked of all.

    Returns:
        (n,), none above what is available; the sum is `total`, or all there is.
    """
    have = np.asarray(available, np.int64)
    given = np.zeros(len(have), np.int64)
    while (left := min(total, int(have.sum())) - int(given.sum())) > 0:
        open_ = have > given
        given = np.minimum(have, given + whole_parts(np.where(open_, shares, 0.0), left)).astype(np.int64)
    return given


def choose(lengths: NDArray[np.int64], budget: int, generator: np.random.Generator) -> Chosen:
    """Items of one source for a number of tokens: drawn without return, in turn from each class of length, so that the
    lengths are spread as those that are offered and the long ones are there from the start.

    Args:
        lengths: tokens of each item, (n,), positive.
        budget: tokens wanted; the last item is cut short to meet it.
        generator: the draw.
    """
    ranked = np.argsort(lengths, kind="stable")[::-1]
    classes = [generator.permutation(part) for part in np.array_split(ranked, LENGTH_BINS)]
    rounds = max((len(c) for c in classes), default=0)
    order = np.array([c[r] for r in range(rounds) for c in classes if r < len(c)], np.int64)
    before = np.cumsum(lengths[order]) - lengths[order]
    taken = order[before < budget]
    return Chosen(taken, np.minimum(lengths[taken], budget - before[: len(taken)]))


def pack(texts: Sequence[Tokens], window_tokens: int, bos: int | None = None) -> Packed:
    """Texts one after the other, cut into windows of one length; the rest of the last one is dropped.

    Args:
        texts: token ids of each.
        window_tokens: length of a window.
        bos: what each window starts with, as llama-imatrix has it for vocabularies that ask for BOS (it overwrites a
            token; here it takes a place of its own).
    """
    stream = np.concatenate([np.zeros(0, np.int32), *texts]).astype(np.int32)
    owners = np.repeat(np.arange(len(texts), dtype=np.int64), np.array([len(t) for t in texts], np.int64))
    if bos is None:
        count = len(stream) // window_tokens
        shape, used = (count, window_tokens), count * window_tokens
        return Packed(stream[:used].reshape(shape), owners[:used].reshape(shape))
    rows, places, at = [], [], 0
    while True:
        put_in = 0 if at < len(stream) and stream[at] == bos else 1
        end = at + window_tokens - put_in
        if end > len(stream):
            break
        rows.append(np.concatenate([np.full(put_in, bos, np.int32), stream[at:end]]))
        places.append(np.concatenate([np.full(put_in, -1, np.int64), owners[at:end]]))
        at = end
    shape = (len(rows), window_tokens)
    return Packed(np.array(rows, np.int32).reshape(shape), np.array(places, np.int64).reshape(shape))


def cut(length: int, most: int) -> list[tuple[int, int]]:
    """Start and end of the pieces of a long item, each of `most` tokens but the last."""
    return [(start, min(start + most, length)) for start in range(0, length, most)]
