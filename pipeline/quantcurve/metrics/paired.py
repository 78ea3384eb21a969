"""What a variant loses, from values of the same items: an interval, and an early decision against a budget.

Coverage of nominal 95 % intervals, 6,000 samples each (standard error 0.003), of rates exactly; t: normal differences,
lognormal ones of s = 0.5 (skewness 1.8) and of s = 1 (6); rates: shares lost and won:

    items   t: normal   s = 0.5   s = 1   rates: 0.1, 0.1   0.15, 0.05   0.05, 0
    8       0.950       0.919     0.834   0.994             0.997        1.000
    32      0.951       0.935     0.886   0.953             0.959        0.995
    128     0.946       0.943     0.919   0.947             0.951        0.962

Wrong decisions of `decided` at alpha = 0.001, with a look after every four of 32 or 64 items, and the budget where it
is hardest, at the expected mean, so that what all items say is a toss (1,500 searches each): normal differences, and
right and wrong answers (15 % lost and 5 % won; 5 % lost), none; lognormal ones of s = 0.5 0.003; of s = 1 0.015 and
0.033. Without UNSEEN and from four items on: 0 to 0.003; 0.006 and 0.013; 0.04 and 0.06. One standard deviation away
from the expected mean none was wrong, and about half of 32 items or a third of 64 were enough (rare losses: 0.8 and
0.5).

tests/test_paired.py and test_paired_rates.py have both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit  # type: ignore[import-untyped, unused-ignore]

from quantcurve.estimates import Estimate, Figure, Missing
from quantcurve.metrics.paired_rates import Discordant, score_interval
from quantcurve.metrics.statistics import LEVEL

MIN_ITEMS = 2
MIN_LOOK = 8
"""Items before which nothing is decided."""
UNSEEN = 2
"""Items as far from the mean as the farthest seen that are added to the variance before a decision: those that lose
much are few, and the first items may have none of them."""

Values = Sequence[float] | npt.NDArray[np.float64]


def paired_drop(reference: Values, variant: Values, unit: str) -> Figure:
    """Mean of (reference - variant) over items with its interval at LEVEL; above 0 is a loss.

    Items are taken for independent. A t interval of the differences; where all values of both are 0 or 1, Tango's score
    interval (paired_rates.py).

    Args:
        reference: (n,), of the float reference.
        variant: (n,), of the same items.
        unit: of the values.

    Raises:
        ValueError: different lengths, no items, or values that are not finite.
    """
    a, b = np.asarray(reference, np.float64), np.asarray(variant, np.float64)
    if a.ndim != 1 or a.shape != b.shape or not a.size:
        raise ValueError(f"a paired difference needs the same items; shapes {a.shape} and {b.shape} given")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("values of items are not finite")
    if (n := len(a)) < MIN_ITEMS:
        return Missing(missing=f"{n} item; an interval needs {MIN_ITEMS}")
    differences = a - b
    if np.isin(a, (0, 1)).all() and np.isin(b, (0, 1)).all():
        return _rates(Discordant(int((differences > 0).sum()), int((differences < 0).sum()), n), unit)
    if not differences.any():
        return Estimate(value=0, low=0, high=0, n=n, unit=unit, method=f"no item of {n} differs: no interval around 0")
    mean, spread = float(differences.mean()), float(differences.std(ddof=1))
    if differences.min() == differences.max():
        return Missing(missing=f"all {n} items differ by {differences[0]:.4g}: no spread to make an interval of")
    half = float(stdtrit(n - 1, (1 + LEVEL) / 2)) * spread / math.sqrt(n)
    method = f"mean of {n} paired differences, t({n - 1})"
    return Estimate(value=mean, low=mean - half, high=mean + half, n=n, unit=unit, method=method)


def item_mean(values: Values, unit: str) -> Figure:
    """Mean over independent items with its interval at LEVEL: Wilson's score interval where all values are 0 or 1, else
    a t interval.

    Args:
        values: (n,).
        unit: of the values.

    Raises:
        ValueError: no items, or values that are not finite.
    """
    x = np.asarray(values, np.float64)
    if x.ndim != 1 or not x.size or not np.isfinite(x).all():
        raise ValueError(f"a mean needs finite values of items; shape {x.shape} given")
    if (n := len(x)) < MIN_ITEMS:
        return Missing(missing=f"{n} item; an interval needs {MIN_ITEMS}")
    mean = float(x.mean())
    if np.isin(x, (0, 1)).all():
        from scipy.stats import binomtest  # heavy to import

        found = binomtest(int(x.sum()), n).proportion_ci(LEVEL, "wilson")
        low, high = min(float(found.low), mean), max(float(found.high), mean)
        return Estimate(value=mean, low=low, high=high, n=n, unit=unit, method=f"share of {n} items, Wilson")
    if x.min() == x.max():
        return Missing(missing=f"all {n} items have {mean:.4g}: no spread to make an interval of")
    half = float(stdtrit(n - 1, (1 + LEVEL) / 2)) * float(x.std(ddof=1)) / math.sqrt(n)
    method = f"mean of {n} items, t({n - 1})"
    return Estimate(value=mean, low=mean - half, high=mean + half, n=n, unit=unit, method=method)


def _rates(counts: Discordant, unit: str) -> Estimate:
    low, high = score_interval(counts, LEVEL)
    method = f"paired rates, Tango's score interval (1998): {counts.lost} of {counts.n} items lost, {counts.won} won"
    return Estimate(value=counts.difference, low=low, high=high, n=counts.n, unit=unit, method=method)


def decided(differences: Values, total: int, budget: float, alpha: float = 0.001) -> Literal["pass", "fail"] | None:
    """Whether the mean difference over all items will be within a budget, from the first items in random order.

    The rest's mean is predicted from the n seen, with mean m and standard deviation s, by a t interval,
    m +- t s sqrt(1 / n + 1 / (total - n)) with n - 1 degrees of freedom, as of the mean of future observations; the
    mean over all is (n m + (total - n) rest) / total. Decided where the whole interval at 1 - 2 alpha is on one side;
    None: not yet. UNSEEN is our own addition.

    Args:
        differences: (n,), reference minus variant.
        total: items in all.
        budget: what may be lost, in the unit of the differences.
        alpha: probability of a wrong decision at one look, for normal differences.

    Raises:
        ValueError: none or more differences than items, or they are not finite.
    """
    x = np.asarray(differences, np.float64)
    n = len(x)
    if not 0 < n <= total or not np.isfinite(x).all():
        raise ValueError(f"{n} differences of {total} items, of which all must be finite")
    mean = float(x.mean())
    if n == total:
        return "pass" if mean <= budget else "fail"
    away = np.abs(x - mean)
    if n < MIN_LOOK or x.min() == x.max():
        return None
    spread = math.sqrt(float((away**2).sum() + UNSEEN * away.max() ** 2) / (n - 1))
    rest = total - n
    half = float(stdtrit(n - 1, 1 - alpha)) * spread * math.sqrt(1 / n + 1 / rest) * rest / total
    if mean + half <= budget:
        return "pass"
    return "fail" if mean - half > budget else None
