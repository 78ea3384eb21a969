"""The windows of all texts in the seeded random order in which every model visits them.

Models stop after different numbers of windows, but all on the same route: what two of them share is a prefix.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from quantcurve.engines.base import Tokens
from quantcurve.stages.tokenize import Windowed, windows_hash

LOOK_WINDOWS = 8
"""Windows between two looks at the figures; also what a chunk holds, so it is part of the store's keys."""
SCRATCH_BYTES = 2**30
"""No chunk's reference logits are larger, if one batch of windows is not."""


class Part(NamedTuple):
    """The visited windows of one text, in the order of the text."""

    text: int
    rows: Tokens
    """(w,): where on the route each window was visited."""
    windows: Tokens
    """(w,): its number in the text."""


class Chunk(NamedTuple):
    """Some windows that are scored together."""

    windows: Tokens
    """(w, window_tokens)."""
    hash: str


class Route(NamedTuple):
    """The whole route; every model visits a prefix of it."""

    order: Tokens
    """(N,): numbers of the windows, counted through all texts."""
    counts: tuple[int, ...]
    """Windows of each text."""
    whole: bool
    """Whether these are all windows that the texts have: then the mean at the end is the texts' own, exactly."""

    def parts(self, visited: int) -> list[Part]:
        """The first windows of the route by text; texts without a window are left out."""
        seen = self.order[:visited]
        starts = np.cumsum((0, *self.counts))
        found = []
        for text, (start, end) in enumerate(pairwise(starts)):
            rows = np.flatnonzero((seen >= start) & (seen < end)).astype(np.int32)
            rows = rows[np.argsort(seen[rows])]
            if len(rows):
                found.append(Part(text, rows, (seen[rows] - start).astype(np.int32)))
        return found

    def sorted_rows(self, visited: int) -> tuple[Tokens, list[int]]:
        """Where on the route the visited windows are, text after text, and segments for `metrics.statistics`.

        A text with one visited window has no variance of its own; it makes one segment with its neighbour.
        """
        parts = self.parts(visited)
        segments: list[int] = []
        for part in parts:
            if segments and (segments[-1] < 2 or (len(part.rows) < 2)):
                segments[-1] += len(part.rows)
            else:
                segments.append(len(part.rows))
        return np.concatenate([part.rows for part in parts]), segments


def route(texts: Sequence[Windowed], seed: int) -> Route:
    """The route over the texts' windows."""
    counts = tuple(len(text.windows) for text in texts)
    order = np.random.default_rng(seed).permutation(sum(counts)).astype(np.int32)
    return Route(order, counts, all(t.step.windows_used == t.step.windows_available for t in texts))


def logits_bytes(windows_shape: tuple[int, ...], vocabulary: int) -> int:
    """Bytes of the scored half's logits, float32, of windows of a shape (W, window_tokens)."""
    return windows_shape[0] * (windows_shape[1] // 2) * vocabulary * 4


def chunks(texts: Sequence[Windowed], along: Route, sequences: int) -> list[Chunk]:
    """The route's windows in chunks of whole batches: about `LOOK_WINDOWS`, within `SCRATCH_BYTES` of logits."""
    windows = np.concatenate([text.windows for text in texts])[along.order]
    window_bytes = logits_bytes((1, windows.shape[1]), texts[0].step.vocabulary)
    wanted = min(LOOK_WINDOWS, max(1, SCRATCH_BYTES // window_bytes))
    step = max(1, round(wanted / sequences)) * sequences
    return [_chunk(windows[start : start + step]) for start in range(0, len(windows), step)]


def _chunk(windows: Tokens) -> Chunk:
    return Chunk(windows, windows_hash(windows))
