"""Drift of answers: what is counted in one answer, paired figures, and how often their intervals cover."""

from __future__ import annotations

import math

import numpy as np
import pytest

from quantcurve.estimates import Estimate, Missing
from quantcurve.metrics.behaviour import answer_behaviour, behaviour, first_divergence, loops, repetition
from quantcurve.metrics.embedding import bca
from quantcurve.metrics.item_changes import (
    BLOCK,
    change,
    percentiles,
    ratio_of_means,
    resampled_roots,
    resampled_sums,
    resamples,
)
from quantcurve.task_records import AnswerRecord


def answered(tokens, entropy=None, margin=None, reason="end", rank=1, stop=0.5) -> AnswerRecord:
    """An answer with a step for each token and, if it ends, for the one that ends it."""
    steps = len(tokens) + (reason == "end")
    entropy = tuple(entropy) if entropy is not None else tuple(1 + i / 7 for i in range(steps))
    margin = tuple(margin) if margin is not None else tuple(2 + i / 3 for i in range(steps))
    return AnswerRecord(
        tokens=tuple(tokens),
        text=" ".join(map(str, tokens)),
        stop_reason=reason,
        log_probability=tuple(-0.5 for _ in entropy),
        stop_probability=tuple(stop for _ in entropy),
        stop_rank=tuple(rank for _ in entropy),
        entropy=entropy,
        margin=margin,
    )


def estimate(figure) -> Estimate:
    assert isinstance(figure, Estimate), figure
    return figure


def missing(figure) -> str:
    assert isinstance(figure, Missing), figure
    return figure.missing


# One answer


@pytest.mark.parametrize(
    ("tokens", "share"),
    [((), 0), ((1, 1, 1), 0), ((1, 2, 3, 4), 0), ((1, 1, 1, 1, 1), 1 / 2), ((1, 2, 3, 4, 9, 1, 2, 3, 4), 1 / 6),
     ((7,) * 103, 99 / 100), ((1, 2) * 5, 5 / 7), (tuple(range(50)), 0)],
)  # fmt: skip
def test_repetition_is_the_share_of_4_grams_that_occurred_before(tokens, share: float):
    assert repetition(tokens) == pytest.approx(share)


@pytest.mark.parametrize(
    ("tokens", "said"),
    [((), False), ((5,) * 15, False), ((5,) * 16, True), ((1, 2) * 7, False), ((1, 2) * 8, True),
     ((1, 2, 3, 4, 5, 6) * 2 + (1, 2, 3), False), ((1, 2, 3, 4, 5, 6) * 3, True),
     ((9, 9, 8) + (1, 2, 3, 4, 5, 6) * 3 + (1, 2, 3), True), (tuple(range(32)) * 3, True),
     (tuple(range(33)) * 3, False), (tuple(range(32)) * 2 + tuple(range(31)), False), ((4,) * 20 + (5,), False)],
)  # fmt: skip
def test_a_loop_is_three_repeats_of_one_block_and_16_tokens(tokens, said: bool):
    assert loops(tokens) is said and loops(list(tokens)) is said


def loops_by_definition(tokens) -> bool:
    for size in range(1, 33):
        for repeats in range(3, len(tokens) // size + 1):
            if repeats * size >= 16 and list(tokens[-size:]) * repeats == list(tokens[-size * repeats :]):
                return True
    return False


def test_loops_are_found_as_they_are_defined():
    rng = np.random.default_rng(0)
    found = []
    for _ in range(1500):
        block = rng.integers(0, 3, rng.integers(1, 36)).tolist()
        tokens = rng.integers(0, 3, rng.integers(0, 9)).tolist() + block * int(rng.integers(1, 7))
        tokens = tokens[: len(tokens) - int(rng.integers(0, 5))]
        found.append(loops(tokens))
        assert found[-1] == loops_by_definition(tokens), tokens
    assert 300 < sum(found) < 1200


@pytest.mark.parametrize(
    ("a", "b", "place"),
    [((), (), None), ((1, 2), (1, 2), None), ((1, 2), (1, 3), 1), ((1, 2), (1, 2, 3), 2), ((1, 2, 3), (1, 2), 2),
     ((), (4,), 0), ((4, 1), (5, 1), 0)],
)  # fmt: skip
def test_answers_part_at_the_first_token_that_differs_or_is_missing(a, b, place):
    assert first_divergence(a, b) == place


def test_the_figures_of_an_answer():
    found = answer_behaviour(answered((4, 5, 6), (1.0, 2.0, 3.0, 6.0), (4.0, 2.0, 2.0, 0.0), rank=3, stop=0.25))
    assert found == (3, "end", 0.0, False, 3.0, 2.0, 3, 0.25)
    none = answer_behaviour(answered((4,), (), (), reason="limit"))
    assert (none.tokens, none.entropy, none.margin, none.stop_rank, none.stop_probability) == (1, *[None] * 4)
    endless = answer_behaviour(answered((4,), reason="limit", rank=0, stop=0.0))
    assert (endless.stop_rank, endless.stop_probability) == (None, None), "no token ends answers"


# Paired answers


def test_figures_are_those_of_hand():
    reference = [answered((1, 2, 3)), answered((1, 2, 3, 4)), answered((7,) * 20, reason="limit"), answered((5, 6))]
    variant = [answered((1, 2, 3)), answered((1, 9, 3, 4, 5, 6, 7, 8)), answered((7,) * 10), answered((5, 6, 7))]
    found = behaviour(reference, variant)
    assert found.items == 4
    assert (estimate(found.tokens.reference).value, estimate(found.tokens.variant).value) == (29 / 4, 24 / 4)
    assert estimate(found.tokens.change).value == -5 / 4
    assert estimate(found.length_ratio).value == pytest.approx(24 / 29)
    ratios = [1, 8 / 4, 10 / 20, 3 / 2]
    assert estimate(found.verbosity_ratio).value == pytest.approx(math.prod(ratios) ** 0.25)
    assert (found.limit.lost, found.limit.won) == (0, 1) and estimate(found.limit.change).value == -0.25
    assert (found.loops.lost, found.loops.won) == (0, 1), "ten tokens are no loop"
    assert estimate(found.repetition.change).value == pytest.approx((6 / 7 - 16 / 17) / 4)
    assert estimate(found.agreement).value == 0.25
    assert estimate(found.first_divergence).value == 2, "of 1, 10 and 2"
    assert "3 of 4 answers" in estimate(found.first_divergence).method
    assert "40" in missing(found.tokens_p95.change) and "72" in missing(found.tokens_p95.reference)


def test_the_same_answers_differ_in_nothing():
    rng = np.random.default_rng(0)
    answers = [answered(rng.integers(0, 50, rng.integers(0, 90)).tolist()) for _ in range(80)]
    found = behaviour(answers, answers)
    for compared in (found.tokens, found.tokens_p95, found.repetition, found.entropy, found.margin,
                     found.shared_entropy, found.shared_margin, found.stop_probability):  # fmt: skip
        same = estimate(compared.change)
        assert (same.value, same.low, same.high) == (0, 0, 0) and "no item of 80 differs" in same.method
    for ratio in (found.length_ratio, found.verbosity_ratio):
        same = estimate(ratio)
        assert (same.value, same.low, same.high) == (1, 1, 1)
    for flips in (found.limit, found.loops, found.empty):
        assert (flips.lost, flips.won) == (0, 0) and estimate(flips.change).low < 0 < estimate(flips.change).high
    assert estimate(found.agreement).value == 1 and estimate(found.agreement).low < 1
    assert missing(found.first_divergence).startswith("0 of 80")


def test_an_empty_answer_counts_as_one_token_in_the_verbosity_alone():
    reference = [answered(()), answered((1, 2)), answered((1, 2, 3)), answered(())]
    variant = [answered((1, 2, 3, 4)), answered(()), answered((1, 2, 3)), answered(())]
    found = behaviour(reference, variant)
    assert estimate(found.verbosity_ratio).value == pytest.approx((4 / 1 * 1 / 2 * 1 * 1) ** 0.25)
    assert estimate(found.length_ratio).value == pytest.approx(7 / 5)
    assert (found.empty.lost, found.empty.won) == (1, 1) and estimate(found.empty.reference).value == 0.5
    assert estimate(found.entropy.reference).n == 4, "an empty answer has the step that ended it"


def test_answers_without_any_token_have_no_ratio_of_lengths():
    found = behaviour([answered(())] * 3, [answered((1, 2)), answered((1,)), answered(())])
    assert "denominator are 0" in missing(found.length_ratio)
    found = behaviour([answered((1, 2)), answered((1,)), answered(())], [answered(())] * 3)
    assert "numerator are 0" in missing(found.length_ratio)
    assert estimate(found.verbosity_ratio).value < 1


def test_steps_are_compared_up_to_where_answers_part():
    """Before and at index 2, the variant's entropy is one more; what comes after has other contexts."""
    reference, variant = [], []
    for i in range(5):
        base = [0.5 + i, 1.0, 1.5]
        reference.append(answered((1, 2, 3, 4, 5), [*base, 9.0, 9.0, 9.0], [*base, 0.0, 0.0, 0.0]))
        more = [x + 1 + i / 100 for x in base]
        variant.append(answered((1, 2, 8, 9), [*more, 0.0, 0.0], [*more, 7.0, 7.0]))
    found = behaviour(reference, variant)
    assert estimate(found.shared_entropy.change).value == pytest.approx(1.02)
    assert estimate(found.shared_margin.change).value == pytest.approx(1.02)
    assert estimate(found.entropy.change).value < 0 < estimate(found.margin.change).value
    parted_at_once = behaviour([answered((1,), [0.5, 9], [1, 9])] * 3, [answered((2,), [0.75, 0], [1, 0])] * 3)
    assert "differ by 0.25" in missing(parted_at_once.shared_entropy.change), "the first step has one context"


def test_the_step_after_the_last_shared_token_is_compared_where_one_answer_goes_on():
    a, b = answered((1, 2), [1.0, 1.0, 4.0]), answered((1, 2, 3), [0.5, 0.5, 2.0, 99.0])
    stopped = answered((1, 2), [1.0, 1.5], reason="stop")
    found = behaviour([a, a, stopped], [b, b, b])
    assert estimate(found.shared_entropy.reference).value == pytest.approx((2 + 2 + 1.25) / 3)
    assert estimate(found.shared_entropy.variant).value == pytest.approx((1 + 1 + 0.5) / 3)


def test_items_whose_steps_are_not_known_are_left_out():
    known, unknown = answered((1, 2)), answered((1, 2), (), (), reason="limit")
    other = answered((1, 2), (2.0, 2.5, 3.5), (1.0, 1.25, 2.5))
    found = behaviour([known, known, unknown, known], [other, known, known, unknown])
    assert estimate(found.entropy.change).n == 2 and estimate(found.tokens.change).n == 4
    none = behaviour([unknown] * 3, [known] * 3)
    assert "any of 3 items" in missing(none.shared_margin.change) and "any of 3" in missing(none.entropy.reference)
    endless = [answered((1, 2), reason="limit", rank=0)] * 3
    assert "any of 3" in missing(behaviour(endless, endless).stop_probability.variant)


def test_one_item_has_no_interval_and_other_items_are_refused():
    found = behaviour([answered((1, 2))], [answered((1, 3), reason="limit")])
    for figure in (found.tokens.change, found.length_ratio, found.verbosity_ratio, found.limit.change,
                   found.agreement, found.entropy.variant, found.loops.reference):  # fmt: skip
        assert "1 item" in missing(figure)
    assert (found.limit.lost, found.limit.won) == (1, 0)
    assert "1 of 1 answers differ" in missing(found.first_divergence)
    for a, b in (([], []), ([answered((1,))], [])):
        with pytest.raises(ValueError, match="same prompts"):
            behaviour(a, b)


def test_a_planted_drift_is_found():
    """10 % of the variant's answers run into a loop, the others are a fifth longer, and its entropy is a tenth less."""
    rng = np.random.default_rng(0)
    reference, variant = [], []
    for i in range(300):
        length = int(rng.integers(20, 60))
        tokens, entropy = rng.integers(0, 1000, length).tolist(), rng.uniform(0.5, 1.5, length + 1)
        reference.append(answered(tokens, entropy, entropy))
        if i % 10:
            longer = tokens[: length // 2] + rng.integers(1000, 2000, round(1.2 * length) - length // 2).tolist()
            less = np.resize(0.9 * entropy, len(longer) + 1)
            variant.append(answered(longer, less, less))
        else:
            variant.append(answered(tokens[:5] + [3, 4] * 100, 0.9 * np.resize(entropy, 205), None, reason="limit"))
    found = behaviour(reference, variant)
    assert (found.loops.lost, found.loops.won) == (30, 0) and estimate(found.loops.change).low > 0.06
    assert estimate(found.limit.variant).value == 0.1 and estimate(found.limit.change).value == 0.1
    assert estimate(found.verbosity_ratio).low > 1.2 and estimate(found.length_ratio).low > 1.2
    assert estimate(found.tokens_p95.change).low > 100, "the loops are the longest twentieth"
    assert estimate(found.repetition.change).low > 0.05
    entropy = estimate(found.shared_entropy.change)
    assert entropy.low < -0.1 < entropy.high < 0
    assert estimate(found.agreement).value == 0
    assert 5 <= estimate(found.first_divergence).value <= 30


# Figures of items


def test_changes_of_values_that_are_no_rates_have_a_t_interval():
    found = estimate(change([0.0, 1.0, 0.0, 0.0], [1.0, 1.0, 0.0, 1.0], "nats"))
    assert found.value == 0.5 and "t(3)" in found.method
    assert (found.low, found.high) == (pytest.approx(0.5 - 0.918693), pytest.approx(0.5 + 0.918693))
    assert estimate(change([0.25, 0.5, 0.25], [0.5, 0.25, 0.75], "nats")).value == pytest.approx(1 / 6)
    assert "differ by 0.1" in missing(change([1.0, 2.0, 3.0], [1.1, 2.1, 3.1], "nats")), "but for rounding"
    with pytest.raises(ValueError, match="same items"):
        change([1.0], [1.0, 2.0], "nats")


def test_a_ratio_of_means_turns_over_with_its_items():
    y, x = [3.0, 1.0, 4.0, 1.0, 5.0], [2.0, 7.0, 1.0, 8.0, 2.0]
    one, other = estimate(ratio_of_means(y, x, "ratio")), estimate(ratio_of_means(x, y, "ratio"))
    assert one.value == pytest.approx(14 / 20) and one.low < one.value < one.high
    assert (1 / other.value, 1 / other.high, 1 / other.low) == pytest.approx((one.value, one.low, one.high))
    scaled = estimate(ratio_of_means([10 * v for v in y], x, "ratio"))
    assert (scaled.low, scaled.high) == (pytest.approx(10 * one.low), pytest.approx(10 * one.high))


@pytest.mark.parametrize(
    ("y", "x", "said"),
    [([2.0], [1.0], "1 item"), ([0.0, 0.0], [1.0, 2.0], "numerator"), ([1.0, 2.0], [0.0, 0.0], "denominator"),
     ([0.0, 0.0], [0.0, 0.0], "denominator"), ([0.3, 0.6, 0.9], [0.1, 0.2, 0.3], "ratio 3")],
)  # fmt: skip
def test_a_ratio_that_cannot_be_had_says_why(y, x, said: str):
    assert said in missing(ratio_of_means(y, x, "ratio"))


@pytest.mark.parametrize(("y", "x"), [([], []), ([1.0], [1.0, 2.0]), ([-1.0, 2.0], [1.0, 1.0]), ([np.inf], [1.0])])
def test_ratios_of_what_has_none_are_refused(y, x):
    with pytest.raises(ValueError, match=r"same items|from 0 on"):
        ratio_of_means(y, x, "ratio")


def test_percentiles_need_items_beyond_them():
    x, y = np.arange(1.0, 101), np.arange(1.0, 101) + np.arange(100) % 2
    found = percentiles(x, y, "tokens")
    assert estimate(found.reference).value == np.quantile(x, 0.95)
    assert (estimate(found.reference).low, estimate(found.reference).high) == (90, 100), "order statistics 90 and 100"
    assert estimate(found.change).value == np.quantile(y, 0.95) - np.quantile(x, 0.95)
    few = percentiles(x[:71], y[:71], "tokens")
    assert "71 items" in missing(few.reference) and isinstance(few.change, Estimate)
    assert isinstance(percentiles(x[:72], y[:72], "tokens").variant, Estimate)
    assert "39 items" in missing(percentiles(x[:39], y[:39], "tokens").change)
    with pytest.raises(ValueError, match="same items"):
        percentiles(x, y[:5], "tokens")


def test_resamples_are_the_same_ones_in_whatever_blocks():
    values = np.random.default_rng(1).standard_normal((2500, 2))  # two blocks
    places = list(resamples(2500))
    assert len(places) == 2 and all(block.size <= BLOCK for block in places)
    sums = np.concatenate([values[block].sum(1) for block in places])
    assert sums.shape == (2000, 2) and np.allclose(resampled_sums(values), sums)
    assert sums[:, 0].mean() == pytest.approx(values[:, 0].sum(), abs=6)


def test_roots_of_resamples_are_exact_for_lines():
    values = np.random.default_rng(1).uniform(0, 1, 50)
    nodes = np.linspace(-1, 2, 7)
    roots = resampled_roots(nodes[None] - values[:, None], nodes)
    assert np.allclose(roots, np.concatenate([values[block].mean(1) for block in resamples(50)]))


# Coverage


def lengths(rng, kind: str, shape) -> tuple[np.ndarray, np.ndarray]:
    """Of the reference's and the variant's answers."""
    if kind == "poisson":
        return rng.poisson(2.0, shape).astype(float), rng.poisson(2.3, shape).astype(float)
    common = 0.9 * rng.standard_normal(shape)
    x, y = (np.floor(np.exp(m + 0.8 * (common + 0.436 * rng.standard_normal(shape)))) for m in (4.0, 4.1))
    if kind == "lognormal":
        return x, y
    return np.minimum(x, 256), np.where(rng.random(shape) < 0.1, 256.0, np.minimum(y, 256))


def population(kind: str) -> tuple[np.ndarray, np.ndarray]:
    return lengths(np.random.default_rng(1), kind, 4_000_000)


def ratio_coverage(kind: str, n: int, samples: int) -> float:
    x, y = population(kind)
    truth = float(y.mean() / x.mean())
    drawn = zip(*lengths(np.random.default_rng(0), kind, (samples, n)), strict=True)
    found = [ratio_of_means(b, a, "ratio") for a, b in drawn]
    return float(np.mean([isinstance(e, Estimate) and e.low <= truth <= e.high for e in found]))


def bca_coverage(kind: str, n: int, samples: int) -> float:
    """Of BCa bootstrap intervals of the same ratio."""
    x, y = population(kind)
    truth = float(y.mean() / x.mean())
    inside = []
    for a, b in zip(*lengths(np.random.default_rng(0), kind, (samples, n)), strict=True):
        (places,) = resamples(n)
        left_out = (b.sum() - b) / np.maximum(a.sum() - a, 1)
        low, high = bca(b.sum() / a.sum(), b[places].sum(1) / np.maximum(a[places].sum(1), 1), left_out)
        inside.append(low <= truth <= high)
    return float(np.mean(inside))


def percentile_coverage(kind: str, n: int, samples: int) -> float:
    x, y = population(kind)
    truth = float(np.quantile(y, 0.95) - np.quantile(x, 0.95))
    drawn = zip(*lengths(np.random.default_rng(0), kind, (samples, n)), strict=True)
    found = [estimate(percentiles(a, b, "tokens").change) for a, b in drawn]
    return float(np.mean([e.low <= truth <= e.high for e in found]))


KINDS = ("lognormal", "limit", "poisson")
TOLD = [
    (ratio_coverage, 2000, {8: (0.916, 0.873, 0.953), 32: (0.934, 0.930, 0.948), 128: (0.950, 0.949, 0.956)}),
    (bca_coverage, 400, {8: (0.835, 0.845, 0.900), 32: (0.912, 0.935, 0.927), 128: (0.907, 0.958, 0.948)}),
    (percentile_coverage, 400, {40: (0.965, 0.948, 0.970), 100: (0.995, 0.907, 0.970), 400: (0.975, 0.940, 0.965)}),
]
"""What item_changes.py says of coverage."""
CELLS = [
    (of, samples, n, kind, told)
    for of, samples, rows in TOLD
    for n, row in rows.items()
    for kind, told in zip(KINDS, row, strict=True)
]


@pytest.mark.parametrize(("of", "samples", "n", "kind", "told"), CELLS[:9])
def test_intervals_of_ratios_cover_as_often_as_told(of, samples, n, kind, told):
    assert of(kind, n, samples) == pytest.approx(told, abs=0.005)


@pytest.mark.slow
@pytest.mark.parametrize(("of", "samples", "n", "kind", "told"), CELLS[9:])
def test_bootstraps_cover_as_often_as_told(of, samples, n, kind, told):
    assert of(kind, n, samples) == pytest.approx(told, abs=0.005)


def test_intervals_of_percentiles_differences_cover():
    assert percentile_coverage("poisson", 60, 150) >= 0.93
