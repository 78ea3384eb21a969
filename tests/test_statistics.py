"""Intervals against values worked out by hand, and their coverage on simulated autocorrelated text."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import pytest

from quantcurve.estimates import Estimate, Figure, Missing
from quantcurve.metrics import statistics as st
from quantcurve.metrics import transforms

Floats = npt.NDArray[np.float64]


def estimated(figure: Figure) -> Estimate:
    assert isinstance(figure, Estimate), figure
    return figure


def bounds(figure: Figure) -> tuple[float, float]:
    return estimated(figure).low, estimated(figure).high


def column(*values: float) -> Floats:
    """Window means as windows of one token."""
    return np.array(values, np.float64)[:, None]


# ---- the clustered mean, by hand ----


def test_two_windows_by_hand() -> None:
    # Lambda_1 = sqrt(2/2) (-cos(pi/4) + cos(3 pi/4)) = -sqrt 2; Omega = 2; variance of the mean = 2/2,
    # times the bias factor ((1 + 0.6) / (1 - 0.6) = 4)
    mean, error, freedom = st.clustered_mean(np.array([0.0, 2.0]), [2])
    assert (mean, freedom) == (1, 1)
    assert error == pytest.approx(2)


def test_variance_is_the_published_sum_times_the_bias_factor() -> None:
    x = np.random.default_rng(0).gamma(2, size=50)
    t, terms = len(x), 5
    lambdas = [
        math.sqrt(2 / t) * sum((x[i] - x.mean()) * math.cos(math.pi * j * (i + 0.5) / t) for i in range(t))
        for j in range(1, terms + 1)
    ]
    omega = sum(value**2 for value in lambdas) / terms
    assert st.clustered_mean(x, [t]) == pytest.approx((x.mean(), math.sqrt(st.bias_factor(t) * omega / t), terms))


@pytest.mark.parametrize("windows", [2, 3, 4, 8, 12, 40, 41, 100, 300])
def test_bias_factor_is_the_quotient_of_quadratic_forms(windows: int) -> None:
    index = np.arange(windows)
    s = 0.6 ** np.abs(np.subtract.outer(index, index))
    c = math.sqrt(2 / windows) * np.cos(
        math.pi / windows * np.outer(np.arange(1, st.cosine_terms(windows) + 1), index + 0.5)
    )
    expected = (s.sum() / windows) / float(np.diag(c @ s @ c.T).mean())
    assert st.bias_factor(windows) == pytest.approx(expected, rel=1e-12)


def test_bias_factor_falls_to_one_and_is_cheap() -> None:
    assert st.bias_factor(40) == pytest.approx(1.2631, abs=1e-4)
    factors = [st.bias_factor(windows) for windows in (3, 8, 16, 40, 100, 1000, 5000)]
    assert factors == sorted(factors, reverse=True)
    assert 1 < factors[-1] < 1.01
    st.bias_factor.cache_clear()
    start = time.perf_counter()
    st.bias_factor(5000)  # 5000 x 117 products, 0.03 s; 5000 x 5000 matrices take seconds
    assert time.perf_counter() - start < 1


def test_variance_is_unbiased_for_the_reference() -> None:
    rng = np.random.default_rng(17)
    for segments in ([12], [40], [4, 8]):
        means = window_means(rng, segments, st.REFERENCE_AUTOCORRELATION, 0.0)
        variances = [st.clustered_mean(row, segments).standard_error ** 2 for row in means]
        assert np.mean(variances) == pytest.approx(exact_variance(segments, 0.6), rel=0.08)


def exact_variance(segments: Sequence[int], rho: float) -> float:
    """Variance of the mean of AR(1) texts of variance 1."""
    lags = (rho ** abs(i - j) for count in segments for i in range(count) for j in range(count))
    return sum(lags) / sum(segments) ** 2


def test_two_texts_by_hand() -> None:
    # variances 1 and 4 of the text means, times the bias factor 4, each with weight 1/2: 1 + 4;
    # Satterthwaite 5^2 / (1 + 16)
    mean, error, freedom = st.clustered_mean(np.array([0.0, 2.0, 10.0, 14.0]), [2, 2])
    assert mean == 6.5
    assert error == pytest.approx(math.sqrt(5))
    assert freedom == pytest.approx(25 / 17)


def test_texts_are_weighted_by_windows_and_their_level_does_not_matter() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=10), rng.normal(size=30)
    one, two = st.clustered_mean(a, [10]), st.clustered_mean(b, [30])
    pooled = st.clustered_mean(np.concatenate([a, b + 100]), [10, 30])
    assert pooled.mean == pytest.approx(0.25 * one.mean + 0.75 * (two.mean + 100))
    assert pooled.standard_error == pytest.approx(math.hypot(0.25 * one.standard_error, 0.75 * two.standard_error))
    swapped = st.clustered_mean(np.concatenate([b + 100, a]), [30, 10])
    assert swapped == pytest.approx(pooled)


def test_cosine_terms() -> None:
    expected = {2: 1, 3: 2, 8: 2, 12: 2, 15: 2, 16: 3, 32: 4, 40: 5, 64: 6, 100: 9, 200: 14, 5000: 117}
    assert {windows: st.cosine_terms(windows) for windows in expected} == expected
    assert all(1 <= st.cosine_terms(windows) <= windows - 1 for windows in range(2, 3000))


def test_a_constant_text_leaves_the_other_texts_degrees_of_freedom() -> None:
    values = np.concatenate([np.zeros(40), np.random.default_rng(2).normal(size=100)])
    assert st.clustered_mean(values, [40, 100]).degrees_of_freedom == pytest.approx(st.cosine_terms(100))


# ---- errors ----


@pytest.mark.parametrize(
    ("segments", "message"),
    [
        ((3, 1), r"text 2 of 2 has 1 window\(s\)"),
        ((4, 0), "text 2 of 2 has 0"),
        ((2, 3), r"texts of \[2, 3\] windows .* the 4 windows"),
        ((), "do not make up"),
    ],
)
def test_segments_that_do_not_fit(segments: Sequence[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        st.mean_estimate(np.ones((4, 3)), segments, "nats")


def test_scores_that_are_not_finite_are_counted_and_located() -> None:
    scores = np.ones((4, 3), np.float32)
    scores[2, 1], scores[3, 0] = np.nan, np.inf
    message = r"2 of 12 scores are not finite, first nan at \(2, 1\)"
    calls: list[Callable[[], object]] = [
        lambda: st.mean_estimate(scores, [4], "x"),
        lambda: st.root_mean_square_estimate(scores, [4], "x"),
        lambda: st.proportion_estimate(scores, [4], "x"),
        lambda: st.percentile(scores, 0.5),
        lambda: st.percentile_estimate(scores, [4], 0.5, "x"),
        lambda: st.paired_difference(scores, np.ones((4, 3)), [4], "x"),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises(ValueError, match=r"1 of 3 repetitions are not finite, first inf at \(1,\)"):
        st.median_estimate(np.array([1, np.inf, 0]), "s")


@pytest.mark.parametrize("shape", [(4,), (0, 3), (4, 0), (2, 2, 2)])
def test_scores_of_another_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="shape"):
        st.mean_estimate(np.ones(shape), [4], "nats")


def test_other_refusals() -> None:
    ones = np.ones(4)
    with pytest.raises(ValueError, match=r"1 of 4 denominators are not positive, least -1"):
        st.ratio_estimate(ones, np.array([1, 1, -1, 1]), [4], "bits/byte")
    with pytest.raises(ValueError, match="one length"):
        st.ratio_estimate(ones, np.ones(3), [4], "bits/byte")
    with pytest.raises(ValueError, match="same tokens"):
        st.paired_difference(np.ones((4, 3)), np.ones((4, 2)), [4], "nats")
    with pytest.raises(ValueError, match=r"scores from 0.0 to 2.0"):
        st.proportion_estimate(column(0, 2, 1, 1), [4], "share")
    with pytest.raises(ValueError, match="fraction in"):
        st.percentile(ones, 1.5)
    with pytest.raises(ValueError, match="needs scores"):
        st.percentile(np.array([]), 0.5)
    with pytest.raises(ValueError, match="same rounds"):
        st.log_ratio_estimate(ones, np.ones(3), "x")
    with pytest.raises(ValueError, match="1 of 4 repetitions of the first are not positive"):
        st.log_ratio_estimate(np.array([1.0, 0, 1, 1]), ones, "x")


# ---- estimates, by hand ----


def test_mean_estimate_by_hand() -> None:
    found = st.mean_estimate(np.array([[-1.0, 1.0], [1.0, 3.0]]), [2], "nats")
    half = 2 * math.tan(0.475 * math.pi)  # standard error 2; the t(1) (Cauchy) quantile of 0.975, 12.706
    assert (found.value, found.n, found.unit, found.level) == (1, 2, "nats", 0.95)
    assert bounds(found) == pytest.approx((1 - half, 1 + half))
    assert found.method == "EWC over 2 windows, t(1)"


def test_method_names_windows_texts_and_degrees_of_freedom() -> None:
    scores = np.random.default_rng(3).normal(size=(80, 4))
    assert st.mean_estimate(scores, [80], "x").method == "EWC over 80 windows, t(7)"
    freedom = st.clustered_mean(scores.mean(axis=1), [40, 40]).degrees_of_freedom
    assert st.mean_estimate(scores, [40, 40], "x").method == f"EWC over 80 windows of 2 texts, t({freedom:.3g})"
    assert st.paired_difference(scores, scores * 0, [80], "x").method.startswith("paired; EWC")


def test_low_precision_and_boolean_scores_are_summed_in_float64() -> None:
    assert st.mean_estimate(np.full((4, 5000), 1000, np.float16), [4], "x").value == 1000
    assert st.proportion_estimate(np.ones((4, 300), np.bool_), [4], "x").value == 1


def test_a_variant_equal_to_the_reference_has_an_empty_interval_at_zero() -> None:
    scores = np.random.default_rng(4).gamma(2, size=(30, 40)).astype(np.float32)
    found = st.paired_difference(scores, scores.copy(), [10, 20], "nats")
    assert (found.value, found.low, found.high) == (0, 0, 0)
    assert not st.excludes_zero(found)
    ratio = transforms.exp_estimate(found, "ratio")
    assert (ratio.value, ratio.low, ratio.high) == (1, 1, 1)
    zeros = np.zeros((30, 40))
    assert bounds(st.root_mean_square_estimate(zeros, [30], "x")) == (0, 0)
    assert bounds(st.percentile_estimate(zeros, [30], 0.9, "x")) == (0, 0)


def test_excludes_zero() -> None:
    rng = np.random.default_rng(5)
    a, noise = rng.gamma(2, size=(40, 20)), rng.normal(0, 0.01, size=(40, 20))
    assert st.excludes_zero(st.paired_difference(a + 0.1 + noise, a, [40], "nats"))
    assert st.excludes_zero(st.paired_difference(a, a + 0.1 + noise, [40], "nats"))
    assert not st.excludes_zero(st.paired_difference(a + noise - noise.mean(), a, [40], "nats"))


def test_transforms_of_an_interval() -> None:
    base = Estimate(value=1, low=0, high=2, level=0.9, n=7, unit="nats", method="m")
    found = transforms.exp_estimate(base, "perplexity")
    assert (found.value, found.low, found.high) == (math.e, 1, math.exp(2))
    assert (found.level, found.n, found.unit, found.method) == (0.9, 7, "perplexity", "exp of: m")
    with pytest.raises(ValueError, match="beyond float64"):
        transforms.exp_estimate(Estimate(value=1, low=0, high=1000, n=7, unit="nats", method="m"), "perplexity")
    scores = np.array([[3.0, -4.0], [0.0, 5.0]])  # mean squares 12.5 and 12.5
    assert bounds(st.root_mean_square_estimate(scores, [2], "p")) == pytest.approx((math.sqrt(12.5),) * 2)
    wide = st.root_mean_square_estimate(column(0, 2), [2], "p")  # mean square 2, standard error 4, t(1) = 12.706
    assert (wide.value, wide.low) == (math.sqrt(2), 0)
    assert wide.high == pytest.approx(math.sqrt(2 + 4 * 12.7062), rel=1e-5)


def test_ratio_by_hand() -> None:
    scores = np.random.default_rng(6).gamma(3, size=30)
    constant = st.ratio_estimate(scores, np.full(30, 4.0), [30], "bits/byte")
    assert bounds(constant) == pytest.approx(bounds(st.mean_estimate(column(*(scores / 4)), [30], "bits/byte")))
    exact = st.ratio_estimate(0.75 * scores, scores, [30], "bits/byte")
    assert (exact.value, exact.low, exact.high) == pytest.approx((0.75,) * 3)
    assert st.ratio_estimate(np.array([1.0, 3]), np.array([1.0, 1]), [2], "x").value == 2
    assert exact.method == "ratio, linearised; EWC over 30 windows, t(4)"


def test_proportion_without_variance_counts_every_token() -> None:
    ones = st.proportion_estimate(np.ones((10, 10)), [10], "share")
    assert (ones.value, ones.high) == (1, 1)
    assert ones.low == pytest.approx(0.025 ** (1 / 100))
    zeros = st.proportion_estimate(np.zeros((10, 10)), [10], "share")
    assert (zeros.value, zeros.low) == (0, 0)
    assert zeros.high == pytest.approx(1 - ones.low)
    half = st.proportion_estimate(np.array([[0, 1], [1, 0]]), [2], "share")
    assert bounds(half) == pytest.approx((0.0676, 0.9324), abs=1e-4)  # Clopper-Pearson's 2 of 4


def test_proportion_counts_fewer_effective_tokens_if_windows_differ() -> None:
    # 2 windows of 100: shares 0.45 and 0.55, p = 0.5, se = 0.1, 25 tokens, times (t(199)/t(1))^2 = (1.972/12.706)^2
    scores = np.zeros((2, 100))
    scores[0, :45] = scores[1, :55] = 1
    found = st.proportion_estimate(scores, [2], "share")
    assert ", 0.6021 effective of 200 tokens" in found.method
    assert 0 < found.low < 0.05
    assert 0.95 < found.high < 1
    shares = st.proportion_estimate(np.full((5, 10), 0.9), [5], "share")
    assert 0.75 < shares.low < 0.9 < shares.high < 1


# ---- percentiles ----


def test_percentile_by_hand() -> None:
    assert st.percentile(np.array([3.0, 1.0, 2.0]), 0.5) == 2
    assert st.percentile(np.array([[4.0, 1.0], [3.0, 2.0]]), 0.5) == 2.5
    assert st.percentile(np.array([4.0, 1, 3, 2, 5]), 0.95) == pytest.approx(4.8, rel=1e-6)
    assert st.percentile(np.array([4.0, 1, 3]), 0) == 1
    assert st.percentile(np.array([4.0, 1, 3]), 1) == 4
    assert st.percentile(np.array([7.0]), 0.99) == 7


@pytest.mark.parametrize("fraction", [0.001, 0.05, 0.1, 0.5, 0.9, 0.95, 0.99, 0.999])
@pytest.mark.parametrize("count", [1, 2, 3, 10, 999, 1000, 4097])
def test_percentile_is_linear_interpolation_within_float32(fraction: float, count: int) -> None:
    scores = np.random.default_rng(count).uniform(1, 2, size=count)
    # the position is rounded to 2^-24 of itself, a value moves by at most that times the widest gap
    gap = float(np.diff(np.sort(scores)).max()) if count > 1 else 0.0
    near = 2 * 2.0**-24 * (2 + count * gap)
    assert st.percentile(scores, fraction) == pytest.approx(float(np.quantile(scores, fraction)), rel=0, abs=near)


def test_percentile_is_computed_in_float32() -> None:
    scores = np.arange(100_001, dtype=np.float64)
    assert st.percentile(scores, 0.999) == float(np.float32(0.999) * np.float32(100_000))
    assert st.percentile(np.array([0.1]), 0.5) == float(np.float32(0.1))


def test_percentile_with_too_few_tokens_is_missing() -> None:
    scores = np.random.default_rng(7).normal(size=(20, 10))
    few = st.percentile_estimate(scores, [20], 0.99, "nats")
    assert isinstance(few, Missing)
    assert few.missing == "only 2 of 200 tokens are expected beyond the 0.99 percentile; 10 are needed"
    assert isinstance(st.percentile_estimate(scores, [20], 0.01, "nats"), Missing)
    assert isinstance(st.percentile_estimate(scores, [20], 0.5, "nats"), Estimate)
    wide = st.percentile_estimate(np.sort(scores, axis=0), [20], 0.95, "nats")  # all beyond it in the last windows
    assert isinstance(wide, Missing)
    assert "spans levels" in wide.missing
    assert "200 tokens in 20 windows" in wide.missing


def test_percentile_interval_is_woodruffs() -> None:
    scores = np.random.default_rng(8).normal(size=(60, 50)) + np.random.default_rng(9).normal(size=(60, 1))
    found = estimated(st.percentile_estimate(scores, [20, 40], 0.75, "nats"))
    below = (scores.astype(np.float32) <= found.value).mean(axis=1)
    error = st.clustered_mean(below, [20, 40])
    assert found.value == st.percentile(scores, 0.75)
    assert found.n == 60
    assert found.method.startswith("Woodruff, levels 0.")
    # the levels are near fraction +- t x se at a fraction well inside (0, 1)
    lower, upper = (float((scores <= bound).mean()) for bound in bounds(found))
    assert (lower, upper) == pytest.approx((0.75 - error.half_width, 0.75 + error.half_width), abs=0.02)


def test_percentile_levels_are_the_proportions_interval() -> None:
    # all tokens count if windows have equal shares: Clopper-Pearson of 400 in 800
    row = np.arange(400.0)
    scores = np.vstack([row, row + 0.5])
    share = st.proportion_estimate(scores < 200, [2], "share")
    found = st.percentile_estimate(scores, [2], 0.5, "nats")
    assert share.value == 0.5
    assert bounds(found) == (st.percentile(scores, share.low), st.percentile(scores, share.high))


# ---- repetitions ----


@pytest.mark.parametrize(
    ("count", "rank", "level"),
    [(3, 1, 0.75), (5, 1, 0.9375), (6, 1, 0.96875), (8, 1, 1 - 2 / 256), (9, 2, 1 - 20 / 512), (20, 6, 0.95861)],
)
def test_median_interval_is_the_sign_tests(count: int, rank: int, level: float) -> None:
    samples = np.random.default_rng(count).permutation(count) + 1.0
    found = estimated(st.median_estimate(samples, "s"))
    assert (found.value, found.low, found.high) == ((count + 1) / 2, rank, count + 1 - rank)
    assert found.level == pytest.approx(level, abs=1e-5)
    assert found.n == count
    assert f"order statistics {rank} and {count + 1 - rank}" in found.method


def test_median_of_many_and_of_too_few() -> None:
    assert 0.95 <= estimated(st.median_estimate(np.arange(2000.0), "s")).level < 0.955
    assert bounds(st.median_estimate(np.full(5, 3.0), "s")) == (3, 3)
    for count in (0, 1, 2):
        found = st.median_estimate(np.ones(count), "s")
        assert isinstance(found, Missing)
        assert found.missing.startswith(f"{count} repetitions; ")


def test_log_ratio_by_hand() -> None:
    b = np.array([1.0, 5.0, 7.0])
    assert bounds(st.log_ratio_estimate(2 * b, b, "ratio")) == pytest.approx((2, 2))
    assert bounds(st.log_ratio_estimate(b, b, "ratio")) == (1, 1)
    found = estimated(st.log_ratio_estimate(b * np.exp([0.0, 1.0, 2.0]), b, "ratio"))
    half = 4.302653 / math.sqrt(3)  # t(2) x 1/sqrt 3
    assert (found.value, found.low, found.high) == pytest.approx((math.e, math.exp(1 - half), math.exp(1 + half)))
    assert (found.n, found.unit) == (3, "ratio")
    assert isinstance(st.log_ratio_estimate(b[:2], b[:2], "ratio"), Missing)


# ---- coverage ----

REPLICATIONS = 1500  # standard error of a coverage of 0.94: 0.006


def autoregressive(rng: np.random.Generator, shape: tuple[int, ...], rho: float) -> Floats:
    """AR(1) along the last axis with standard normal margins."""
    noise = rng.standard_normal(shape)
    z = np.empty(shape)
    z[..., 0] = noise[..., 0]
    for t in range(1, shape[-1]):
        z[..., t] = rho * z[..., t - 1] + math.sqrt(1 - rho**2) * noise[..., t]
    return z


def coverage(found: Sequence[Figure], truth: float) -> float:
    return float(np.mean([low <= truth <= high for low, high in map(bounds, found)]))


def window_means(rng: np.random.Generator, segments: Sequence[int], rho: float, skew: float) -> Floats:
    """REPLICATIONS x W window means of expectation 0: AR(1), or exp(skew x AR(1)) less its mean."""
    z = np.concatenate([autoregressive(rng, (REPLICATIONS, count), rho) for count in segments], axis=1)
    return np.exp(skew * z) - math.exp(skew**2 / 2) if skew else z


# the rows of the module's table that it rests on: windows, rho, skew, coverage there
TABLE = [
    ([16], 0.6, 0.0, 0.948),
    ([16], 0.6, 0.5, 0.927),
    ([32], 0.6, 0.5, 0.933),
    ([40], 0.0, 0.0, 0.967),
    ([40], 0.3, 0.0, 0.963),
    ([40], 0.6, 0.0, 0.950),
    ([40], 0.6, 0.5, 0.934),
    ([40], 0.6, 1.0, 0.879),
    ([100], 0.6, 0.5, 0.941),
    ([12, 28], 0.0, 0.0, 0.980),
    ([12, 28], 0.6, 0.0, 0.958),
    ([12, 28], 0.6, 0.5, 0.942),
    ([8] * 4, 0.0, 0.0, 0.994),
    ([8] * 4, 0.6, 0.0, 0.967),
    ([4] * 4, 0.6, 0.5, 0.947),
    ([4] * 8, 0.6, 0.0, 0.960),
    ([2] * 8, 0.6, 0.0, 0.980),
]


@pytest.mark.parametrize(("segments", "rho", "skew", "expected"), TABLE)
def test_mean_covers_as_the_modules_table_says(segments: list[int], rho: float, skew: float, expected: float) -> None:
    means = window_means(np.random.default_rng(10), segments, rho, skew)
    found = [st.mean_estimate(row[:, None], segments, "nats") for row in means]
    assert coverage(found, 0.0) == pytest.approx(expected, abs=0.018)


def test_texts_of_different_levels_are_strata() -> None:
    segments = [20, 40]
    means = window_means(np.random.default_rng(11), segments, 0.3, 0.0) + np.repeat([6.0, 0.0], segments)
    found = [st.mean_estimate(row[:, None], segments, "nats") for row in means]
    assert 0.93 <= coverage(found, 2.0) <= 0.985
    # one text with a jump of 6 standard deviations would have a far wider interval
    one = [st.mean_estimate(row[:, None], [60], "nats") for row in means[:50]]
    assert np.mean([e.high - e.low for e in one]) > 2 * np.mean([e.high - e.low for e in found])


def test_intervals_of_independent_tokens_or_windows_fail_on_the_same_data() -> None:
    rng = np.random.default_rng(12)
    scores = window_means(rng, [40], 0.6, 0.5)[:, :, None] + 2 * rng.standard_normal((REPLICATIONS, 40, 32))
    clustered = [st.mean_estimate(row, [40], "nats") for row in scores]
    assert coverage(clustered, 0.0) > 0.92
    for units in (scores.reshape(REPLICATIONS, -1), scores.mean(axis=2)):
        half = 2.0227 * units.std(axis=1, ddof=1) / math.sqrt(units.shape[1])
        assert np.mean(np.abs(units.mean(axis=1)) <= half) < 0.8


@pytest.mark.parametrize("segments", [[40], [16, 24]])
def test_ratio_covers(segments: list[int]) -> None:
    rng = np.random.default_rng(13)
    size = 1000 + 200 * autoregressive(rng, (REPLICATIONS, 40), 0.6)
    bits = size * (0.8 + 0.05 * window_means(rng, segments, 0.6, 0.5))
    found = [st.ratio_estimate(a, b, segments, "bits/byte") for a, b in zip(bits, size, strict=True)]
    assert 0.92 <= coverage(found, 0.8) <= 0.98


@pytest.mark.parametrize(("share", "segments"), [(0.5, [40]), (0.95, [40]), (0.95, [16, 24]), (0.998, [40])])
def test_proportion_covers(share: float, segments: list[int]) -> None:
    rng = np.random.default_rng(14)
    count, tokens, effect = 1000, 64, 0.5
    latent = effect * autoregressive(rng, (count, 40), 0.6)[:, :, None] + rng.standard_normal((count, 40, tokens))
    line = math.sqrt(1 + effect**2) * {0.5: 0.0, 0.95: 1.6448536, 0.998: 2.8781617}[share]
    scores = latent <= line
    found = [st.proportion_estimate(row, segments, "share") for row in scores]
    assert coverage(found, share) >= 0.925
    assert all(0 <= e.low <= e.value <= e.high <= 1 for e in found)
    flat = scores.mean(axis=(1, 2))
    independent = np.abs(flat - share) <= 1.96 * np.sqrt(flat * (1 - flat) / (40 * tokens))
    assert share > 0.99 or independent.mean() < 0.75


@pytest.mark.parametrize("segments", [[64], [24, 40]])
def test_95th_percentile_covers(segments: list[int]) -> None:
    rng = np.random.default_rng(15)
    count, tokens, effect = 600, 64, 0.5
    z = np.concatenate([autoregressive(rng, (count, n), 0.6) for n in segments], axis=1)
    scores = np.exp(effect * z[:, :, None] + rng.standard_normal((count, sum(segments), tokens)))
    truth = math.exp(1.6448536 * math.sqrt(1 + effect**2))
    found = [st.percentile_estimate(row, segments, 0.95, "nats") for row in scores]
    had = [figure for figure in found if isinstance(figure, Estimate)]
    assert len(had) > 0.99 * count
    assert coverage(had, truth) > 0.92
    # Woodruff's interval with independent tokens
    half = 1.96 * math.sqrt(0.05 * 0.95 / (sum(segments) * tokens))
    low, high = np.quantile(scores.reshape(count, -1), [0.95 - half, 0.95 + half], axis=1)
    assert np.mean((low <= truth) & (truth <= high)) < 0.75


def test_median_and_log_ratio_of_repetitions_cover() -> None:
    rng = np.random.default_rng(16)
    times = np.exp(0.1 * rng.standard_normal((REPLICATIONS, 9)))
    medians = [st.median_estimate(row, "s") for row in times]
    assert coverage(medians, 1.0) == pytest.approx(1 - 20 / 512, abs=0.02)
    drift = np.exp(rng.standard_normal((REPLICATIONS, 9)))  # of a round, common to both
    other = 1.3 * np.exp(0.1 * rng.standard_normal((REPLICATIONS, 9)))
    ratios = [st.log_ratio_estimate(a, b, "x") for a, b in zip(other * drift, times * drift, strict=True)]
    assert coverage(ratios, 1.3) == pytest.approx(0.95, abs=0.02)
