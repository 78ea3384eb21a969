"""Verdicts of the screen: every way an interval can lie to the two lines."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantcurve.contract import screen_verdict
from quantcurve.estimates import Estimate, Missing
from quantcurve.recipe import Screen

LINES = Screen(suspect_above_percent=3, discard_above_percent=5)


def ratio(low: float, value: float, high: float) -> Estimate:
    """A ln perplexity ratio from percent of increase."""
    low, value, high = (math.log1p(p / 100) for p in (low, value, high))
    return Estimate(value=value, low=low, high=high, n=40, unit="nats", method="fabricated")


@pytest.mark.parametrize(
    ("interval", "decision", "reason"),
    [
        ((-1, 0.5, 1), "keep", "below 3 %"),
        ((1, 2, 2.99), "keep", "below 3 %"),
        ((3.01, 4, 4.99), "suspect", "in the band of 3 to 5 %"),
        ((5.01, 6, 7), "discard", "above 5 %"),
        ((2, 2.5, 3.5), "at_line", "the interval contains the 3 % line; more windows would tell"),
        ((4, 4.5, 6), "at_line", "the interval contains the 5 % line; more windows would tell"),
        ((4.99, 8, 12), "at_line", "the interval contains the 5 % line; more windows would tell"),
        ((-90, 4, 900), "at_line", "the interval contains the 3 % and the 5 % line; more windows would tell"),
    ],
)
def test_the_whole_interval_decides(interval, decision, reason):
    verdict = screen_verdict(ratio(*interval), LINES)
    assert verdict.decision == decision
    assert verdict.sentence.endswith(f": {reason}")


@pytest.mark.parametrize(("line", "named"), [(3, "the 3 % line"), (5, "the 5 % line")])
def test_an_interval_that_touches_a_line_is_at_it(line, named):
    assert named in screen_verdict(ratio(line, line + 1, line + 1), LINES).sentence
    assert screen_verdict(ratio(line, line + 1, line + 1), LINES).decision == "at_line"
    assert screen_verdict(ratio(line - 1, line, line), LINES).decision == "at_line"


def test_the_sentence_carries_value_and_interval():
    assert screen_verdict(ratio(-0.5, 1.234, 2), LINES).sentence == "perplexity +1.23 % [-0.50, +2.00]: below 3 %"


def test_what_could_not_be_measured_is_kept_with_the_reason():
    verdict = screen_verdict(Missing(missing="only 1 window"), LINES)
    assert (verdict.decision, verdict.sentence) == ("at_line", "not judged: only 1 window")


def test_one_line_for_both_leaves_no_band():
    lines = Screen(suspect_above_percent=5, discard_above_percent=5)
    assert screen_verdict(ratio(1, 2, 4.9), lines).decision == "keep"
    assert screen_verdict(ratio(5.1, 6, 7), lines).decision == "discard"
    sentence = screen_verdict(ratio(4, 5, 6), lines).sentence
    assert sentence.endswith("the interval contains the 5 % line; more windows would tell")


@given(st.lists(st.floats(-20, 20), min_size=3, max_size=3).map(sorted), st.floats(0, 10))
def test_a_worse_interval_never_gets_a_better_verdict(interval, worse):
    rank = {"keep": 0, "at_line": 1, "suspect": 1, "discard": 2}
    before = screen_verdict(ratio(*interval), LINES).decision
    after = screen_verdict(ratio(*(x + worse for x in interval)), LINES).decision
    assert rank[before] <= rank[after]
