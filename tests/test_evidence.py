"""For and against a budget: p values, what they cost, and how often they err."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import false_discovery_control, ttest_1samp

from quantcurve.estimates import Estimate, Missing
from quantcurve.metrics import evidence
from quantcurve.metrics.evidence import Lines, holm, items_needed, of_constant, of_estimate, of_items, over_looks


def estimate(value: float, low: float, high: float, n: int = 20) -> Estimate:
    return Estimate(value=value, low=low, high=high, n=n, unit="ln", method="made up")


def test_means_are_judged_by_students_test():
    rng = np.random.default_rng(0)
    reference = rng.normal(size=40)
    variant = reference - rng.normal(0.1, 0.3, 40)
    found = of_items(reference, variant, Lines(0.2, 0.05), "nats")
    d = reference - variant
    assert found.p_keeps == pytest.approx(ttest_1samp(d, 0.2, alternative="less").pvalue)
    assert found.p_breaks == pytest.approx(ttest_1samp(d, 0.05, alternative="greater").pvalue)
    assert (found.lost, found.won) == (int((d > 0).sum()), int((d < 0).sum()))


def test_what_a_95_percent_interval_says_is_what_the_tests_say():
    rng = np.random.default_rng(1)
    reference = (rng.random(200) < 0.6).astype(float)
    variant = np.where(rng.random(200) < 0.1, 1 - reference, reference)
    loss = of_items(reference, variant, Lines(0, 0), "share").loss
    assert isinstance(loss, Estimate)
    for line in np.linspace(-0.2, 0.2, 41):
        found = of_items(reference, variant, Lines(line, line), "share")
        assert (found.p_keeps <= evidence.ALPHA) == (loss.high <= line + 1e-9)
        assert (found.p_breaks <= evidence.ALPHA) == (loss.low >= line - 1e-9)


def test_eight_values_of_one_size_are_not_called_a_loss_more_often_than_chance_makes_one():
    """Rounding moves an item up or down by about as much as another; tests of many figures ask for small p values."""
    rng, level = np.random.default_rng(6), evidence.ALPHA / 100
    called, by_t = 0, 0
    for _ in range(4000):
        d = rng.choice([-1, 1], 8) * (1 + 0.05 * rng.normal(size=8))
        called += of_items(d, np.zeros(8), Lines(0, 0), "nats").p_breaks <= level
        by_t += ttest_1samp(d, 0, alternative="greater").pvalue <= level
    assert called == 0
    assert by_t / 4000 > 8 * level, "t alone errs"


def test_few_items_decide_nothing():
    found = of_items([1.0] * 7, [0.0] * 7, Lines(0, 0), "share")
    assert (found.p_keeps, found.p_breaks, found.lost) == (1, 1, 7)


def test_the_same_answers_keep_a_limit_and_show_no_gain():
    same = np.linspace(0, 1, 20)
    assert of_items(same, same, Lines(0.01, 0.01), "nats").p_keeps == 2**-20
    assert of_items(same, same, Lines(0.0, 0.0), "nats").p_keeps == 1
    assert of_items(same, same, Lines(0.0, 0.0), "nats").p_breaks == 1


def test_exact_figures_are_on_one_side():
    size = estimate(-0.3, -0.3, -0.3)
    assert (of_constant(size, Lines(-0.25, -0.25)).p_keeps, of_constant(size, Lines(-0.25, -0.25)).p_breaks) == (0, 1)
    assert (of_constant(size, Lines(-0.35, -0.35)).p_keeps, of_constant(size, Lines(-0.35, -0.35)).p_breaks) == (1, 0)
    assert of_estimate(size, Lines(-0.25, -0.25)).p_keeps == 0


def test_a_figure_is_judged_by_its_interval_side_by_side():
    lopsided = estimate(0.0, -0.1, 0.4)
    assert of_estimate(lopsided, Lines(0.4, 0.4)).p_keeps == pytest.approx(0.025)
    assert of_estimate(lopsided, Lines(-0.1, -0.1)).p_breaks == pytest.approx(0.025)
    assert of_estimate(Missing(missing="not timed"), Lines(0, 0)).p_keeps == 1


def test_within_means_neither_more_nor_less():
    inside, above, below = (evidence.of_both_sides(estimate(v, v - 0.01, v + 0.01), 0.05) for v in (0.0, 0.2, -0.2))
    assert inside.p_keeps < 1e-6 and inside.p_breaks > 0.9
    for outside in (above, below):
        assert outside.p_breaks < 1e-6 and outside.p_keeps > 0.99
    assert evidence.of_both_sides(Missing(missing="no answers"), 0.05).p_keeps == 1


def test_items_needed_decide_as_often_as_they_promise():
    rng = np.random.default_rng(2)
    lost, won = 0.06, 0.02
    spread = math.sqrt(lost + won - (lost - won) ** 2)
    n = items_needed(lost - won, spread, Lines(0.0, 0.0))
    assert n is not None and 300 < n < 500
    decided = 0
    for _ in range(400):
        d = rng.choice([1, -1, 0], n, p=[lost, won, 1 - lost - won])
        decided += of_items((d >= 0) * 1.0, (d <= 0) * 1.0, Lines(0, 0), "share").p_breaks <= evidence.ALPHA
    assert 0.72 <= decided / 400 <= 0.88


def test_no_number_of_items_decides_what_lies_on_the_line():
    assert items_needed(0.01, 0.3, Lines(0.01, 0.01)) is None
    assert items_needed(0.01, 0.0, Lines(0.02, 0.02)) is None
    assert items_needed(0.01, 0.3, Lines(0.01 + 1e-9, 0.01)) is None
    assert items_needed(0.005, 0.3, Lines(0.02, 0.0)) == items_needed(0.0, 0.3, Lines(0.015, 0.015))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holms_adjusted_values_are_those_of_the_step_down_procedure(p: list[float]):
    found = holm(p)
    order = sorted(range(len(p)), key=lambda i: (p[i], i))
    for alpha in (0.01, 0.05, 0.2, 0.7):
        rejected = set()
        for rank, i in enumerate(order):
            if p[i] * (len(p) - rank) > alpha:
                break
            rejected.add(i)
        assert {i for i, x in enumerate(found) if x <= alpha} == rejected
    assert all(a >= b for a, b in zip(found, false_discovery_control(p), strict=True)) or len(p) == 1


def test_looks_share_the_level():
    assert over_looks([0.01], [0.2, 0.8]) == pytest.approx(0.05)
    assert over_looks([0.01, 0.001], [0.2, 0.8]) == pytest.approx(0.00125)
    assert over_looks([], [1.0]) == 1
    for p, weights in (([0.1, 0.1], [1.0]), ([0.1], [0.5, 0.4]), ([0.1], [1.5, -0.5])):
        with pytest.raises(ValueError, match="looks with weights"):
            over_looks(p, weights)


def test_looking_thrice_errs_no_more_often_than_the_level():
    rng = np.random.default_rng(3)
    wrong, weights = 0, [0.2, 0.3, 0.5]
    for _ in range(2000):
        d = rng.choice([1, -1, 0], 200, p=[0.05, 0.05, 0.9])
        ps = [of_items((d[:n] >= 0) * 1.0, (d[:n] <= 0) * 1.0, Lines(0, 0), "s").p_breaks for n in (50, 100, 200)]
        wrong += over_looks(ps, weights) <= evidence.ALPHA
    assert wrong / 2000 <= evidence.ALPHA + 0.005


@pytest.mark.parametrize(("n", "lost", "won"), [(72, 0.04, 0.0), (72, 0.02, 0.01), (300, 0.04, 0.0), (24, 0.1, 0.05)])
def test_rare_losses_of_a_part_are_not_called_kept(n: int, lost: float, won: float):
    """The budget is the expected loss, so that what is called kept or broken is an error."""
    rng = np.random.default_rng(4)
    by_t, kept, broken = 0, 0, 0
    line = (lost - won) * 0.37
    for _ in range(400):
        d = 0.37 * rng.choice([1, -1, 0], n, p=[lost, won, 1 - lost - won])
        reference, variant = 0.5 + d / 2, 0.5 - d / 2
        found = evidence.of_shares(reference, variant, Lines(line, line), "nDCG")
        kept, broken = kept + (found.p_keeps <= evidence.ALPHA), broken + (found.p_breaks <= evidence.ALPHA)
        by_t += of_items(reference, variant, Lines(line, line), "nDCG").p_keeps <= evidence.ALPHA
    assert kept / 400 <= 0.03 and broken / 400 <= 0.03 and by_t / 400 > 0.03


def test_shares_are_rates_where_all_are_0_or_1_or_none_differs():
    rng = np.random.default_rng(5)
    a, b = ((rng.random(40) < p).astype(float) for p in (0.9, 0.7))
    lines = Lines(0.02, 0.0)
    assert evidence.of_shares(a, b, lines, "share") == of_items(a, b, lines, "share")
    same = evidence.of_shares(np.full(40, 0.5), np.full(40, 0.5), lines, "share").loss
    assert isinstance(same, Estimate) and same.low < 0 < same.high
    few = evidence.of_shares([0.5] * 7, [0.4] * 6 + [0.1], lines, "share")
    assert (few.p_keeps, few.p_breaks) == (1, 1)


def test_what_a_95_percent_interval_says_of_shares_is_what_the_tests_say():
    rng = np.random.default_rng(6)
    reference = rng.random(50)
    variant = np.clip(reference - 0.1 * (rng.random(50) < 0.3), 0, 1)
    loss = evidence.of_shares(reference, variant, Lines(0, 0), "share").loss
    assert isinstance(loss, Estimate) and loss.low < loss.value < loss.high
    for line in np.linspace(-0.1, 0.2, 31):
        found = evidence.of_shares(reference, variant, Lines(line, line), "share")
        assert (found.p_keeps <= evidence.ALPHA) == (loss.high <= line)
        assert (found.p_breaks <= evidence.ALPHA) == (loss.low >= line)
