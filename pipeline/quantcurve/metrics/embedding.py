"""What embeddings are worth: rank correlation with graded similarity, drift from the reference's, and ranking.

Texts, pairs and queries are taken for independent draws. Intervals are bias-corrected and accelerated bootstrap ones
(BCa: Efron 1987, "Better Bootstrap Confidence Intervals", JASA 82, 171-185; Efron & Tibshirani 1993, "An Introduction
to the Bootstrap", ch. 14) over RESAMPLES seeded resamples of what was drawn; differences are of one resample for both
models, so that they are paired. Shares have Clopper-Pearson bounds, which have a width also where all is found.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import betaincinv, ndtr, ndtri
from scipy.stats import kendalltau, rankdata

from quantcurve.engines.base import Doubles, Floats
from quantcurve.estimates import Estimate, Figure, Missing
from quantcurve.metrics.statistics import LEVEL

RESAMPLES = 2000
BLOCK = 4_000_000
"""Ranks that are taken at once."""
LEAST = 3
"""Fewer texts or queries have no interval."""

Places = np.ndarray[tuple[int, ...], np.dtype[np.int64]]


def cosines(a: Floats, b: Floats) -> Doubles:
    """Cosine of every row of two arrays (n, width), in float64; (n,). 0 for a row of zeros."""
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    lengths = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
    return np.asarray((x * y).sum(1) / np.where(lengths > 0, lengths, 1), np.float64)


def spearman(graded: Doubles, found: Doubles, seed: int) -> Figure:
    """Spearman's rank correlation with average ranks for ties.

    Args:
        graded: (n,) by people.
        found: (n,) cosines of the same pairs.
        seed: of the resamples.
    """
    if refused := _constant(graded, found):
        return refused

    def of(places: Places) -> Doubles:
        return _correlations(graded, found, places)

    return _bootstrapped(of, len(graded), seed, "Spearman's rho", "over pairs")


def spearman_difference(graded: Doubles, found: Doubles, reference: Doubles, seed: int) -> Figure:
    """Spearman's rank correlation of `found` less that of `reference`, on the same pairs; see `spearman`."""
    if refused := _constant(graded, found, reference):
        return refused

    def of(places: Places) -> Doubles:
        return _correlations(graded, found, places) - _correlations(graded, reference, places)

    return _bootstrapped(of, len(graded), seed, "Spearman's rho", "paired; over pairs")


def mean(values: Doubles, seed: int, unit: str, over: str) -> Figure:
    """Mean of independent values (n,); values that are all alike give an interval of no width.

    Args:
        values: (n,).
        seed: of the resamples.
        unit: of the values.
        over: what was drawn: texts, queries.
    """
    if len(values) < LEAST:
        return Missing(missing=f"{len(values)} {over}; a mean with an interval needs {LEAST}")

    def of(places: Places) -> Doubles:
        return np.asarray(values[places].mean(1))

    return _bootstrapped(of, len(values), seed, unit, f"over {over}")


def mean_share(shares: Doubles, unit: str, over: str) -> Figure:
    """Mean of shares in [0, 1] (n,) with bounds that have a width also where all are 1: Clopper-Pearson's for
    p(1 - p)/s^2 effective draws, at least n (p(1 - p) bounds a share's variance; Korn & Graubard 1998, without
    clusters), at most n."""
    n = len(shares)
    if n < LEAST:
        return Missing(missing=f"{n} {over}; a share with an interval needs {LEAST}")
    p = float(shares.mean())
    low = float(betaincinv(n * p, n * (1 - p) + 1, (1 - LEVEL) / 2)) if p > 0 else 0.0
    high = float(betaincinv(n * p + 1, n * (1 - p), (1 + LEVEL) / 2)) if p < 1 else 1.0
    return Estimate(value=p, low=low, high=high, n=n, unit=unit, method=f"Clopper-Pearson, {n} {over}")


class Ranking(NamedTuple):
    """Passages by query: cosines (q, d), and the order that they put the passages in."""

    scores: Doubles
    order: Places
    """(q, d) places of passages, best first; ties by place."""


def ranking(queries: Floats, passages: Floats) -> Ranking:
    """Passages in order of cosine for every query.

    Args:
        queries: (q, width).
        passages: (d, width).
    """
    scores = _unit(queries) @ _unit(passages).T
    return Ranking(scores, np.argsort(-scores, axis=1, kind="stable"))


def recalls(found: Ranking, relevant: Sequence[frozenset[int]], k: int) -> Doubles:
    """Share of each query's relevant passages among the first k, (q,).

    relevant: places of passages, at least one for every query.
    """
    top = found.order[:, :k]
    return np.array([len(want & set(row.tolist())) / len(want) for row, want in zip(top, relevant, strict=True)])


def ndcgs(found: Ranking, relevant: Sequence[frozenset[int]], k: int) -> Doubles:
    """nDCG@k of each query, (q,): relevant passages among the first k, each worth 1 / log2(1 + its place), over what
    the best order gives (Järvelin & Kekäläinen 2002, "Cumulated gain-based evaluation of IR techniques", ACM TOIS 20,
    422-446; gains of 0 and 1, and the discount that became usual). Unlike recall it falls where passages move down.

    relevant: places of passages, at least one for every query.
    """
    top = found.order[:, :k]
    worth = 1 / np.log2(np.arange(2, top.shape[1] + 2))
    gains = [worth[np.isin(row, list(want))].sum() for row, want in zip(top, relevant, strict=True)]
    return np.array([gain / worth[: len(want)].sum() for gain, want in zip(gains, relevant, strict=True)])


def reciprocal_ranks(found: Ranking, relevant: Sequence[frozenset[int]]) -> Doubles:
    """1 / place from 1 of each query's first relevant passage among all, (q,); the mean over queries is the mean
    reciprocal rank (Voorhees 1999, "The TREC-8 question answering track report", TREC-8, 77-82). It has no depth, and
    falls wherever that passage moves down.

    relevant: places of passages, at least one for every query.
    """
    rows = zip(found.order, relevant, strict=True)
    return np.array([1 / (1 + np.isin(row, list(want)).argmax()) for row, want in rows])


def chance_recall(passages: int, k: int) -> float:
    """Expected recall@k of passages in random order."""
    return min(k, passages) / passages


def chance_ndcg(relevant: Sequence[frozenset[int]], passages: int, k: int) -> float:
    """Expected mean nDCG@k over queries of passages in random order."""
    worth = 1 / np.log2(np.arange(2, min(k, passages) + 2))
    return float(np.mean([len(want) / passages * worth.sum() / worth[: len(want)].sum() for want in relevant]))


def overlaps(found: Ranking, reference: Ranking, k: int) -> Doubles:
    """Share of the reference's first k passages among the own first k, (q,)."""
    pairs = zip(found.order[:, :k].tolist(), reference.order[:, :k].tolist(), strict=True)
    return np.array([len(set(own) & set(other)) / len(other) for own, other in pairs])


def taus(found: Ranking, reference: Ranking) -> Doubles:
    """Kendall's tau-b between the own ranking of all passages and the reference's, query by query, (q,)."""
    pairs = zip(found.scores, reference.scores, strict=True)
    return np.array([float(kendalltau(own, other, variant="b").statistic) for own, other in pairs])


def _unit(rows: Floats) -> Doubles:
    exact = np.asarray(rows, np.float64)
    return np.asarray(exact / np.maximum(np.linalg.norm(exact, axis=1, keepdims=True), 1e-12))


def _constant(*columns: Doubles) -> Missing | None:
    if len(columns[0]) < LEAST:
        return Missing(missing=f"{len(columns[0])} pairs; a rank correlation needs {LEAST}")
    if any(np.ptp(column) == 0 for column in columns):
        return Missing(missing="all pairs are alike: there are no ranks to correlate")
    return None


def _correlations(a: Doubles, b: Doubles, places: Places) -> Doubles:
    """Spearman's rho of every row of places (r, n); 0 where all ranks of a row are alike."""
    found = np.empty(len(places))
    step = max(1, BLOCK // places.shape[1])
    for start in range(0, len(places), step):
        rows = places[start : start + step]
        x, y = (_centred(rankdata(column[rows], axis=1)) for column in (a, b))
        scale = np.sqrt((x * x).sum(1) * (y * y).sum(1))
        found[start : start + step] = (x * y).sum(1) / np.where(scale > 0, scale, 1)
    return found


def _centred(ranks: Doubles) -> Doubles:
    return np.asarray(ranks - ranks.mean(1, keepdims=True))


def _bootstrapped(of: Callable[[Places], Doubles], n: int, seed: int, unit: str, over: str) -> Estimate:
    """A statistic with its BCa interval.

    Args:
        of: the statistic of every row of places (r, m).
        n: how much was drawn.
        seed: of the resamples.
        unit: of the statistic.
        over: what was drawn.
    """
    value = float(of(np.arange(n)[None])[0])
    resampled = of(np.random.default_rng(seed).integers(0, n, (RESAMPLES, n)))
    left_out = of(np.array([np.delete(np.arange(n), i) for i in range(n)]))
    low, high = bca(value, resampled, left_out)
    method = f"BCa bootstrap, {RESAMPLES} resamples {over}"
    return Estimate(value=value, low=low, high=high, n=n, unit=unit, method=method)


def bca(value: float, resampled: Doubles, left_out: Doubles) -> tuple[float, float]:
    """Bounds of the BCa interval at LEVEL (Efron & Tibshirani 1993, 14.9 to 14.15).

    Args:
        value: the statistic of all that was drawn.
        resampled: (r,), of resamples.
        left_out: (n,), with one draw left out each, for the acceleration.
    """
    if np.ptp(resampled) == 0:
        return value, value
    below = (np.count_nonzero(resampled < value) + np.count_nonzero(resampled <= value)) / (2 * len(resampled))
    bias = float(ndtri(np.clip(below, 1 / len(resampled), 1 - 1 / len(resampled))))
    away = left_out.mean() - left_out
    squares = float((away**2).sum())
    acceleration = float((away**3).sum()) / (6 * squares**1.5) if squares > 0 else 0.0
    tails = bias + ndtri(np.array([(1 - LEVEL) / 2, (1 + LEVEL) / 2]))
    levels = ndtr(bias + tails / (1 - acceleration * tails))
    low, high = (float(x) for x in np.quantile(resampled, levels))
    return min(low, value), max(high, value)
