"""Confidence sequences: intervals that stay right however often they are looked at, for stopping a measurement early.

The asymptotic confidence sequence of Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas (2024), "Time-uniform central
limit theory and asymptotic confidence sequences", Annals of Statistics 52(6), 2613-2640: for the mean of n values with
standard deviation s,

    mean +- s sqrt( 2 (n r^2 + 1) / (n^2 r^2) ln( sqrt(n r^2 + 1) / alpha ) ),

r chosen so that it is narrowest after `TUNED_AT_WINDOWS` values (exactly, by Lambert's W:
n r^2 = -W_-1(-alpha^2 / e) - 1). However often one looks from `MIN_WINDOWS` on, the mean lies inside at all looks
with a probability of about 1 - alpha.

Windows are visited in random order, so their means are exchangeable however autocorrelated the text is, and the
target is the mean over the whole text. Values drawn without replacement vary less than independent ones (Serfling
1974), so the sequence is conservative near the text's end; and it says nothing of other texts.

It is asymptotic: from 32 windows on it relies on window means that are not too skewed. Share of texts, out of 2,000
of 80 or 600 windows whose own value lies exactly at the discard line, that are ever wrongly discarded at alpha = 0.01,
looks every 8 windows, autocorrelation 0, 0.6 or 0.9 alike (`tests/test_sequential.py`): normal, uniform and
right-skewed means (what quantization does: a few windows get much worse) at most 0.002; left-skewed (skewness -0.8)
at most 0.01. Beyond its reach: skewness -1.8, 0.01, and -6, 0.03 (100 windows) to 0.06 (600).
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import numpy.typing as npt

from quantcurve.estimates import Estimate

MIN_WINDOWS = 32
TUNED_AT_WINDOWS = 64

Floats = npt.NDArray[np.float64]


@cache
def mixture_scale(alpha: float) -> float:
    """The r (of the module's formula) that is best after `TUNED_AT_WINDOWS` values."""
    from scipy.special import lambertw  # type: ignore[import-untyped, unused-ignore]

    return math.sqrt((-float(lambertw(-(alpha**2) / math.e, -1).real) - 1) / TUNED_AT_WINDOWS)


def half_width_factor(n: int, alpha: float) -> float:
    """Half-width of the sequence after n values, in standard deviations of one value."""
    x = n * mixture_scale(alpha) ** 2
    return math.sqrt(2 * (x + 1) / (n * x) * math.log(math.sqrt(x + 1) / alpha))


def confidence_sequence(values: Floats, alpha: float, unit: str) -> Estimate:
    """Interval of the mean that is valid at every look.

    Args:
        values: (n,), in the random order in which they were visited.
        alpha: probability that the mean is ever outside.
        unit: of the values.

    Raises:
        ValueError: fewer than `MIN_WINDOWS` values, or values that are not finite.
    """
    if (n := len(values)) < MIN_WINDOWS:
        raise ValueError(f"{n} windows; a confidence sequence starts at {MIN_WINDOWS}")
    if not np.isfinite(values).all():
        raise ValueError(f"{int((~np.isfinite(values)).sum())} of {n} values are not finite")
    mean = float(np.mean(values, dtype=np.float64))
    half = half_width_factor(n, alpha) * float(np.std(values, ddof=1, dtype=np.float64))
    method = f"asymptotic confidence sequence, tuned at {TUNED_AT_WINDOWS} windows, valid at every look"
    return Estimate(value=mean, low=mean - half, high=mean + half, level=1 - alpha, n=n, unit=unit, method=method)


def exact(values: Floats, unit: str) -> Estimate:
    """The mean over every window of the text: nothing is left to be estimated."""
    mean = float(np.mean(values, dtype=np.float64))
    return Estimate(value=mean, low=mean, high=mean, level=1.0, n=len(values), unit=unit, method="all windows: exact")
