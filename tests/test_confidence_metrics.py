"""Confidence in multiple choice: figures by hand, planted effects, and how often intervals cover."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from quantcurve.estimates import Estimate, Missing
from quantcurve.metrics.calibration_error import BINNINGS, Binning, calibration_change, calibration_errors
from quantcurve.metrics.confidence import (
    Choices,
    StepConfidence,
    confidence,
    confidence_change,
    item_confidence,
    normalised,
    temperature,
    token_confidence,
)


def estimate(figure) -> Estimate:
    assert isinstance(figure, Estimate), figure
    return figure


def missing(figure) -> str:
    assert isinstance(figure, Missing), figure
    return figure.missing


def logits(rng, n: int, choices: int = 4) -> np.ndarray:
    return rng.normal(0, 1.5, (n, choices))


def drawn(rng, scores: np.ndarray) -> np.ndarray:
    """Right places, as often as the scores say."""
    return (softmax(scores, axis=1).cumsum(1) < rng.random((len(scores), 1))).sum(1)


def uneven(rng, n: int) -> Choices:
    """Items of 2 to 5 choices."""
    rows = [rng.normal(0, 1.5, rng.integers(2, 6)) for _ in range(n)]
    return Choices(rows, [int(rng.choice(len(row), p=softmax(row))) for row in rows])


def scaled(choices: Choices, factor: float) -> Choices:
    return choices._replace(log_likelihoods=[factor * np.asarray(row) for row in choices.log_likelihoods])


# By item


def test_the_figures_of_items_are_those_of_hand():
    found = item_confidence(Choices([np.log([0.5, 0.25, 0.25]), np.log([0.1, 0.4]), [-3.0, -3.0]], [0, 0, 1]))
    assert found.right.tolist() == [1, 0, 0], "of equals the first is taken"
    assert found.confidence == pytest.approx([0.5, 0.8, 0.5])
    assert found.brier == pytest.approx([0.25 + 2 * 0.0625, 2 * 0.64, 0.5])
    assert found.negative_log_likelihood == pytest.approx([math.log(2), math.log(5), math.log(2)])
    bits = -0.2 * math.log(0.2) - 0.8 * math.log(0.8)
    assert found.entropy == pytest.approx([1.5 * math.log(2), bits, math.log(2)])


def test_a_choice_that_is_next_to_impossible_has_finite_figures():
    found = item_confidence(Choices([[-1.0, -5000.0], [-9000.0, -2.0, -8000.0]], [1, 1]))
    assert found.negative_log_likelihood == pytest.approx([4999, 0]) and found.brier == pytest.approx([2, 0])
    assert found.entropy == pytest.approx([0, 0]) and found.confidence == pytest.approx([1, 1])


def test_lengths_change_which_choice_is_likeliest():
    nats = [[-4.0, -6.0], [-3.0, -2.0]]
    assert item_confidence(Choices(nats, [1, 1])).right.tolist() == [0, 1]
    assert item_confidence(Choices(normalised(nats, [[1, 3], [1, 1]]), [1, 1])).right.tolist() == [1, 1]
    for lengths in ([[1, 0], [1, 1]], [[1, 2, 3], [1, 1]]):
        with pytest.raises(ValueError, match="item 0"):
            normalised(nats, lengths)


@pytest.mark.parametrize(
    ("rows", "right"),
    [([], []), ([[-1.0]], [0]), ([[-1.0, -2.0]], [2]), ([[-1.0, -2.0]], [-1]), ([[-1.0, -2.0], [-1.0, -2.0]], [0]),
     ([[-1.0, float("nan")]], [0]), ([[-1.0, -math.inf]], [0]), ([[-1.0, -2.0]], [0.0]), ([[[-1.0], [-2.0]]], [0]),
     ([[-1.0, -2.0], [-1.0, -2.0, -3.0]], [2, 0])],
)  # fmt: skip
def test_what_is_no_choice_is_refused(rows, right):
    with pytest.raises(ValueError, match=r"items|item 0"):
        confidence(Choices(rows, right))


# Planted effects


def test_scaled_logits_change_confidence_and_entropy_and_leave_accuracy_alone():
    reference = uneven(np.random.default_rng(0), 400)
    found = confidence_change(reference, scaled(reference, 1.15))
    drop = estimate(found.accuracy_drop)
    assert drop.value == 0 and drop.low < 0 < drop.high < 0.01
    assert estimate(found.confidence).low > 0.02 and estimate(found.entropy).high < -0.04
    assert estimate(found.gap).value == pytest.approx(-estimate(found.confidence).value)
    fits = estimate(found.temperature)
    assert fits.value == pytest.approx(1.15, rel=1e-8) and fits.low <= 1.15 <= fits.high
    back = confidence_change(scaled(reference, 1.15), reference)
    assert estimate(back.temperature).value == pytest.approx(1 / 1.15) and estimate(back.confidence).high < -0.02
    for there, here in zip(found.calibration, back.calibration, strict=True):
        assert estimate(there.change).value == pytest.approx(-estimate(here.change).value)


def test_a_model_that_is_too_sure_has_calibration_errors_and_a_gap():
    rng = np.random.default_rng(0)
    scores = logits(rng, 1500)
    right = drawn(rng, scores).tolist()
    honest, bragging = confidence(Choices(list(scores), right)), confidence(Choices(list(2 * scores), right))
    assert estimate(honest.gap).low < 0 < estimate(honest.gap).high
    assert estimate(bragging.gap).high < -0.1
    assert honest.accuracy == bragging.accuracy
    assert estimate(bragging.brier).value > estimate(honest.brier).value
    assert estimate(bragging.negative_log_likelihood).value > estimate(honest.negative_log_likelihood).value
    for one, other in zip(honest.calibration, bragging.calibration, strict=True):
        assert estimate(one.error).low == 0 and estimate(one.error).value < one.plain
        assert estimate(other.error).low > 0.1
        assert estimate(calibration_change(one, other)).low > 0.05


def test_the_same_model_differs_in_nothing():
    choices = uneven(np.random.default_rng(0), 60)
    found = confidence_change(choices, choices)
    for figure in (found.confidence, found.gap, found.brier, found.negative_log_likelihood, found.entropy):
        assert (estimate(figure).value, estimate(figure).low, estimate(figure).high) == (0, 0, 0)
    same = estimate(found.temperature)
    assert (same.value, same.low, same.high) == (1, 1, 1)
    assert [estimate(c.change).value for c in found.calibration] == [0] * 4
    moved = Choices([np.asarray(row) + 7.0 for row in choices.log_likelihoods], choices.right)
    assert estimate(confidence_change(choices, moved).temperature).value == pytest.approx(1), "a softmax has no level"


def test_models_on_other_items_are_not_compared():
    one = uneven(np.random.default_rng(0), 20)
    with pytest.raises(ValueError, match="right places"):
        confidence_change(one, one._replace(right=[*one.right[:-1], 1 - min(one.right[-1], 1)]))
    more = one._replace(log_likelihoods=[*one.log_likelihoods[:-1], [*one.log_likelihoods[-1], -1.0]])
    with pytest.raises(ValueError, match="numbers of choices"):
        confidence_change(one, more)


def test_one_item_has_no_interval():
    choices = Choices([[-1.0, -2.0]], [0])
    one, changed = confidence(choices), confidence_change(choices, scaled(choices, 2))
    for figure in (one.accuracy, one.confidence, one.gap, one.brier, one.entropy, changed.accuracy_drop,
                   changed.confidence, changed.temperature, changed.negative_log_likelihood):  # fmt: skip
        assert "1 item" in missing(figure)
    assert [missing(c.error).split(";")[0] for c in one.calibration] == ["1 items"] * 4
    assert [isinstance(c.change, Missing) for c in changed.calibration] == [True] * 4


# Calibration error


def test_calibration_error_is_that_of_hand():
    confidences, right = np.array([0.05, 0.1, 0.15, 0.2, 0.95, 1.0]), np.array([0.0, 1, 0, 0, 1, 1])
    (found,) = calibration_errors(confidences, right, [Binning("width", 10)])
    assert [(b.low, b.high, b.items, b.right) for b in found.reliability] == [
        (0, pytest.approx(0.1), 2, 1), (pytest.approx(0.1), pytest.approx(0.2), 2, 0), (pytest.approx(0.9), 1, 2, 2)
    ]  # fmt: skip
    assert [b.confidence for b in found.reliability] == pytest.approx([0.075, 0.175, 0.975])
    assert found.plain == pytest.approx((2 * 0.425 + 2 * 0.175 + 2 * 0.025) / 6)
    assert estimate(found.reliability[1].accuracy).method.endswith("Wilson")
    assert missing(found.error) == "6 items; ECE in 10 bins needs 20"
    (found,) = calibration_errors(confidences, right, [Binning("mass", 3)])
    assert [(b.low, b.high, b.items) for b in found.reliability] == [(0.05, 0.1, 2), (0.1, 0.2, 2), (0.2, 1.0, 2)]
    assert found.plain == pytest.approx((2 * 0.425 + 2 * 0.175 + 2 * 0.025) / 6)
    assert estimate(found.error).low == 0


@pytest.mark.parametrize("n", [50, 200, 997])
def test_bins_of_equal_mass_have_as_many_items(n: int):
    rng = np.random.default_rng(0)
    for found in calibration_errors(rng.uniform(0, 1, n), rng.integers(0, 2, n).astype(float)):
        items = [b.items for b in found.reliability]
        assert sum(items) == n and len(items) <= found.bins
        assert found.kind == "width" or (len(items) == found.bins and max(items) - min(items) <= 1)


def test_equal_confidences_are_in_one_bin():
    confidences = np.repeat([0.3, 0.6, 0.9], [70, 20, 10])
    right = np.tile([1.0, 0.0], 50)
    found, other = (calibration_errors(x, y, [Binning("mass", 10)])[0] for x, y in
                    ((confidences, right), (confidences[::-1], right[::-1])))  # fmt: skip
    assert [b.items for b in found.reliability] == [70, 20, 10]
    assert found.plain == pytest.approx(other.plain) and found.plain == pytest.approx(0.2 * 0.7 + 0.1 * 0.2 + 0.4 * 0.1)
    alike = calibration_errors(np.full(50, 0.7), np.tile([1.0, 0.0], 25))[0]
    assert [b.items for b in alike.reliability] == [50] and estimate(alike.error).value == pytest.approx(0.2, abs=0.02)
    certain = calibration_errors(np.full(50, 0.7), np.ones(50))[0]
    assert "ECE 0.3" in missing(certain.error)


def test_all_wrong_and_all_sure_is_the_largest_error():
    rng = np.random.default_rng(0)
    for found in calibration_errors(1 - rng.uniform(0, 1e-3, 100), np.zeros(100)):
        assert found.plain == pytest.approx(1, abs=1e-3) and 0.99 < estimate(found.error).value <= 1


@pytest.mark.parametrize(
    ("confidences", "right", "bins"),
    [([0.5], [1.0, 0.0], 10), ([], [], 10), ([1.5], [1.0], 10), ([0.5], [0.5], 10), ([0.5], [1.0], 0),
     ([float("nan")], [1.0], 10)],
)  # fmt: skip
def test_what_has_no_calibration_is_refused(confidences, right, bins):
    with pytest.raises(ValueError, match=r"calibration of|lie in"):
        calibration_errors(np.array(confidences), np.array(right), [Binning("width", bins)])


def test_errors_of_other_bins_are_not_compared():
    one, other = calibration_errors(np.linspace(0.1, 1, 50), np.tile([1.0, 0.0], 25))[:2]
    with pytest.raises(ValueError, match="10 bins of equal mass, 15"):
        calibration_change(one, other)


# Temperature


def kl(reference: np.ndarray, variant: np.ndarray, t: float) -> float:
    logs = log_softmax(reference, axis=1)
    return float((np.exp(logs) * (logs - log_softmax(variant / t, axis=1))).sum())


@pytest.mark.parametrize(("factor", "noise"), [(1.15, 0.5), (0.8, 1.0), (3.0, 0.1)])
def test_the_temperature_has_the_least_kl(factor: float, noise: float):
    rng = np.random.default_rng(0)
    reference = logits(rng, 80)
    variant = factor * reference + rng.normal(0, noise, reference.shape)
    found = estimate(temperature(list(reference), list(variant)))
    least = minimize_scalar(lambda t: kl(reference, variant, t), bounds=(0.05, 20), method="bounded",
                            options={"xatol": 1e-9})  # fmt: skip
    assert found.value == pytest.approx(least.x, rel=1e-5)
    assert found.low < found.value < found.high < found.low * 1.5


def test_its_interval_is_that_of_the_resamples_own_temperatures():
    rng = np.random.default_rng(0)
    reference = logits(rng, 30)
    variant = 1.15 * reference + rng.normal(0, 0.7, reference.shape)
    own = []
    for _ in range(400):
        rows = rng.integers(0, 30, 30)
        own.append(minimize_scalar(lambda t, rows=rows: kl(reference[rows], variant[rows], t), bounds=(0.05, 20),
                                   method="bounded").x)  # fmt: skip
    found = estimate(temperature(list(reference), list(variant)))
    assert (found.low, found.high) == pytest.approx(np.quantile(own, [0.025, 0.975]), rel=0.03)


@pytest.mark.parametrize(
    ("reference", "variant"),
    [([[0.0, 0.0]] * 4, [[0.0, -1.0], [0.0, -2.0], [0.0, -1.5], [0.0, -3.0]]),
     ([[0.0, -1.0], [-2.0, 0.0], [0.0, -1.0]], [[0.0, 0.0]] * 3),
     ([[0.0, -1.0], [-2.0, 0.0], [0.0, -1.0]], [[-1.0, 0.0], [0.0, -2.0], [-1.0, 0.0]]),
     ([[0.0, -1e4], [-1e4, 0.0]], [[0.0, -1.0], [-2.0, 0.0]])],
)  # fmt: skip
def test_where_no_temperature_fits_it_is_missing(reference, variant):
    assert "no temperature from 0.01 to 100" in missing(temperature(reference, variant))


# Along the same tokens


def test_ratios_along_the_same_tokens_are_of_sums_over_steps():
    rng = np.random.default_rng(0)
    reference = [StepConfidence(*rng.uniform(0.5, 2, (2, n))) for n in (3, 0, 40, 11)]
    variant = [StepConfidence(0.9 * a.entropy * rng.uniform(0.9, 1.1), 1.2 * a.margin) for a in reference]
    found = token_confidence(reference, variant)
    wanted = sum(b.entropy.sum() for b in variant) / sum(a.entropy.sum() for a in reference)
    assert estimate(found.entropy_ratio).value == pytest.approx(wanted) and estimate(found.entropy_ratio).n == 4
    assert "ratio 1.2" in missing(found.margin_ratio), "the same of all"
    same = token_confidence(reference, reference)
    assert estimate(same.entropy_ratio).value == estimate(same.margin_ratio).high == 1
    assert "1 item" in missing(token_confidence(reference[:1], variant[:1]).entropy_ratio)
    sure = [StepConfidence(np.zeros(3), np.ones(3))] * 3
    assert "denominator are 0" in missing(token_confidence(sure, sure).entropy_ratio)


def test_other_steps_are_not_compared():
    one, other = StepConfidence([1.0, 2.0], [1.0, 2.0]), StepConfidence([1.0], [1.0])
    for a, b, said in (([one], [other], "item 0"), ([one], [], "1 items"), ([], [], "0 items"),
                       ([one, StepConfidence([1.0], [])], [one, other], "item 1")):  # fmt: skip
        with pytest.raises(ValueError, match=said):
            token_confidence(a, b)


# Coverage

ECE = {1.0: 0.0, 1.15: 0.034, 1.6: 0.112}
"""Of logits that say how often each choice is right, by what they are then scaled with."""


def sure(scores: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return softmax(scores, axis=1).max(1), (scores.argmax(1) == right).astype(float)


def calibration_coverage(n: int, samples: int) -> np.ndarray:
    """Of each of BINNINGS (columns): coverage, mean corrected and mean plain error at each scale of ECE, and coverage
    of the difference between 1.15 and 1."""
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(samples):
        scores = logits(rng, n)
        right = drawn(rng, scores)
        found = [calibration_errors(*sure(scale * scores, right)) for scale in ECE]
        row = []
        for errors, truth in zip(found, ECE.values(), strict=True):
            row.append([estimate(e.error).low <= truth <= estimate(e.error).high for e in errors])
            row += [[estimate(e.error).value for e in errors], [e.plain for e in errors]]
        changes = [estimate(calibration_change(a, b)) for a, b in zip(*found[:2], strict=True)]
        rows.append([*row, [c.low <= ECE[1.15] <= c.high for c in changes]])
    return np.mean(np.array(rows, float), axis=0)


def temperature_coverage(n: int, samples: int) -> float:
    def pairs(rng, size):
        reference = logits(rng, size)
        return reference, 1.15 * reference + rng.normal(0, 0.5, reference.shape)

    many = pairs(np.random.default_rng(1), 400_000)
    truth = minimize_scalar(lambda t: kl(*many, t), bounds=(1, 2), method="bounded").x
    rng = np.random.default_rng(0)
    found = [estimate(temperature(*map(list, pairs(rng, n)))) for _ in range(samples)]
    return float(np.mean([e.low <= truth <= e.high for e in found]))


def test_the_errors_told_are_those_of_many_items():
    rng = np.random.default_rng(1)
    scores = logits(rng, 400_000)
    right = drawn(rng, scores)
    for scale, told in ECE.items():
        confidences, hits = sure(scale * scores, right)
        assert abs(float(np.mean(confidences - hits))) == pytest.approx(told, abs=0.002), "bins' gaps have one sign"


def test_intervals_of_calibration_errors_cover():
    found = calibration_coverage(60, 60)
    assert (found[::3] >= 0.88).all(), "coverage"
    assert (np.abs(found[1::3] - found[2::3]) > 0.03).all(), "the plain error is too large"


TOLD = {
    50: """0.968 0.940 0.970 0.968  0.065 0.085 0.058 0.066  0.162 0.201 0.127 0.153
           0.948 0.962 0.980 0.965  0.066 0.086 0.061 0.069  0.162 0.202 0.133 0.159
           0.962 0.968 0.965 0.970  0.090 0.104 0.101 0.101  0.180 0.215 0.162 0.184  0.975 0.998 0.995 0.990""",
    200: """0.968 0.978 0.970 0.980  0.030 0.032 0.026 0.028  0.081 0.098 0.064 0.078
            0.972 0.965 0.950 0.970  0.037 0.038 0.035 0.038  0.085 0.101 0.072 0.085
            0.955 0.932 0.948 0.935  0.106 0.100 0.112 0.110  0.127 0.137 0.124 0.131  0.978 0.965 0.952 0.970""",
    1000: """0.978 0.955 0.975 0.975  0.013 0.015 0.012 0.013  0.036 0.044 0.029 0.035
             0.958 0.958 0.958 0.952  0.034 0.034 0.036 0.035  0.048 0.054 0.044 0.048
             0.965 0.962 0.962 0.970  0.115 0.115 0.115 0.116  0.115 0.116 0.116 0.117  0.965 0.962 0.942 0.940""",
}
"""What calibration_error.py says, by items; as `calibration_coverage` has it."""


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("n", TOLD)
def test_intervals_of_calibration_errors_cover_as_often_as_told(n: int):
    told = np.array(TOLD[n].split(), float).reshape(-1, len(BINNINGS))
    assert calibration_coverage(n, 400) == pytest.approx(told, abs=0.004)


@pytest.mark.parametrize(("n", "told"), [(8, 0.865), (32, 0.9275)])
def test_intervals_of_temperatures_cover_as_often_as_told(n: int, told: float):
    assert temperature_coverage(n, 400) == pytest.approx(told, abs=0.006)


@pytest.mark.slow
def test_intervals_of_temperatures_of_many_items_cover_as_often_as_told():
    assert temperature_coverage(200, 400) == pytest.approx(0.97, abs=0.006)
