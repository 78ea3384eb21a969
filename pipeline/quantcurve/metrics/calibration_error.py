"""Whether probabilities say how often a model is right: expected calibration error (ECE) with an interval.

Items are binned by confidence, the probability of the choice that the model takes. With a bin's share of the items
being right less its mean confidence as its gap, ECE is the mean over items of their bins' gaps without sign (Guo et al.
2017, "On Calibration of Modern Neural Networks", ICML). Bins: of equal width, (0, 1/10], (1/10, 2/10], ... as there;
or of equal mass, between quantiles of the confidences, where equal confidences are in one bin.

Chance alone gives bins gaps: of a model that is calibrated, ECE is 0.16 for 50 items in 10 bins, and bootstraps lie
above that. So the interval inverts a test (Carpenter 1999, "Test inversion bootstrap confidence intervals", JRSS B 61,
159-172; what follows is our own). Where all bins have the gap g, the ECE that one sees comes of g and of each bin's
chance, which is the deviation of a resample (over items, with the bins' bounds fixed). The interval goes from the g
with which 2.5 % of the resamples reach what was seen to that with which 97.5 % do; the estimate, with which half do, is
thereby corrected for the bias.

The difference of two models' has the bounds of both, as if these were independent (MOVER: Zou & Donner 2008, Stat. Med.
27, 1693-1702), which is wide for models that answer much alike.

Coverage of nominal 95 % intervals, 400 samples each (standard error 0.011), four choices, logits N(0, 1.5) that say how
often each is right, times 1 (ECE 0), 1.15 (0.034) or 1.6 (0.112); mean estimate and mean plain ECE of 10 bins of equal
mass; and coverage of the difference between 1.15 and 1 (tests/test_confidence_metrics.py, TOLD):

    items  times   mass 10   mass 15   width 10   width 15   estimate   plain
    50     1       0.968     0.940     0.970      0.968      0.065      0.162
           1.15    0.948     0.962     0.980      0.965      0.066      0.162
           1.6     0.962     0.968     0.965      0.970      0.090      0.180
    200    1       0.968     0.978     0.970      0.980      0.030      0.081
           1.15    0.972     0.965     0.950      0.970      0.037      0.085
           1.6     0.955     0.932     0.948      0.935      0.106      0.127
    1000   1       0.978     0.955     0.975      0.975      0.013      0.036
           1.15    0.958     0.958     0.958      0.952      0.034      0.048
           1.6     0.965     0.962     0.962      0.970      0.115      0.115
    50     change  0.975     0.998     0.995      0.990
    200    change  0.978     0.965     0.952      0.970
    1000   change  0.965     0.962     0.942      0.940
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import bisect  # type: ignore[import-untyped, unused-ignore]

from quantcurve.engines.base import Doubles
from quantcurve.estimates import Estimate, Figure, Missing
from quantcurve.metrics.item_changes import RESAMPLES, SAME, none_differs, resampled_sums
from quantcurve.metrics.paired import item_mean
from quantcurve.metrics.statistics import LEVEL
from quantcurve.records import Frozen

ITEMS_PER_BIN = 2
"""On average; fewer have no interval."""
TOLERANCE = 1e-6

BinKind = Literal["mass", "width"]


class Binning(NamedTuple):
    """Bins of equal mass or equal width."""

    kind: BinKind
    bins: int


BINNINGS = (Binning("mass", 10), Binning("mass", 15), Binning("width", 10), Binning("width", 15))


class ReliabilityBin(Frozen):
    """Items of about one confidence."""

    low: float
    """Confidences above this, but of the first bin, which has it too,"""
    high: float
    """up to this one."""
    items: int
    right: int
    confidence: float
    """Mean."""
    accuracy: Figure
    """Share that is right, Wilson's interval."""


class CalibrationError(Frozen):
    """ECE of one binning."""

    kind: BinKind
    bins: int
    """Asked for; of equal mass there are fewer where confidences are equal."""
    plain: float
    """As Guo et al. have it, too large."""
    error: Figure
    """Corrected."""
    reliability: tuple[ReliabilityBin, ...]
    """Bins with items."""


def calibration_errors(
    confidence: Doubles, right: Doubles, binnings: Sequence[Binning] = BINNINGS
) -> tuple[CalibrationError, ...]:
    """ECE with its interval, for each binning; all of the same resamples.

    Args:
        confidence: (n,), from 0 to 1.
        right: (n,), 1 where the choice is right, else 0.
        binnings: kinds and numbers of bins.

    Raises:
        ValueError: different lengths, no items, values beyond 0 and 1, or no bins.
    """
    c, r = np.asarray(confidence, np.float64), np.asarray(right, np.float64)
    if c.ndim != 1 or c.shape != r.shape or not c.size or not binnings or min(b.bins for b in binnings) < 1:
        raise ValueError(f"calibration of shapes {c.shape} and {r.shape} in {[b.bins for b in binnings]} bins")
    if not ((c >= 0) & (c <= 1)).all() or not np.isin(r, (0, 1)).all():
        raise ValueError("confidences lie in [0, 1], and an item is right (1) or not (0)")
    found = [_binned(c, binning) for binning in binnings]
    gaps = np.hstack([one.members for one in found]) * (r - c)[:, None]
    chance = (resampled_sums(gaps) - gaps.sum(0)) / len(c)
    ends = np.cumsum([one.members.shape[1] for one in found])[:-1]
    parts = zip(found, np.split(gaps.mean(0), ends), np.split(chance, ends, axis=1), strict=True)
    return tuple(
        CalibrationError(
            kind=one.binning.kind,
            bins=one.binning.bins,
            plain=float(np.abs(seen).sum()),
            error=_inverted(_Seen(seen, own, one.members.mean(0), len(c)), one.binning),
            reliability=_reliability(one, c, r),
        )
        for one, seen, own in parts
    )


def calibration_change(reference: CalibrationError, variant: CalibrationError) -> Figure:
    """Corrected ECE of the variant less the reference's, of the same binning; see the module.

    Raises:
        ValueError: binned otherwise.
    """
    if (reference.kind, reference.bins) != (variant.kind, variant.bins):
        raise ValueError(f"{reference.bins} bins of equal {reference.kind}, {variant.bins} of equal {variant.kind}")
    a, b = reference.error, variant.error
    if isinstance(a, Missing) or isinstance(b, Missing):
        return a if isinstance(a, Missing) else b
    if reference == variant:
        return none_differs(0, a.n, a.unit)
    value = b.value - a.value
    low = value - math.hypot(b.value - b.low, a.high - a.value)
    high = value + math.hypot(b.high - b.value, a.value - a.low)
    return Estimate(value=value, low=low, high=high, n=a.n, unit=a.unit, method=f"difference (MOVER); {b.method}")


class _Binned(NamedTuple):
    binning: Binning
    edges: Doubles
    """(b + 1,)"""
    members: NDArray[np.bool_]
    """(n, b)"""


def _binned(confidence: Doubles, binning: Binning) -> _Binned:
    if binning.kind == "width":
        edges = np.linspace(0, 1, binning.bins + 1)
    else:
        ordered, ranks = np.sort(confidence), np.arange(1, binning.bins + 1) * len(confidence)
        edges = np.concatenate([ordered[:1], np.unique(ordered[-(-ranks // binning.bins) - 1])])
    places = np.searchsorted(edges[1:], confidence)
    return _Binned(binning, edges, places[:, None] == np.arange(len(edges) - 1))


def _reliability(binned: _Binned, confidence: Doubles, right: Doubles) -> tuple[ReliabilityBin, ...]:
    return tuple(
        ReliabilityBin(
            low=float(low),
            high=float(high),
            items=int(inside.sum()),
            right=int(right[inside].sum()),
            confidence=float(confidence[inside].mean()),
            accuracy=item_mean(right[inside], "share"),
        )
        for low, high, inside in zip(binned.edges, binned.edges[1:], binned.members.T, strict=False)
        if inside.any()
    )


class _Seen(NamedTuple):
    gaps: Doubles
    """(b,), right less confidence, as means over all items."""
    chance: Doubles
    """(RESAMPLES, b), their deviations in resamples."""
    masses: Doubles
    """(b,), shares of the items."""
    items: int


def _inverted(seen: _Seen, binning: Binning) -> Figure:
    """Estimate and bounds by inversion of the test (see the module)."""
    if (n := seen.items) < ITEMS_PER_BIN * binning.bins:
        return Missing(missing=f"{n} items; ECE in {binning.bins} bins needs {ITEMS_PER_BIN * binning.bins}")
    plain = float(np.abs(seen.gaps).sum())
    if np.abs(seen.chance).max() <= SAME:
        return Missing(missing=f"the items of each bin are all alike (ECE {plain:.4g}): no spread")

    def above(gap: float, share: float) -> float:
        return float(np.mean(np.abs(gap * seen.masses + seen.chance).sum(1) >= plain)) - share

    def bound(share: float) -> float:
        if above(0, share) >= 0:
            return 0.0
        return 1.0 if above(1, share) < 0 else float(bisect(above, 0, 1, args=(share,), xtol=TOLERANCE))

    low, value, high = (bound(share) for share in ((1 - LEVEL) / 2, 0.5, (1 + LEVEL) / 2))
    method = f"ECE, {binning.bins} bins of equal {binning.kind}, median-unbiased; test inversion, {RESAMPLES} resamples"
    return Estimate(value=value, low=low, high=high, n=n, unit="probability", method=f"{method} over items")
