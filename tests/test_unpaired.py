"""Changes between runs that are not paired, against SciPy and by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from factories import estimate
from quantcurve.estimates import Estimate, Missing
from quantcurve.metrics.unpaired import difference, ratio


def bounds(value: float, low: float, high: float, level: float = 0.95) -> Estimate:
    return Estimate(value=value, low=low, high=high, level=level, n=9, unit="nats", method="made up")


def test_sides_add_as_squares() -> None:
    found = difference(bounds(1.0, 0.9, 1.2), bounds(2.0, 1.6, 2.1))
    assert isinstance(found, Estimate) and found.unit == "nats"
    assert found.value == pytest.approx(1.0)
    assert found.low == pytest.approx(1 - math.sqrt(0.4**2 + 0.2**2))
    assert found.high == pytest.approx(1 + math.sqrt(0.1**2 + 0.1**2))


def test_the_other_way_round_it_has_the_other_sign() -> None:
    a, b = bounds(1.0, 0.9, 1.2), bounds(2.0, 1.6, 2.1)
    there, back = difference(a, b), difference(b, a)
    assert isinstance(there, Estimate) and isinstance(back, Estimate)
    assert (back.value, back.low, back.high) == pytest.approx((-there.value, -there.high, -there.low))


def test_a_true_difference_is_in_19_of_20_intervals() -> None:
    dice, inside, trials = np.random.default_rng(0), 0, 4000
    for before, after in zip(dice.normal(0, 1.0, trials), dice.normal(3, 0.5, trials), strict=True):
        found = difference(estimate(before, 1.959964), estimate(after, 0.5 * 1.959964))
        assert isinstance(found, Estimate)
        inside += found.low <= 3 <= found.high
    assert inside / trials == pytest.approx(0.95, abs=0.012)


@pytest.mark.parametrize("sizes", [(3, 3), (5, 3), (10, 4)])
def test_a_ratio_is_welchs(sizes: tuple[int, int]) -> None:
    dice = np.random.default_rng(sizes[0])
    above, below = np.exp(dice.normal(1, 0.2, sizes[0])), np.exp(dice.normal(0.5, 0.05, sizes[1]))
    found = ratio(above.tolist(), below.tolist())
    welch = stats.ttest_ind(np.log(above), np.log(below), equal_var=False).confidence_interval(0.95)
    assert isinstance(found, Estimate)
    assert (math.log(found.low), math.log(found.high)) == pytest.approx((welch.low, welch.high))
    assert found.value == pytest.approx(stats.gmean(above) / stats.gmean(below))


def test_samples_that_do_not_vary_have_an_exact_ratio() -> None:
    found = ratio([2.0] * 3, [1.0] * 3)
    assert isinstance(found, Estimate) and (found.value, found.low, found.high) == pytest.approx((2, 2, 2))


def test_what_cannot_be_had_says_why() -> None:
    lost = Missing(missing="one window")
    assert difference(lost, estimate(1)) == difference(estimate(1), lost) == lost
    assert difference(bounds(1, 0, 2), bounds(1, 0, 2, 0.75)) == Missing(missing="the intervals are of 95 % and 75 %")
    few = ratio([1.0, 1.0, 1.0], [1.0, 2.0])
    assert isinstance(few, Missing) and few.missing.startswith("2 repetitions")
    assert ratio([1.0, 1.0, 0.0], [1.0, 2.0, 3.0]) == Missing(missing="a repetition that took no time")
