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
"""Entries that share a maximum in the search for the largest logits."""
_SMALL = 1e-3
"""Divergences below this, in nats, are corrected for the normalisers' error."""
_WIDE = 0.25
"""Changes of a logit above this have no short Taylor series of the exponential."""
LONG_ROW = 100_000
"""Shorter rows are scored by one thread: handing the interpreter over takes as long as a pass over one. Seen on two
cores: 255 rows of 49,152 entries 23 ms by one thread and 24 to 37 by two; KL divergence of 128 rows of 151,936
entries 127 to 159 ms and 91."""
_VAST = 60.0
"""Changes of a logit above this make a probability that underflows matter."""


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


class _Work:
    """Buffers of one thread, each as long as a row: fresh ones would cost page faults."""

    def __init__(self, vocabulary: int) -> None:
        self.probability = np.empty(vocabulary, np.float32)
        self.change = np.empty(vocabulary, np.float32)
        self.square = np.empty(vocabulary, np.float32)


def top_tokens(logits: Floats, k: int = TOP_K) -> Tokens:
    """Ids of the k largest of one row of logits, largest first, the lower id first among equals.

    The row is seen as a table of _BLOCK lines. The k-th largest maximum of a column bounds the k-th largest value from
    below, so only columns that reach it are searched. A row with fewer than k entries gives all of them.
    """
    k = min(k, logits.size)
    columns = logits.size // _BLOCK
    if columns < k:
        return np.argsort(-logits, kind="stable")[:k].astype(np.int32)
    table = logits[: columns * _BLOCK].reshape(_BLOCK, columns)
    maxima = table.max(axis=0)
    bound = np.partition(maxima, columns - k)[columns - k]
    reached = np.flatnonzero(maxima >= bound)
    ids = (np.arange(0, table.size, columns)[:, None] + reached).reshape(-1)
    candidates = np.concatenate([ids, np.arange(table.size, logits.size)])
    values = logits[candidates]
    enough = np.flatnonzero(values >= bound)
    order = np.argsort(-values[enough], kind="stable")[:k]
    return candidates[enough[order]].astype(np.int32)


def kl_divergence(
    reference: Floats, reference_normaliser: float, logits: Floats, normaliser: float, work: _Work | None = None
) -> float:
    """KL divergence in nats from the reference's distribution to another, from one row of logits of each.

    KL = - sum p c, p the reference's probabilities, c the changes of the logits beyond that of the log normalisers:
    changes are exact where the models agree, and llama.cpp's differences of log probabilities are not
    (tools/perplexity/perplexity.cpp, log_softmax with base_log_prob). Normalisers are known to about 1e-7, so a
    small divergence is corrected for their error.
    """
    work = work or _Work(len(reference))
    probability = np.subtract(reference, np.float32(reference_normaliser), out=work.probability)
    np.exp(probability, out=probability)
    total = float(np.exp(reference_normaliser - float(np.float32(reference_normaliser))))
    shift = np.float32(normaliser - reference_normaliser)
    with np.errstate(invalid="ignore"):
        c = np.subtract(logits, reference, out=work.change)
        c -= shift
        mean = float(np.dot(probability, c)) / total
    if not np.isfinite(mean):
        return _masked_divergence(reference, reference_normaliser, logits, normaliser)
    value = normaliser - reference_normaliser - float(shift) - mean
    if value < _SMALL:
        excess = _excess(probability, c, work.square)
        if excess is None:
            return _masked_divergence(reference, reference_normaliser, logits, normaliser)
        value = float(np.log1p(excess / total + mean)) - mean
    return max(value, 0.0)


def _excess(probability: Floats, c: Floats, square: Floats) -> float | None:
    """Sum of p (e^c - 1 - c), by the Taylor polynomial up to c^5 near 0; None if a change is so large that its p may
    have vanished. Works in place: all three arrays are lost."""
    np.multiply(c, c, out=square)
    wide = np.flatnonzero(square > _WIDE**2)
    far = c[wide]
    if far.size and far.max() > _VAST:
        return None
    curved = float(np.dot(probability[wide], np.exp(far) - np.float32(1) - far))
    c[wide] = square[wide] = 0
    curved += float(np.dot(probability, square)) / 2
    np.multiply(c, probability, out=c)
    curved += float(np.dot(c, square)) / 6
    np.multiply(square, square, out=square)
    return curved + float(np.dot(probability, square)) / 24 + float(np.dot(c, square)) / 120


def _masked_divergence(reference: Floats, reference_normaliser: float, logits: Floats, normaliser: float) -> float:
    """The same for rows with entries that are masked or far from likely, in float64."""
    log_p, log_q = reference.astype(np.float64) - reference_normaliser, logits.astype(np.float64) - normaliser
    log_p -= np.log(np.exp(log_p).sum())
    log_q -= np.log(np.exp(log_q).sum())
    kept = np.exp(log_p) > 0
    return max(float((np.exp(log_p[kept]) * (log_p[kept] - log_q[kept])).sum()), 0.0)


def score_rows(
    logits: Floats, targets: Tokens, reference: ReferenceRows | None, pool: ThreadPoolExecutor, threads: int
) -> RowScores:
    """Score n rows of logits (n, V) against the true tokens `targets` (n,), spread over `threads` threads if the rows
    are long.

    Raises:
        ValueError: a row is not finite where it must be (a broken model).
    """
    n = len(targets)
    out = _empty(n, min(TOP_K, logits.shape[1]), reference is not None)
    edges = np.linspace(0, n, 1 + (threads if logits.shape[1] >= LONG_ROW else 1), dtype=int)
    jobs = [pool.submit(_score_range, logits, targets, reference, out, range(a, b)) for a, b in pairwise(edges)]
    for job in jobs:
        job.result()
    out.scores.top1[:] = out.top_k[:, 0]
    if reference is not None:
        assert out.scores.overlap is not None
        shared = (reference.top_k[:, :, None] == out.top_k[:, None, :]).any(axis=2)
        out.scores.overlap[:] = shared.mean(axis=1)
    return out


def _score_range(logits: Floats, targets: Tokens, reference: ReferenceRows | None, out: RowScores, rows: range) -> None:
    scores = out.scores
    work = _Work(logits.shape[1])
    for i in rows:
        row = logits[i]
        largest = float(row.max())
        if not np.isfinite(largest):  # NaN anywhere, +inf, or nothing but -inf
            raise ValueError(f"the model's logits are not finite (largest {largest}, token row {i})")
        top = out.top_k[i] = top_tokens(row)
        shifted = np.subtract(row, np.float32(largest), out=work.change)
        exponentials = np.exp(shifted, out=work.probability)
        total = float(exponentials.sum())
        normaliser = out.log_normaliser[i] = largest + float(np.log(total))
        scores.nll[i] = normaliser - float(row[targets[i]])
        scores.entropy[i] = _entropy(shifted, exponentials, total)
        scores.logit_norm[i] = _norm(row)
        scores.margin[i] = largest - float(row[top[1]])
        if reference is not None:
            assert scores.kl is not None
            base = float(reference.log_normaliser[i])
            scores.kl[i] = kl_divergence(reference.logits[i], base, row, normaliser, work)


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
