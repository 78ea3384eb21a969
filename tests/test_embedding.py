"""Figures of embeddings on known cases, and whether their intervals hold."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kendalltau, spearmanr

from quantcurve.estimates import Estimate, Missing
from quantcurve.metrics import embedding as e


def pairs(n: int, rho: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    x = rng.standard_normal(n)
    return x, rho * x + np.sqrt(1 - rho**2) * rng.standard_normal(n)


def test_spearman_is_scipys_with_ties() -> None:
    rng = np.random.default_rng(0)
    graded = rng.integers(0, 6, 80).astype(float)
    found = graded + rng.standard_normal(80)
    figure = e.spearman(graded, found, 0)
    assert isinstance(figure, Estimate)
    assert figure.value == pytest.approx(spearmanr(graded, found).statistic, abs=1e-12)
    assert figure.low < figure.value < figure.high and figure.n == 80


def test_the_interval_of_spearman_holds() -> None:
    """Nominal 95 %; rho of two normals with correlation r is 6 / pi asin(r / 2)."""
    rng = np.random.default_rng(1)
    truth = 6 / np.pi * np.arcsin(0.8 / 2)
    inside = 0
    for seed in range(150):
        figure = e.spearman(*pairs(100, 0.8, rng), seed)
        assert isinstance(figure, Estimate)
        inside += figure.low <= truth <= figure.high
    assert 0.88 <= inside / 150 <= 0.99


def test_a_difference_is_paired() -> None:
    rng = np.random.default_rng(2)
    graded, reference = pairs(120, 0.8, rng)
    found = reference + 0.01 * rng.standard_normal(120)
    difference, alone = e.spearman_difference(graded, found, reference, 0), e.spearman(graded, found, 0)
    assert isinstance(difference, Estimate) and isinstance(alone, Estimate)
    assert difference.high - difference.low < 0.2 * (alone.high - alone.low)
    same = e.spearman_difference(graded, reference, reference, 0)
    assert isinstance(same, Estimate) and same.value == same.low == same.high == 0


def test_what_cannot_be_said_is_missing() -> None:
    ones = np.ones(20)
    assert isinstance(e.spearman(np.arange(20.0), ones, 0), Missing)
    assert isinstance(e.spearman(np.arange(2.0), np.arange(2.0), 0), Missing)
    assert isinstance(e.mean(np.zeros(2), 0, "1", "texts"), Missing)
    assert isinstance(e.mean_share(np.zeros(2), "share", "queries"), Missing)


def test_cosines() -> None:
    a = np.array([[1, 0], [1, 1], [0, 0]], np.float32)
    b = np.array([[0, 2], [3, 3], [1, 0]], np.float32)
    assert e.cosines(a, b) == pytest.approx([0, 1, 0])


def test_a_share_of_all_has_a_width() -> None:
    figure = e.mean_share(np.ones(50), "share", "queries")
    assert isinstance(figure, Estimate)
    assert figure.value == figure.high == 1 and figure.low == pytest.approx(0.025 ** (1 / 50), abs=1e-6)


def test_ranking_recall_overlap_and_tau() -> None:
    queries = np.array([[1, 0, 0], [0, 1, 0]], np.float32)
    passages = np.array([[1, 0, 0], [0.9, 0.1, 0], [0, 1, 0], [0, 0.5, 0.5]], np.float32)
    found = e.ranking(queries, passages)
    assert found.order[:, 0].tolist() == [0, 2] and found.order[0, 1] == 1
    relevant = [frozenset({0, 3}), frozenset({2})]
    assert e.recalls(found, relevant, 1) == pytest.approx([0.5, 1])
    assert e.recalls(found, relevant, 4) == pytest.approx([1, 1])
    other = e.ranking(queries, passages[:, [1, 0, 2]])
    assert e.overlaps(found, found, 2) == pytest.approx([1, 1])
    assert e.overlaps(other, found, 1) == pytest.approx([0, 0])
    assert e.taus(found, found) == pytest.approx([1, 1])
    expected = [kendalltau(a, b).statistic for a, b in zip(other.scores, found.scores, strict=True)]
    assert e.taus(other, found) == pytest.approx(expected)


def test_ndcg_of_known_orders() -> None:
    """Passages 0 to 3 in this order; 1 / log2(3) is what the second place is worth."""
    order = e.Ranking(np.zeros((4, 4)), np.array([[0, 1, 2, 3]] * 4))
    relevant = [frozenset({0}), frozenset({1}), frozenset({3}), frozenset({0, 2})]
    second = 1 / np.log2(3)
    assert e.ndcgs(order, relevant, 3) == pytest.approx([1, second, 0, 1.5 / (1 + second)])
    assert e.ndcgs(order, relevant, 1) == pytest.approx(e.recalls(order, [*relevant[:3], frozenset({0})], 1))
    assert e.ndcgs(order, relevant, 9)[2] == pytest.approx(1 / np.log2(5))


def test_reciprocal_ranks_of_known_orders() -> None:
    order = e.Ranking(np.zeros((4, 4)), np.array([[2, 0, 1, 3]] * 4))
    relevant = [frozenset({2}), frozenset({0}), frozenset({3}), frozenset({1, 3})]
    assert e.reciprocal_ranks(order, relevant) == pytest.approx([1, 1 / 2, 1 / 4, 1 / 3])


@pytest.mark.parametrize("k", [1, 4, 20])
def test_chance_is_what_random_orders_give(k: int) -> None:
    rng = np.random.default_rng(2)
    relevant = [frozenset(rng.choice(12, rng.integers(1, 4), replace=False).tolist()) for _ in range(30)] * 100
    order = e.Ranking(np.zeros((1, 12)), np.argsort(rng.random((3000, 12)), axis=1))
    assert e.recalls(order, relevant, k).mean() == pytest.approx(e.chance_recall(12, k), abs=0.03)
    assert e.ndcgs(order, relevant, k).mean() == pytest.approx(e.chance_ndcg(relevant, 12, k), abs=0.03)


def test_a_mean_has_its_bootstrap_interval() -> None:
    rng = np.random.default_rng(3)
    values = rng.exponential(1, 200)
    figure = e.mean(values, 0, "1 - cosine", "texts")
    assert isinstance(figure, Estimate)
    half = 1.96 * values.std(ddof=1) / np.sqrt(200)
    assert figure.high - figure.low == pytest.approx(2 * half, rel=0.15)
    assert figure.low < values.mean() < figure.high
