"""Per-token figures from raw logits; runs in the engine's process, one vocabulary row at a time.

A row of 49,152 float32 fits the second-level cache, so each row is read from memory once. Sums of exponentials
are pairwise float32 sums (relative error about 1e-7); normalisers and KL divergences are float64.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from quantcurve.engines.base import TOP_K, Doubles, Floats, Tokens, TokenScores

_BLOCK = 64
"""Columns that share a maximum in the search for the largest logits."""
_SMALL = 1e-2
"""Divergences below this, in nats, are computed without the normalisers."""


@dataclass(frozen=True)
class ReferenceRows:
    """The reference's side of a comparison: logits (n, V), log normalisers (n,), top tokens (n, TOP_K)."""

    logits: Floats
    log_normaliser: Doubles
    top_k: Tokens


@dataclass(frozen=True)
class RowScores:
    """Scores of n consecutive tokens; `log_normaliser` (n,) and `top_k` (n, TOP_K) serve later comparisons."""

    scores: TokenScores
    log_normaliser: Doubles
    top_k: Tokens


def top_tokens(logits: Floats, k: int = TOP_K) -> Tokens:
    """Ids of the k largest of one row of logits, largest first, the lower id first among equals.

    The k-th largest block maximum bounds the k-th largest value from below, so one pass leaves few candidates.
    A row with fewer than k entries gives all of them.
    """
    k = min(k, logits.size)
    whole = logits.size // _BLOCK * _BLOCK
    if whole // _BLOCK >= k:
        maxima = logits[:whole].reshape(-1, _BLOCK).max(axis=1)
        bound = np.partition(maxima, maxima.size - k)[maxima.size - k]
        candidates = np.flatnonzero(logits >= bound)
    else:
        candidates = np.arange(logits.size)
    order = np.argsort(-logits[candidates], kind="stable")[:k]
    return candidates[order].astype(np.int32)


def kl_divergence(reference: Floats, reference_normaliser: float, logits: Floats, normaliser: float) -> float:
    """KL divergence in nats from the reference's distribution to another, from one row of logits of each.

    KL = (Z - Z_ref) - sum p c, p the reference's probabilities, c the changes of the logits, Z the log normalisers:
    changes are exact where the models agree, and llama.cpp's differences of log probabilities are not
    (tools/perplexity/perplexity.cpp, log_softmax with base_log_prob). Normalisers are known to about 1e-7, so a
    small divergence is computed without them.
    """
    probability = np.exp(reference - np.float32(reference_normaliser))
    outside = 0.0
    kept = probability > 0
    if kept.all():
        change = logits - reference
    else:  # a masked vocabulary, or far from likely
        outside = float(np.exp(logits[~kept] - np.float32(normaliser)).sum(dtype=np.float64))
        probability, change = probability[kept], logits[kept] - reference[kept]
    total = float(probability.sum(dtype=np.float64))
    value = normaliser - reference_normaliser - float(np.dot(probability, change)) / total
    if value < _SMALL:
        value = _small_divergence(probability, change, total) - float(np.log1p(-outside))
    return max(value, 0.0)


def _small_divergence(probability: Floats, change: Floats, total: float) -> float:
    """KL = ln sum p e^c - sum p c with c measured from its mean, so that nothing large cancels."""
    c = change - np.float32(np.dot(probability, change) / total)
    terms = c * c * (0.5 + c * (1 / 6 + c * (1 / 24 + c / 120)))  # e^c - 1 - c near 0
    wide = np.flatnonzero(np.abs(c) > 0.25)
    terms[wide] = 0
    far = c[wide].astype(np.float64)
    curved = float(np.dot(probability, terms)) + float(np.dot(probability[wide], np.expm1(far) - far))
    rest = float(np.dot(probability, c)) / total  # 0 but for rounding
    return float(np.log1p(curved / total + rest) - rest)


def score_rows(
    logits: Floats, targets: Tokens, reference: ReferenceRows | None, pool: ThreadPoolExecutor, threads: int
) -> RowScores:
    """Score n rows of logits (n, V) against the true tokens `targets` (n,), spread over `threads` threads.

    Raises:
        ValueError: a row is not finite where it must be (a broken model).
    """
    n = len(targets)
    out = _empty(n, min(TOP_K, logits.shape[1]), reference is not None)
    edges = np.linspace(0, n, threads + 1, dtype=int)
    jobs = [pool.submit(_score_range, logits, targets, reference, out, range(a, b)) for a, b in pairwise(edges)]
    for job in jobs:
        job.result()
    return out


def _score_range(logits: Floats, targets: Tokens, reference: ReferenceRows | None, out: RowScores, rows: range) -> None:
    scores = out.scores
    shifted = np.empty(logits.shape[1], np.float32)
    exponentials = np.empty_like(shifted)
    for i in rows:
        row = logits[i]
        largest = float(row.max())
        if not np.isfinite(largest):  # NaN anywhere, +inf, or nothing but -inf
            raise ValueError(f"the model's logits are not finite (largest {largest}, token row {i})")
        top = top_tokens(row)
        np.subtract(row, np.float32(largest), out=shifted)
        np.exp(shifted, out=exponentials)
        total = float(exponentials.sum())
        normaliser = largest + float(np.log(total))
        out.log_normaliser[i] = normaliser
        out.top_k[i] = top
        scores.nll[i] = normaliser - float(row[targets[i]])
        scores.entropy[i] = _entropy(shifted, exponentials, total)
        scores.logit_norm[i] = _norm(row)
        scores.margin[i] = largest - float(row[top[1]])
        scores.top1[i] = top[0]
        if reference is not None:
            assert scores.kl is not None and scores.overlap is not None
            scores.kl[i] = kl_divergence(reference.logits[i], float(reference.log_normaliser[i]), row, normaliser)
            scores.overlap[i] = np.isin(reference.top_k[i], top, assume_unique=True).mean()


def _entropy(shifted: Floats, exponentials: Floats, total: float) -> float:
    """Entropy in nats: ln Z - sum p l, with l measured from the largest logit."""
    with np.errstate(invalid="ignore"):
        weighted = float(np.dot(exponentials, shifted))
    if not np.isfinite(weighted):  # a masked vocabulary
        kept = exponentials > 0
        weighted = float(np.dot(exponentials[kept], shifted[kept]))
    return float(np.log(total)) - weighted / total


def _norm(row: Floats) -> float:
    """Euclidean norm of the entries that are not masked."""
    square = float(np.dot(row, row))
    if not np.isfinite(square):
        row = row[np.isfinite(row)].astype(np.float64)
        square = float(np.dot(row, row))
    return float(np.sqrt(square))


def _empty(n: int, k: int, compared: bool) -> RowScores:
    def floats() -> Floats:
        return np.empty(n, np.float32)

    return RowScores(
        scores=TokenScores(
            nll=np.empty(n, np.float64),
            entropy=floats(),
            logit_norm=floats(),
            margin=floats(),
            top1=np.empty(n, np.int32),
            kl=np.empty(n, np.float64) if compared else None,
            overlap=floats() if compared else None,
        ),
        log_normaliser=np.empty(n, np.float64),
        top_k=np.empty((n, k), np.int32),
    )
