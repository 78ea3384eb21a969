"""Latency of decoded tokens beyond its mean: quantiles of the steps of each repetition.

A repetition's steps follow one another in one context and share whatever disturbed the machine then. So intervals rest
on repetitions, not on steps, as with all speeds: a model's figure is the median of its repetitions' quantiles, and two
models are compared repetition by repetition.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from quantcurve.estimates import Figure, Missing
from quantcurve.metrics.statistics import median_estimate

LEAST_STEPS = {0.95: 20, 0.99: 100}
"""Of a repetition: of fewer, a quantile would be the largest step."""


def round_quantiles(steps_s: Sequence[Sequence[float]], share: float) -> list[float] | Missing:
    """A quantile of each repetition's steps, seconds, linear between neighbours.

    Args:
        steps_s: of each repetition, in order.
        share: one of LEAST_STEPS.
    """
    if not steps_s:
        return Missing(missing="single tokens were not timed")
    fewest = min(map(len, steps_s))
    if fewest < (least := LEAST_STEPS[share]):
        return Missing(
            missing=f"a repetition has {fewest} decoded tokens, and the slowest {round(100 * (1 - share))} % are known "
            f"from {least} on; set benchmark.decode_tokens to {least} or more"
        )
    return [float(np.quantile(steps, share)) for steps in steps_s]


def quantile_estimate(steps_s: Sequence[Sequence[float]], share: float) -> Figure:
    """Median over repetitions of `round_quantiles`, with the sign test's interval; seconds."""
    found = round_quantiles(steps_s, share)
    return found if isinstance(found, Missing) else median_estimate(np.array(found), "s")
