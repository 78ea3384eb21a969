"""How figures of the same items change from the reference to a variant: means, ratios of means, 95th percentiles.

Items are taken for independent. What the intervals rest on:

- Ratio of means: exp of a t interval of its logarithm, linearised. A BCa bootstrap over items (embedding.bca) covers
  less where items are few, and has no answer where a resample's mean is 0.
- A 95th percentile: between two order statistics, at least LEVEL for any distribution (David & Nagaraja 2003, "Order
  Statistics", 7.1), which needs PERCENTILE_ITEMS items. The difference of two: percentile bootstrap over items, both
  models in one resample; from DIFFERENCE_ITEMS on, of which two are expected beyond the percentile.

Coverage of nominal 95 % intervals, 2,000 samples each (standard error 0.005), of bootstraps 400 (0.011), of two models'
correlated lengths: lognormal ones (s = 0.8); the same up to a limit of 256, where loops take 10 % of the variant's;
Poisson ones of means 2 and 2.3 (tests/test_behaviour_metrics.py, TOLD):

    items   ratio: lognormal   limit   Poisson   BCa: lognormal   limit   Poisson
    8       0.916              0.873   0.953     0.835            0.845   0.900
    32      0.934              0.930   0.948     0.912            0.935   0.927
    128     0.950              0.949   0.956     0.907            0.958   0.948

    items   difference of percentiles: lognormal   limit   Poisson
    40      0.965                                  0.948   0.970
    100     0.995                                  0.907   0.970
    400     0.975                                  0.940   0.965
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from scipy.special import stdtrit  # type: ignore[import-untyped, unused-ignore]

from quantcurve.engines.base import Doubles
from quantcurve.estimates import Estimate, Figure, Missing
from quantcurve.metrics.paired import MIN_ITEMS, Values, item_mean, paired_drop
from quantcurve.metrics.statistics import LEVEL
from quantcurve.records import Frozen

RESAMPLES = 2000
SEED = 0
BLOCK = 4_000_000
"""Places of items that are drawn at once."""
TAIL, NAME = 0.95, "95th percentile"
PERCENTILE_ITEMS = 72
"""The first n with TAIL^n below (1 - LEVEL) / 2: of fewer, the largest may well be below the percentile."""
DIFFERENCE_ITEMS = 40
SAME = 1e-9
"""Relative spread that is rounding."""

Places = np.ndarray[tuple[int, ...], np.dtype[np.int64]]


class Compared(Frozen):
    """A figure over items on both models, and the change, variant less reference, paired."""

    reference: Figure
    variant: Figure
    change: Figure


def compared(reference: Values, variant: Values, unit: str) -> Compared:
    """Means over items (n,) and their change.

    Raises:
        ValueError: different lengths, no items, or values that are not finite.
    """
    found = change(reference, variant, unit)
    return Compared(reference=item_mean(reference, unit), variant=item_mean(variant, unit), change=found)


def change(reference: Values, variant: Values, unit: str) -> Figure:
    """Mean of (variant - reference), both (n,), with a t interval, as `paired_drop` has for values that are no rates;
    also where all happen to be 0 or 1.

    Raises:
        ValueError: as `compared`.
    """
    a, b = np.asarray(reference, np.float64), np.asarray(variant, np.float64)
    beyond = 2.0 if all(np.isin(x, (0, 1)).all() for x in (a, b)) else 0.0  # which paired_drop takes for rates
    found = paired_drop(b + beyond, a + beyond, unit)
    if (n := len(a)) < MIN_ITEMS:
        return found
    differences = b - a
    if not differences.any():
        return none_differs(0, n, unit)
    if np.ptp(differences) <= SAME * np.abs(differences).max():
        return Missing(missing=f"all {n} items differ by {differences[0]:.4g}: no spread to make an interval of")
    return found


def none_differs(value: float, n: int, unit: str) -> Estimate:
    """What is known of n items of which both models have the same."""
    method = f"no item of {n} differs: no interval around {value:g}"
    return Estimate(value=value, low=value, high=value, n=n, unit=unit, method=method)


def ratio_of_means(numerator: Values, denominator: Values, unit: str) -> Figure:
    """Mean of one over the mean of the other, both (n,), of the same items, with its interval at LEVEL.

    The error of the ratio's logarithm is the mean of (y / mean y - x / mean x) (Cochran 1977, "Sampling Techniques",
    ch. 6, divided by the ratio); the inverse ratio has the inverse interval. Missing where all of one are 0.

    Raises:
        ValueError: different lengths, no items, or values that are negative or not finite.
    """
    y, x = np.asarray(numerator, np.float64), np.asarray(denominator, np.float64)
    if y.ndim != 1 or y.shape != x.shape or not y.size:
        raise ValueError(f"a ratio needs the same items; shapes {y.shape} and {x.shape} given")
    if not (np.isfinite(y).all() and np.isfinite(x).all() and min(y.min(), x.min()) >= 0):
        raise ValueError("a ratio of means needs finite values from 0 on")
    if (n := len(y)) < MIN_ITEMS:
        return Missing(missing=f"{n} item; an interval needs {MIN_ITEMS}")
    if not (y.any() and x.any()):
        return Missing(missing=f"all {n} values of the {'numerator' if x.any() else 'denominator'} are 0: no ratio")
    if (y == x).all():
        return none_differs(1, n, unit)
    ratio, away = float(y.mean() / x.mean()), y / y.mean() - x / x.mean()
    if np.abs(away).max() <= SAME:
        return Missing(missing=f"all {n} items have the ratio {ratio:.4g}: no spread to make an interval of")
    half = float(stdtrit(n - 1, (1 + LEVEL) / 2)) * float(away.std(ddof=1)) / math.sqrt(n)
    method = f"ratio of means of {n} paired items; its logarithm linearised, t({n - 1})"
    low, high = ratio * math.exp(-half), ratio * math.exp(half)
    return Estimate(value=ratio, low=low, high=high, n=n, unit=unit, method=method)


def percentiles(reference: Values, variant: Values, unit: str) -> Compared:
    """95th percentiles of values (n,) of the same items, and their difference (see the module).

    Raises:
        ValueError: as `compared`.
    """
    a, b = np.asarray(reference, np.float64), np.asarray(variant, np.float64)
    if a.ndim != 1 or a.shape != b.shape or not a.size or not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError(f"percentiles need finite values of the same items; shapes {a.shape} and {b.shape} given")
    return Compared(reference=_percentile(a, unit), variant=_percentile(b, unit), change=_difference(a, b, unit))


def resamples(n: int) -> Iterator[Places]:
    """Places of n items in RESAMPLES resamples, block by block (r, n); always the same ones."""
    random, step = np.random.default_rng(SEED), max(1, BLOCK // n)
    for start in range(0, RESAMPLES, step):
        yield random.integers(0, n, (min(step, RESAMPLES - start), n))


def resampled_sums(values: Doubles) -> Doubles:
    """Sums of each column of (n, c) over the items of each resample; (RESAMPLES, c)."""
    n, found = len(values), []
    for places in resamples(n):
        rows = len(places)
        counts = np.bincount((places + n * np.arange(rows)[:, None]).ravel(), minlength=rows * n)
        found.append(counts.reshape(rows, n).astype(np.float64) @ values)
    return np.concatenate(found)


def resampled_roots(values: Doubles, nodes: Doubles) -> Doubles:
    """Where the sum over items of functions is 0, in each resample, between nodes linearly; (RESAMPLES,).

    Args:
        values: (n, c), of each item's function at each node; the sums rise from below 0 to above.
        nodes: (c,), ascending; a resample without a root has the nearer end.
    """
    sums = resampled_sums(values)
    after, rows = np.clip((sums < 0).sum(1), 1, len(nodes) - 1), np.arange(len(sums))
    low, high = sums[rows, after - 1], sums[rows, after]
    share = np.clip(-low / np.where(high > low, high - low, 1), 0, 1)
    return np.asarray(nodes[after - 1] + share * (nodes[after] - nodes[after - 1]))


def _percentile(values: Doubles, unit: str) -> Figure:
    if (n := len(values)) < PERCENTILE_ITEMS:
        return Missing(missing=f"{n} items; a {NAME} with an interval needs {PERCENTILE_ITEMS}")
    from scipy.stats import binom  # heavy to import

    lower, upper = (int(binom.ppf(level, n, TAIL)) for level in ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    ordered, value = np.sort(values), float(np.quantile(values, TAIL))
    low, high = min(float(ordered[lower - 1]), value), max(float(ordered[upper]), value)
    method = f"{NAME} of {n} items, between order statistics {lower} and {upper + 1}"
    return Estimate(value=value, low=low, high=high, n=n, unit=unit, method=method)


def _difference(a: Doubles, b: Doubles, unit: str) -> Figure:
    if (n := len(a)) < DIFFERENCE_ITEMS:
        return Missing(missing=f"{n} items; a difference of {NAME}s needs {DIFFERENCE_ITEMS}")
    if (a == b).all():
        return none_differs(0, n, unit)
    value = float(np.quantile(b, TAIL) - np.quantile(a, TAIL))
    found = [np.quantile(b[rows], TAIL, axis=1) - np.quantile(a[rows], TAIL, axis=1) for rows in resamples(n)]
    low, high = np.quantile(np.concatenate(found), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    method = f"difference of {NAME}s, percentile bootstrap, {RESAMPLES} paired resamples over items"
    low, high = min(float(low), value), max(float(high), value)
    return Estimate(value=value, low=low, high=high, n=n, unit=unit, method=method)
