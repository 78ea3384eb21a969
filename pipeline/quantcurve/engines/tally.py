"""Likelihoods while the rows of logits come in, whatever the engine; in the child."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from quantcurve.engines.base import Floats
from quantcurve.engines.step_figures import Row, StepFigures, look
from quantcurve.errors import BackendError
from quantcurve.likelihood import Followed, Likelihood, Pair


class _Step(NamedTuple):
    """Of a continuation that is followed."""

    figures: StepFigures
    rank: int


class Tally:
    """Of some pairs; the rows of one pair come in the order of its tokens."""

    def __init__(self, pairs: Sequence[Pair], path: Path) -> None:
        """path: of the model, for errors."""
        self._pairs = pairs
        self._path = path
        self._nats = np.zeros(len(pairs))
        self._greedy = np.ones(len(pairs), np.bool_)
        self._ends = [None if p.ends is None else np.array(sorted(set(p.ends)), np.int64) for p in pairs]
        self._steps: list[list[_Step]] = [[] for _ in pairs]

    def add(self, row: Floats, targets: Sequence[tuple[int, int]]) -> None:
        """Take in the logits (vocabulary,) that predict tokens.

        Args:
            row: of one position.
            targets: places of pairs, and the ids of their tokens there.

        Raises:
            BackendError: the logits are not finite.
        """
        if any(self._ends[place] is not None for place, _ in targets):
            self._follow(look(row), targets)
            return
        top = int(row.argmax())
        largest = float(row[top])
        if not np.isfinite(largest):
            raise BackendError(f"{self._path}: the model's logits are not finite; its weights are broken")
        normaliser = largest + float(np.log(np.exp(row - np.float32(largest)).sum()))
        for place, token in targets:
            self._nats[place] += float(row[token]) - normaliser
            self._greedy[place] &= token == top

    def _follow(self, seen: Row, targets: Sequence[tuple[int, int]]) -> None:
        for place, token in targets:
            self._nats[place] += seen.log_probability(token)
            self._greedy[place] &= token == seen.top
            ends = self._ends[place]
            if ends is not None:
                self._steps[place].append(_Step(seen.figures(token, ends), seen.rank(token)))

    def found(self) -> list[Likelihood]:
        """Of all pairs, once all rows are in."""
        rows = zip(self._nats.tolist(), self._greedy.tolist(), self._pairs, self._steps, strict=True)
        return [
            Likelihood(nats, len(pair.continuation), greedy, None if pair.ends is None else _followed(steps))
            for nats, greedy, pair, steps in rows
        ]


def _followed(steps: Sequence[_Step]) -> Followed:
    columns = np.array([step.figures for step in steps], np.float64).T
    log_probability, stop_probability, stop_rank, entropy, margin = columns
    return Followed(
        log_probability=log_probability,
        stop_probability=stop_probability.astype(np.float32),
        stop_rank=stop_rank.astype(np.int32),
        entropy=entropy.astype(np.float32),
        margin=margin.astype(np.float32),
        rank=np.array([step.rank for step in steps], np.int32),
    )
