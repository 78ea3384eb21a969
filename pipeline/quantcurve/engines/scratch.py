"""Scores windows in an engine's process, whatever the engine: logits to per-token figures, kept or compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from quantcurve import disk
from quantcurve.engines.base import TOP_K, Doubles, Floats, ReferenceScratch, Tokens, TokenScores
from quantcurve.errors import BackendError
from quantcurve.metrics.logits import ReferenceRows, RowScores, score_rows


class Scorable(NamedTuple):
    """A model that is open in this process."""

    path: Path
    vocabulary: int
    second_halves: Callable[[Tokens], Iterator[Floats]]
    """From windows (W, T) to the logits (rows, vocabulary) of each one's scored half, in order; one window's are valid
    until the next are asked for."""
    pool: ThreadPoolExecutor
    threads: int


def score(
    model: Scorable, windows: Tokens, reference: ReferenceScratch | None, keep: ReferenceScratch | None
) -> TokenScores:
    """Score windows (W, window_tokens); see base.LoadedModel.score.

    Raises:
        BackendError: the logits are not finite.
    """
    rows = windows.shape[1] - 1 - windows.shape[1] // 2
    sink = _Keep(keep, len(windows), rows, model.vocabulary) if keep else None
    source = KeptReference(reference) if reference else None
    parts: list[TokenScores] = []
    for i, logits in enumerate(model.second_halves(windows)):
        against = source.rows(i) if source else None
        try:
            scored = score_rows(logits, windows[i, -rows:], against, model.pool, model.threads)
        except ValueError as error:
            raise BackendError(f"{model.path}: window {i}: {error}; its weights are broken") from error
        if sink:
            sink.put(i, logits, scored)
        parts.append(scored.scores)
    if sink:
        sink.close()
    stacked = TokenScores.concatenate(parts)
    shape = (len(windows), rows)
    return TokenScores(**{k: v.reshape(shape) for k, v in vars(stacked).items() if v is not None})


class _Keep:
    """Writes a chunk's logits for later comparisons; by plain writes, which raise an error where the disk is full
    (a memory map dies)."""

    def __init__(self, scratch: ReferenceScratch, windows: int, rows: int, vocabulary: int) -> None:
        scratch.folder.mkdir(parents=True, exist_ok=True)
        shape = (windows, rows, vocabulary)
        self.scratch = scratch
        self.needed_bytes = 4 * windows * rows * vocabulary
        self.normaliser: Doubles = np.empty((windows, rows))
        self.top_k: Tokens = np.empty((windows, rows, min(TOP_K, vocabulary)), np.int32)
        self.file = scratch.logits.open("wb")
        header = {"descr": np.dtype(np.float32).str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self.file, header)

    def put(self, window: int, logits: Floats, scored: RowScores) -> None:
        """Windows come in order."""
        with disk.errors_named(self.scratch.folder, needed_bytes=self.needed_bytes):
            self.file.write(np.ascontiguousarray(logits).data)
        self.normaliser[window] = scored.log_normaliser
        self.top_k[window] = scored.top_k

    def close(self) -> None:
        with disk.errors_named(self.scratch.folder, needed_bytes=self.needed_bytes):
            self.file.close()
            np.save(self.scratch.log_normaliser, self.normaliser)
            np.save(self.scratch.top_k, self.top_k)


class KeptReference:
    """Reads a chunk's kept logits."""

    def __init__(self, scratch: ReferenceScratch) -> None:
        """Open the files that `score` left under `keep`."""
        self.logits = np.load(scratch.logits, mmap_mode="r")
        self.normaliser = np.load(scratch.log_normaliser)
        self.top_k = np.load(scratch.top_k)

    def rows(self, window: int) -> ReferenceRows:
        """Of one window, by its place in the chunk."""
        return ReferenceRows(np.asarray(self.logits[window]), self.normaliser[window], self.top_k[window])
