"""Changes of a figure between two runs that are not paired, as if their errors were independent.

Runs over the same windows err in the same direction, which makes these intervals too wide rather than too narrow.
Speeds are another matter: rounds of one run share the state that the machine was in, and no
interval within a run holds that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import stdtrit  # type: ignore[import-untyped, unused-ignore]

from quantcurve.estimates import Estimate, Figure, Missing
from quantcurve.metrics.statistics import LEVEL, MIN_REPETITIONS
from quantcurve.metrics.transforms import exp_estimate

LEAST_FREEDOM = 1.0
"""Degrees of freedom where two samples do not vary at all, and Welch's have no value."""


def difference(before: Figure, after: Figure) -> Figure:
    """`after` less `before`, in their unit, by recovered variances: sides of both intervals add as squares.

    Zou & Donner (2008), "Construction of confidence intervals about effect measures: a simple approach", Statistics in
    Medicine 27(10), 1693-1702. Missing where one of them is, or their levels differ.
    """
    if isinstance(before, Missing):
        return before
    if isinstance(after, Missing):
        return after
    if before.level != after.level:
        levels = f"{100 * before.level:.4g} % and {100 * after.level:.4g} %"
        return Missing(missing=f"the intervals are of {levels}")
    value = after.value - before.value
    return Estimate(
        value=value,
        low=value - math.hypot(after.value - after.low, before.high - before.value),
        high=value + math.hypot(after.high - after.value, before.value - before.low),
        level=before.level,
        n=min(before.n, after.n),
        unit=before.unit,
        method="unpaired difference, recovered variances",
    )


def ratio(above: Sequence[float], below: Sequence[float]) -> Figure:
    """Geometric mean of `above` over that of `below`, unpaired repetitions of any two numbers.

    exp of the interval of Welch (1947), Biometrika 34, 28-35, of the difference of mean logarithms. Missing below
    `MIN_REPETITIONS` of either, or where one of them is not positive.
    """
    if (fewest := min(len(above), len(below))) < MIN_REPETITIONS:
        return Missing(missing=f"{fewest} repetitions; a ratio with an interval needs {MIN_REPETITIONS}")
    if min(*above, *below) <= 0:
        return Missing(missing="a repetition that took no time")
    logs = [np.log(np.array(samples, np.float64)) for samples in (above, below)]
    parts = [float(x.var(ddof=1)) / len(x) for x in logs]
    total = sum(parts)
    squares = sum(part**2 / (len(x) - 1) for part, x in zip(parts, logs, strict=True))
    freedom = total**2 / squares if squares > 0 else LEAST_FREEDOM
    mean, half = float(logs[0].mean() - logs[1].mean()), float(stdtrit(freedom, (1 + LEVEL) / 2)) * math.sqrt(total)
    method = f"unpaired ratio of geometric means, Welch's t({freedom:.3g})"
    bounds = Estimate(value=mean, low=mean - half, high=mean + half, n=fewest, unit="ln", method=method)
    return exp_estimate(bounds, "ratio")
