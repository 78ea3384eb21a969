"""Figures of one step from its logits, of answers that are generated and of those that are followed; in the child."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from quantcurve.engines.base import Floats
from quantcurve.errors import BackendError
from quantcurve.metrics.logits import top_tokens

Ends = NDArray[np.int64]


class StepFigures(NamedTuple):
    """Of one step; see generation.Steps."""

    log_probability: float
    stop_probability: float
    stop_rank: int
    entropy: float
    margin: float


class Row(NamedTuple):
    """Logits of one step, and what is needed of them more than once."""

    logits: Floats
    """(V,)."""
    top: int
    """Place of the largest; the lowest of equals."""
    margin: float
    shifted: Floats
    """Logits less the largest."""
    weights: Floats
    """exp(shifted)."""
    total: float
    """Sum of weights."""
    entropy: float
    """Nats."""

    def log_probability(self, token: int) -> float:
        """Of a token, nats."""
        return float(self.shifted[token]) - float(np.log(self.total))

    def rank(self, token: int) -> int:
        """Of a token, 1 the likeliest."""
        return 1 + int(np.count_nonzero(self.logits > self.logits[token]))

    def figures(self, token: int, ends: Ends) -> StepFigures:
        """Where `token` is taken, and `ends` (n,) end the answer."""
        return StepFigures(
            log_probability=self.log_probability(token),
            stop_probability=float(self.weights[ends].sum()) / self.total,
            stop_rank=1 + int(np.count_nonzero(self.logits > self.logits[ends].max())) if ends.size else 0,
            entropy=self.entropy,
            margin=self.margin,
        )


def look(logits: Floats) -> Row:
    """At the logits (V,) of a step.

    Raises:
        BackendError: they are not finite.
    """
    best = top_tokens(logits, 2)
    largest = float(logits[best[0]])
    shifted = logits - np.float32(largest)
    weights = np.exp(shifted)
    total, expected = float(weights.sum()), float(np.dot(weights, shifted))
    if not np.isfinite(total + expected):  # also for minus infinity, which has 0 times infinity in it
        raise BackendError("the model's logits are not finite; its weights are broken")
    return Row(
        logits=logits,
        top=int(best[0]),
        margin=largest - float(logits[best[1]]),
        shifted=shifted,
        weights=weights,
        total=total,
        entropy=float(np.log(total)) - expected / total,
    )
