"""Per-token figures against a plain float64 implementation of their definitions."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantcurve.engines.base import TOP_K, Floats, Tokens
from quantcurve.metrics.logits import ReferenceRows, RowScores, score_rows, top_tokens

INF = np.inf
SIZES = (2, 7, TOP_K, 64, 300, 641, 5000)


def random_rows(vocabulary: int, rows: int = 20, seed: int = 0, spread: float = 3.0) -> Floats:
    random = np.random.default_rng(seed)
    return (random.standard_normal((rows, vocabulary)) * spread - 5).astype(np.float32)


def some_targets(logits: Floats, seed: int = 1) -> Tokens:
    return np.random.default_rng(seed).integers(0, logits.shape[1], len(logits)).astype(np.int32)


def score(
    logits: Floats, reference: Floats | None = None, targets: Tokens | None = None, threads: int = 2
) -> RowScores:
    targets = some_targets(logits) if targets is None else targets
    with ThreadPoolExecutor(threads) as pool:
        rows = None
        if reference is not None:
            own = score_rows(reference, targets, None, pool, threads)
            rows = ReferenceRows(reference, own.log_normaliser, own.top_k)
        return score_rows(logits, targets, rows, pool, threads)


# ---- the definitions, in extended precision ----


def log_probabilities(logits: Floats) -> np.ndarray:
    wide = logits.astype(np.longdouble)
    largest = wide.max(axis=1, keepdims=True)
    return wide - largest - np.log(np.exp(wide - largest).sum(axis=1, keepdims=True))


def expected_kl(reference: Floats, logits: Floats) -> np.ndarray:
    base, other = log_probabilities(reference), log_probabilities(logits)
    p = np.exp(base)
    return np.array([(p[i][p[i] > 0] * (base[i] - other[i])[p[i] > 0]).sum() for i in range(len(p))], np.float64)


def expected_entropy(logits: Floats) -> np.ndarray:
    found = log_probabilities(logits)
    return np.array([-(np.exp(r[r > -INF]) * r[r > -INF]).sum() for r in found], np.float64)


def expected_top(logits: Floats) -> Tokens:
    return np.argsort(-logits, axis=1, kind="stable")[:, :TOP_K].astype(np.int32)


@pytest.mark.parametrize("vocabulary", SIZES)
def test_figures_of_one_model_are_their_definitions(vocabulary):
    logits = random_rows(vocabulary)
    targets = some_targets(logits)
    found = score(logits, targets=targets)
    rows = np.arange(len(logits))
    np.testing.assert_allclose(found.scores.nll, -log_probabilities(logits)[rows, targets].astype(float), atol=1e-6)
    np.testing.assert_allclose(found.scores.entropy, expected_entropy(logits), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.scores.logit_norm, np.linalg.norm(logits.astype(float), axis=1), rtol=1e-6)
    largest = np.sort(logits, axis=1)[:, ::-1]
    np.testing.assert_array_equal(found.scores.margin, largest[:, 0] - largest[:, 1])
    np.testing.assert_array_equal(found.scores.top1, logits.argmax(axis=1))
    np.testing.assert_array_equal(found.top_k, expected_top(logits))
    assert found.top_k.shape == (len(logits), min(TOP_K, vocabulary))
    assert found.scores.kl is None and found.scores.overlap is None


@pytest.mark.parametrize("vocabulary", SIZES)
@pytest.mark.parametrize("change", [3.0, 0.3, 0.02])
def test_figures_against_a_reference_are_their_definitions(vocabulary, change):
    reference = random_rows(vocabulary)
    logits = reference + random_rows(vocabulary, seed=9, spread=change)
    found = score(logits, reference).scores
    np.testing.assert_allclose(found.kl, expected_kl(reference, logits), rtol=2e-4, atol=1e-12)
    shared = [len({*a} & {*b}) / len(a) for a, b in zip(expected_top(reference), expected_top(logits), strict=True)]
    np.testing.assert_allclose(found.overlap, shared, rtol=1e-6)


def test_identical_logits_have_no_divergence_at_all():
    logits = random_rows(5000)
    found = score(logits.copy(), logits).scores
    np.testing.assert_array_equal(found.kl, 0)
    np.testing.assert_array_equal(found.overlap, 1)


@pytest.mark.parametrize(
    ("change", "offset"), [(1e-1, 0), (1e-2, 0), (1e-3, 0), (1e-4, 0), (1e-5, 0), (1e-1, 5), (1e-2, 5), (1e-3, 5)]
)
def test_a_small_divergence_keeps_its_digits(change, offset):
    reference = random_rows(5000)
    noise = np.random.default_rng(2).standard_normal(reference.shape) * change + offset
    logits = (reference + noise).astype(np.float32)
    expected = expected_kl(reference, logits)
    assert expected.mean() < change**2
    np.testing.assert_allclose(score(logits, reference).scores.kl, expected, rtol=2e-4)


def test_a_shift_of_all_logits_changes_nothing_but_the_norm():
    reference = random_rows(300)
    logits = reference + np.float32(4)  # exact: all are multiples of a power of two far below
    found, before = score(logits, reference).scores, score(reference).scores
    assert found.kl.max() < 1e-12
    np.testing.assert_allclose(found.nll, before.nll, atol=1e-5)
    np.testing.assert_array_equal(found.overlap, 1)


def test_few_tokens_that_change_much_while_the_rest_stays():
    """The likely tokens stay, the unlikely ones move far: a small divergence with large changes."""
    reference = np.full((1, 5000), -20, np.float32)
    reference[0, :3] = (5, 4, 3)
    logits = reference.copy()
    logits[0, 100:200] += np.linspace(-30, 6, 100, dtype=np.float32)
    logits[0, 1] += np.float32(1e-3)
    expected = expected_kl(reference, logits)
    assert 1e-8 < expected[0] < 1e-3
    np.testing.assert_allclose(score(logits, reference).scores.kl, expected, rtol=1e-4)


def masked(logits: Floats, at: slice) -> Floats:
    copy = logits.copy()
    copy[:, at] = -INF
    return copy


@pytest.mark.parametrize("change", [1.0, 1e-3])
def test_a_vocabulary_masked_on_both_sides_is_as_if_it_were_smaller(change):
    whole = random_rows(700)
    other = whole + random_rows(700, seed=9, spread=change)
    targets = some_targets(whole[:, :600])
    small = score(other[:, :600], whole[:, :600], targets)
    found = score(masked(other, slice(600, None)), masked(whole, slice(600, None)), targets)
    for name in ("nll", "entropy", "logit_norm", "margin", "kl", "overlap"):
        expected = getattr(small.scores, name)
        np.testing.assert_allclose(getattr(found.scores, name), expected, rtol=1e-4, atol=1e-6, err_msg=name)
    np.testing.assert_array_equal(found.top_k, small.top_k)


def test_what_the_reference_holds_for_impossible_counts_also_in_a_small_divergence():
    reference = np.array([[0, -1, -2, -120]], np.float32)
    for logit in (-8, -3, 0):
        logits = np.array([[0, -1, -2, logit]], np.float32)
        expected = expected_kl(reference, logits)
        np.testing.assert_allclose(score(logits, reference).scores.kl, expected, rtol=1e-4)


def test_masking_what_the_reference_allows_is_infinitely_far_and_the_reverse_is_not():
    reference = random_rows(300)
    assert np.all(np.isposinf(score(masked(reference, slice(3)), reference).scores.kl))
    back = score(reference, masked(reference, slice(3))).scores.kl
    np.testing.assert_allclose(back, expected_kl(masked(reference, slice(3)), reference), rtol=1e-4)


def test_of_equal_logits_the_first_id_wins():
    logits = np.zeros((1, 1000), np.float32)
    logits[0, [700, 20, 130]] = 3
    logits[0, 999] = 2
    found = score(logits)
    assert found.top_k[0].tolist() == [20, 130, 700, 999, 0, 1, 2, 3, 4, 5]
    assert (found.scores.top1[0], found.scores.margin[0]) == (20, 0)
    assert score(np.zeros((1, 50), np.float32)).scores.entropy[0] == pytest.approx(np.log(50))


@pytest.mark.parametrize("vocabulary", [5, 300, 5000])
@pytest.mark.parametrize("bad", [np.nan, INF])
@pytest.mark.parametrize("where", [slice(2, 3), slice(None)])
def test_logits_that_are_not_finite_are_refused(vocabulary, bad, where):
    logits = random_rows(vocabulary, rows=4)
    logits[2, where] = bad
    with pytest.raises(ValueError, match=r"logits are not finite \(largest (nan|inf), token row 2\)"):
        score(logits)


def test_a_row_with_everything_masked_is_refused():
    with pytest.raises(ValueError, match="not finite"):
        score(masked(random_rows(300, rows=2), slice(None)))


def test_extreme_but_finite_logits_do_not_overflow():
    logits = np.array([[3e4, -3e4, 0, 1]], np.float32)
    found = score(logits, np.array([[-3e4, 3e4, 0, 1]], np.float32), np.array([1], np.int32)).scores
    assert (found.nll[0], found.kl[0], found.entropy[0]) == (6e4, 6e4, 0)


@settings(max_examples=300)
@given(st.integers(1, 2000), st.integers(1, 40), st.integers(0, 2**32 - 1), st.sampled_from([2, 10, 10**9]))
def test_the_top_tokens_are_those_of_a_stable_sort(size, k, seed, values):
    logits = np.random.default_rng(seed).integers(-values, values, size).astype(np.float32)
    np.testing.assert_array_equal(top_tokens(logits, k), np.argsort(-logits, kind="stable")[:k])


@pytest.mark.parametrize("rows", [0, 1, 2, 20])
def test_the_number_of_threads_changes_nothing(rows):
    reference, logits = random_rows(641, rows), random_rows(641, rows, seed=5)
    one, three = score(logits, reference, threads=1), score(logits, reference, threads=3)
    for name, values in vars(one.scores).items():
        np.testing.assert_array_equal(values, getattr(three.scores, name), err_msg=name)
    np.testing.assert_array_equal(one.log_normaliser, three.log_normaliser)
    np.testing.assert_array_equal(one.top_k, three.top_k)
