"""Tango's interval and test: against the likelihood itself, and how often they err."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import multinomial

from quantcurve.metrics.paired_rates import Discordant, p_above, p_below, score_interval, score_z

COUNTS = [(9, 3, 32), (15, 5, 100), (1, 0, 44), (0, 3, 20), (40, 20, 160), (5, 5, 10)]


def likeliest_won(counts: Discordant, difference: float) -> float:
    """Share won under H0, by the search for the largest likelihood."""
    lost, won, n = counts

    def minus(q: float) -> float:
        p = q + difference
        terms = ((lost, p), (won, q), (n - lost - won, 1 - p - q))
        return -sum(k * math.log(max(x, 1e-300)) for k, x in terms if k)

    low, high = max(0.0, -difference), (1 - difference) / 2
    return float(minimize_scalar(minus, bounds=(low, high), method="bounded", options={"xatol": 1e-12}).x)


@pytest.mark.parametrize("counts", COUNTS)
@pytest.mark.parametrize("difference", [-0.2, -0.01, 0.0, 0.05, 0.3])
def test_the_statistic_is_that_of_the_restricted_likelihood(counts, difference: float):
    counts = Discordant(*counts)
    q = likeliest_won(counts, difference)
    variance = counts.n * (2 * q + difference * (1 - difference))
    wanted = (counts.lost - counts.won - counts.n * difference) / math.sqrt(variance)
    assert score_z(counts, difference) == pytest.approx(wanted, abs=2e-4)


@pytest.mark.parametrize("counts", COUNTS)
def test_the_interval_is_what_the_test_does_not_reject(counts):
    counts = Discordant(*counts)
    low, high = score_interval(counts, 0.95)
    assert -1 <= low <= counts.difference <= high <= 1
    assert p_above(counts, low) == pytest.approx(0.025, abs=1e-6)
    assert p_below(counts, high) == pytest.approx(0.025, abs=1e-6)


def test_it_is_mcnemars_test_at_none_and_wilsons_interval_without_discordant_items():
    assert score_z(Discordant(9, 3, 32), 0.0) == pytest.approx(6 / math.sqrt(12))
    z = 1.959963984540054
    assert score_interval(Discordant(0, 0, 44), 0.95)[1] == pytest.approx(z**2 / (44 + z**2))


def test_the_sides_are_alike():
    one, other = Discordant(9, 3, 32), Discordant(3, 9, 32)
    low, high = score_interval(one, 0.9)
    assert score_interval(other, 0.9) == (pytest.approx(-high), pytest.approx(-low))
    assert p_above(one, 0.1) == pytest.approx(p_below(other, -0.1))


def test_all_lost_and_all_won():
    low, high = score_interval(Discordant(10, 0, 10), 0.95)
    assert high == 1 and 0.4 < low < 0.5
    assert p_above(Discordant(10, 0, 10), 0.99) < 0.5 and p_below(Discordant(0, 10, 10), -1.0) == 0.5


@pytest.mark.parametrize(("counts", "line"), [((-1, 0, 4), 0), ((3, 2, 4), 0), ((0, 0, 0), 0), ((1, 1, 4), 1.5)])
def test_counts_that_cannot_be_are_refused(counts, line: float):
    with pytest.raises(ValueError, match="at a difference of"):
        score_z(Discordant(*counts), line)


def every(n: int, lost: float, won: float) -> list[tuple[Discordant, float]]:
    """All counts that n items can give, with their probabilities."""
    found = [Discordant(a, b, n) for a in range(n + 1) for b in range(n + 1 - a)]
    chances = multinomial.pmf([[c.lost, c.won, n - c.lost - c.won] for c in found], n, [lost, won, 1 - lost - won])
    return [(c, float(p)) for c, p in zip(found, chances, strict=True) if p > 1e-7]


def coverage(n: int, lost: float, won: float) -> float:
    """Exact, of nominal 95 %."""
    known = every(n, lost, won)
    bounds = [score_interval(c, 0.95) for c, _ in known]
    inside = [low <= lost - won <= high for low, high in bounds]
    return float(np.dot(inside, [p for _, p in known]))


@pytest.mark.parametrize(("lost", "won"), [(0.1, 0.1), (0.15, 0.05), (0.05, 0.0), (0.02, 0.01)])
@pytest.mark.parametrize("n", [16, 40])
def test_intervals_cover_the_difference(n: int, lost: float, won: float):
    assert coverage(n, lost, won) >= 0.925


@pytest.mark.parametrize(("lost", "won"), [(0.1, 0.1), (0.03, 0.03), (0.2, 0.2)])
@pytest.mark.parametrize("n", [40, 100])
def test_a_test_at_its_line_errs_as_often_as_it_says(n: int, lost: float, won: float):
    """The one-sided test at 2.5 %, with the truth on the line."""
    wrong = sum(p for c, p in every(n, lost, won) if p_above(c, lost - won) <= 0.025)
    assert wrong <= 0.035
