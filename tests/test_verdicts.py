"""Pass, fail, undecided: how budgets and variants are put together, and how often that errs."""

from __future__ import annotations

import numpy as np
import pytest

from quantcurve.estimates import Estimate
from quantcurve.metrics.evidence import ALPHA, Evidence, Lines, missing, of_items
from quantcurve.verdicts import Budget, Judged, told, verdicts

POINT = Lines(0.01, 0.01)


def budget(name: str = "code", words: str = "1 point") -> Budget:
    return Budget(part="quality", name=name, words=words, scale="points")


def judged(p_keeps: float, p_breaks: float, name: str = "code", blocked: str = "", needed: int | None = None) -> Judged:
    loss = Estimate(value=0.004, low=-0.01, high=0.018, n=100, unit="share", method="made up")
    found = Evidence(loss=loss, p_keeps=p_keeps, p_breaks=p_breaks, items_needed=needed)
    return Judged(budget(name), found, blocked)


def test_a_variant_passes_when_every_budget_is_kept_at_its_own_level():
    found = verdicts({"Q8_0": [judged(0.02, 1, "code"), judged(0.02, 1, "math"), judged(0.001, 1, "json")]})
    assert found["Q8_0"].decision == "pass"
    assert found["Q8_0"].sentence.startswith("all 3 budgets are kept; the closest: code: +0.4 points")


def test_one_budget_that_is_not_shown_leaves_it_undecided():
    found = verdicts({"Q8_0": [judged(0.001, 1), judged(0.03, 1, "math", needed=340)]})["Q8_0"]
    assert found.decision == "undecided"
    assert found.sentence == "math: +0.4 points [-1.0, +1.8], allowed 1 point: undecided; 240 more items would decide"
    assert [b.decision for b in found.budgets] == ["pass", "undecided"]


def test_holm_over_variants_and_over_all_budgets():
    """Two variants at 0.02 each: 2 x 0.02 is more than 0.025. A broken budget counts among all budgets of both."""
    both = verdicts({"a": [judged(0.02, 1)], "b": [judged(0.02, 1)]})
    assert [v.decision for v in both.values()] == ["undecided", "undecided"]
    assert "Holm" in both["a"].sentence
    one = verdicts({"a": [judged(0.01, 1)], "b": [judged(0.02, 1)]})
    assert [v.decision for v in one.values()] == ["pass", "pass"]
    few = verdicts({"a": [judged(1, 0.01), judged(1, 0.9)]})
    many = verdicts({"a": [judged(1, 0.01), judged(1, 0.9)], "b": [judged(1, 0.9)]})
    assert (few["a"].decision, many["a"].decision) == ("fail", "undecided")


def test_a_broken_budget_fails_whatever_the_others_say():
    found = verdicts({"a": [judged(0.0, 1, "math"), judged(0.5, 1e-6, "code"), judged(0.5, 1e-9, "json")]})["a"]
    assert found.decision == "fail"
    assert found.sentence.startswith("json: ") and found.sentence.endswith("broken (and 1 more)")


def test_a_blocked_budget_cannot_pass_and_can_fail():
    floor = "the reference is at the floor"
    assert verdicts({"a": [judged(0.0, 1, blocked=floor)]})["a"].decision == "undecided"
    assert floor in verdicts({"a": [judged(0.0, 1, blocked=floor)]})["a"].sentence
    assert verdicts({"a": [judged(0.0, 1e-9, blocked=floor)]})["a"].decision == "fail"


def test_no_figure_is_undecided_with_its_reason():
    found = verdicts({"a": [Judged(budget(), missing("speed was not measured"))]})["a"]
    assert found.decision == "undecided" and "speed was not measured" in found.sentence


def test_a_variant_without_budgets_is_refused():
    with pytest.raises(ValueError, match="no budgets of a"):
        verdicts({"a": []})


def test_losses_are_told_in_their_units():
    loss = Estimate(value=-0.2876821, low=-0.3, high=-0.27, n=5, unit="ln", method="made up")
    assert told(loss, "percent") == "-25.0 % [-25.9, -23.7]"
    exact = loss.model_copy(update={"low": -0.2876821, "high": -0.2876821})
    assert told(exact, "percent") == "-25.0 %"
    assert told(loss, "nats") == "-0.288 nats [-0.300, -0.270]"


def copies(rng: np.random.Generator, items: int) -> dict[str, list[Judged]]:
    """The reference against ten copies that flip some right and wrong answers and change log-likelihoods a little,
    which no mean of either moves: four budgets, of which two allow nothing."""
    found = {}
    for copy in range(10):
        right = (rng.random(items) < 0.55).astype(float)
        flipped = np.where(rng.random(items) < 0.03, 1 - right, right)
        swapped = np.where(rng.random(items) < 0.5, right, flipped), np.where(rng.random(items) < 0.5, flipped, right)
        nats = rng.normal(-2, 1, items)
        other = nats + 0.01 * rng.standard_t(4, items)
        found[f"copy{copy}"] = [
            Judged(budget("a"), of_items(*swapped, Lines(0.02, 0), "share")),
            Judged(budget("b"), of_items(right, right, POINT, "share")),
            Judged(budget("c"), of_items(nats, other, Lines(0.05, 0), "nats")),
            Judged(budget("d"), of_items(nats, nats, Lines(0.05, 0.05), "nats")),
        ]
    return found


def test_copies_of_the_reference_rarely_fail():
    """The probability that any of ten copies fails is the level; 0.025, here of 300 replays."""
    rng = np.random.default_rng(0)
    failed = [any(v.decision == "fail" for v in verdicts(copies(rng, 150)).values()) for _ in range(300)]
    assert np.mean(failed) <= ALPHA + 0.015


def test_a_planted_loss_is_found_and_a_wide_budget_keeps_it():
    rng = np.random.default_rng(1)
    right = (rng.random(1500) < 0.6).astype(float)
    worse = np.where((rng.random(1500) < 0.08) & (right == 1), 0.0, right)
    found = verdicts({"bad": [Judged(budget(), of_items(right, worse, POINT, "share"))]})["bad"]
    assert found.decision == "fail" and "allowed 1 point: broken" in found.sentence
    wide = verdicts({"bad": [Judged(budget(words="10 points"), of_items(right, worse, Lines(0.1, 0.1), "share"))]})
    assert wide["bad"].decision == "pass"
