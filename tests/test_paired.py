"""Paired differences: intervals, and early decisions against a budget."""

from __future__ import annotations

import numpy as np
import pytest

from quantcurve.estimates import Estimate, Missing
from quantcurve.metrics.paired import MIN_LOOK, decided, paired_drop
from quantcurve.metrics.paired_rates import Discordant, score_interval


def estimate(reference, variant) -> Estimate:
    found = paired_drop(reference, variant, "nats")
    assert isinstance(found, Estimate)
    return found


def test_a_t_interval_of_the_differences():
    found = estimate([1.0, 2.0, 3.0, 4.5], [0.5, 1.8, 2.1, 4.1])  # 0.5, 0.2, 0.9, 0.4: t.interval of scipy.stats
    assert (found.value, found.n, found.unit) == (pytest.approx(0.5), 4, "nats")
    assert (found.low, found.high) == (pytest.approx(0.031557, abs=1e-5), pytest.approx(0.968443, abs=1e-5))
    assert "t(3)" in found.method


def test_rates_have_tangos_interval():
    reference, variant = np.ones(50), np.ones(50)
    variant[:9] = 0  # lost
    reference[9:12] = 0  # won
    found = estimate(reference, variant)
    assert found.value == pytest.approx(0.12)
    assert (found.low, found.high) == score_interval(Discordant(9, 3, 50), 0.95)
    assert "9 of 50 items lost, 3 won" in found.method


def test_proportions_that_do_not_differ_still_have_an_interval():
    same = estimate([1, 0, 1, 1], [1, 0, 1, 1])
    assert same.value == 0 and same.low == pytest.approx(-same.high) and 0.3 < same.high < 0.6
    worst = estimate(np.ones(3), np.zeros(3))
    assert worst.value == 1 and worst.high == 1 and worst.low < 0.5


def test_what_has_no_interval_says_why():
    assert paired_drop([0.5], [0.25], "nats") == Missing(missing="1 item; an interval needs 2")
    equal = paired_drop([1.5, 2.5, 0.5], [1.25, 2.25, 0.25], "nats")
    assert isinstance(equal, Missing) and "all 3 items differ by 0.25" in equal.missing
    none = estimate([0.5, 0.25], [0.5, 0.25])
    assert (none.value, none.low, none.high) == (0, 0, 0) and "no item of 2 differs" in none.method


@pytest.mark.parametrize(("a", "b"), [([1.0], [1.0, 2.0]), ([], []), ([1.0, float("nan")], [1.0, 1.0])])
def test_values_that_do_not_pair_are_refused(a, b):
    with pytest.raises(ValueError, match=r"same items|not finite"):
        paired_drop(a, b, "nats")


def normal(rng, size):
    return rng.standard_normal(size)


def skewed(rng, size):
    """What quantization does: a few items get much worse (skewness 1.75)."""
    return np.exp(0.5 * rng.standard_normal(size)) - np.exp(0.125)


def very_skewed(rng, size):
    return np.exp(rng.standard_normal(size)) - np.exp(0.5)


def lost_and_won(rng, size):
    """Differences of right and wrong answers, 15 % lost, 5 % won."""
    return rng.choice([1.0, 0.0, -1.0], size, p=[0.15, 0.8, 0.05])


def rarely_lost(rng, size):
    return rng.choice([1.0, 0.0], size, p=[0.05, 0.95])


@pytest.mark.parametrize(
    ("draw", "n", "least"), [(normal, 8, 0.935), (normal, 32, 0.935), (skewed, 32, 0.915), (very_skewed, 32, 0.85)]
)
def test_t_intervals_cover_the_mean(draw, n: int, least: float):
    rng = np.random.default_rng(0)
    samples = draw(rng, (2000, n))
    found = [estimate(sample, np.zeros(n)) for sample in samples]
    covered = np.mean([e.low <= 0 <= e.high for e in found])
    assert least <= covered <= 0.965


@pytest.mark.parametrize(("n", "lost", "won"), [(16, 0.1, 0.1), (32, 0.15, 0.05), (64, 0.05, 0.0), (128, 0.3, 0.2)])
def test_intervals_of_proportions_cover_the_difference(n: int, lost: float, won: float):
    rng = np.random.default_rng(0)
    drawn = rng.choice([1, -1, 0], (2000, n), p=[lost, won, 1 - lost - won])
    found = [estimate((d >= 0).astype(float), (d <= 0).astype(float)) for d in drawn]
    assert np.mean([e.low <= lost - won <= e.high for e in found]) >= 0.94


def wrong_decisions(draw, total: int, runs: int, alpha: float, step: int = 4) -> tuple[float, float]:
    """Share of searches that decide against what all items would say, looks after every few items, the budget where it
    is hardest: at the expected mean; and share that decide early at all."""
    rng = np.random.default_rng(0)
    wrong = early = 0
    for x in draw(rng, (runs, total)):
        budget = float(draw(rng, 4000).mean())
        truth = "pass" if x.mean() <= budget else "fail"
        for n in range(step, total, step):
            if (said := decided(x[:n], total, budget, alpha)) is not None:
                early += 1
                wrong += said != truth
                break
    return wrong / runs, early / runs


@pytest.mark.parametrize("draw", [normal, skewed, lost_and_won, rarely_lost])
def test_early_decisions_are_rarely_wrong(draw):
    wrong, _ = wrong_decisions(draw, 64, 1000, 0.001)
    assert wrong <= 0.005


@pytest.mark.parametrize("away", [-2.0, 2.0])
def test_what_is_far_from_the_budget_is_decided_early(away: float):
    x = normal(np.random.default_rng(0), 64)
    looks = [decided(x[:n], 64, away) for n in range(MIN_LOOK, 64)]
    wanted = "pass" if away > 0 else "fail"
    assert wanted in looks[:20] and set(looks) <= {None, wanted}


def test_all_items_decide_exactly():
    assert decided([0.5, 0.25, 0.0], 3, 0.25) == "pass"
    assert decided([0.5, 0.25, 0.01], 3, 0.25) == "fail"
    assert decided([0.0] * 3, 3, 0.25) == "pass"


def test_nothing_is_decided_from_too_little():
    assert decided([0.0, 1e-9, 0.0, 1e-9, 0.0, 1e-9, 0.0], 100, 5.0) is None
    assert decided([0.0] * 50, 100, 5.0) is None
    for bad in ([], [0.0] * 4, [float("nan")]):
        with pytest.raises(ValueError, match="differences of 3 items"):
            decided(bad, 3, 1.0)
