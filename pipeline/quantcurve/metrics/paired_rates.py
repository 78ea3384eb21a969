"""Rates of the same items on two models: Tango's score interval and test of their difference.

Of n items, `lost` are right on the reference alone and `won` on the variant alone; the rest says nothing about the
difference. For H0: (share lost) - (share won) = d, the score statistic is

    z(d) = (lost - won - n d) / sqrt(n (2 q + d (1 - d))),

where q is the share won under H0 that makes the counts likeliest:

    q = (sqrt(B^2 - 8 n C) - B) / (4 n),  B = -lost - won + (2 n - lost + won) d,  C = -won d (1 - d).

Tango (1998), "Equivalence test and confidence interval for the difference in proportions for the paired-sample design",
Stat. Med. 17, 891-908. For d = 0 it is McNemar's test without continuity correction; without any discordant pair the
interval is Wilson's. Coverage of nominal 95 % and errors of one-sided tests at 2.5 %: tests/test_paired_rates.py.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from scipy.optimize import brentq  # type: ignore[import-untyped, unused-ignore]
from scipy.special import ndtr, ndtri  # type: ignore[import-untyped, unused-ignore]

TOLERANCE = 1e-10
FAR = 1e3
"""Of z, in place of infinity."""


class Discordant(NamedTuple):
    """Counts of paired items."""

    lost: int
    won: int
    n: int

    @property
    def difference(self) -> float:
        """Share lost less share won."""
        return (self.lost - self.won) / self.n


def score_z(counts: Discordant, difference: float) -> float:
    """Score statistic of a difference from -1 to 1; above 0 where the counts' difference is larger.

    Raises:
        ValueError: counts or a difference that cannot be.
    """
    lost, won, n = counts
    if lost < 0 or won < 0 or lost + won > n or n < 1 or not -1 <= difference <= 1:
        raise ValueError(f"{counts} at a difference of {difference}")
    numerator = lost - won - n * difference
    b = -lost - won + (2 * n - lost + won) * difference
    c = -won * difference * (1 - difference)
    q = max((math.sqrt(max(b * b - 8 * n * c, 0.0)) - b) / (4 * n), 0.0)
    variance = n * (2 * q + difference * (1 - difference))
    if variance <= TOLERANCE:
        return 0.0 if abs(numerator) <= TOLERANCE else math.copysign(math.inf, numerator)
    return numerator / math.sqrt(variance)


def score_interval(counts: Discordant, level: float) -> tuple[float, float]:
    """Differences that a two-sided test at 1 - level does not reject; within [-1, 1].

    Raises:
        ValueError: as `score_z`.
    """
    z, at = float(ndtri((1 + level) / 2)), counts.difference

    def bound(sign: int) -> float:
        """Z falls as the difference grows."""
        end = -float(sign)
        if sign * score_z(counts, end) <= z:
            return end
        ends = min(end, at), max(end, at)
        return float(brentq(lambda d: max(min(score_z(counts, d), FAR), -FAR) - sign * z, *ends, xtol=TOLERANCE))

    return bound(+1), bound(-1)


def p_above(counts: Discordant, line: float) -> float:
    """P value of H0: the difference is at most `line`, against that it is larger; ValueError as `score_z`."""
    return float(ndtr(-score_z(counts, line)))


def p_below(counts: Discordant, line: float) -> float:
    """P value of H0: the difference is at least `line`, against that it is smaller; ValueError as `score_z`."""
    return float(ndtr(score_z(counts, line)))
