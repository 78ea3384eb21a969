"""From per-token scores to figures with intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from quantcurve.engines.base import TOP_K, Doubles, TokenScores
from quantcurve.metrics import statistics as st
from quantcurve.results import Divergence, Estimate, Extreme, Figure, ModelFigures, Slice

ALL = "all"
NATS = "nats"


class ScoredText(NamedTuple):
    """One text's windows: bytes of text behind the scored tokens of each window, (W,)."""

    name: str
    scored_bytes: Doubles
    window_tokens: int


def slices(
    texts: Sequence[ScoredText], scores: Sequence[TokenScores], reference: Sequence[TokenScores] | None
) -> tuple[Slice, tuple[Slice, ...]]:
    """Figures over all texts together and over each.

    Args:
        texts: the texts, in the order of the recipe.
        scores: this model's, one entry a text, arrays (W, T).
        reference: the reference's, if this is a variant.
    """
    each = tuple(
        _slice([text], [own], [reference[i]] if reference else None)
        for i, (text, own) in enumerate(zip(texts, scores, strict=True))
    )
    if len(each) == 1:
        return each[0].model_copy(update={"text": ALL}), each
    return _slice(texts, scores, reference), each


def _slice(
    texts: Sequence[ScoredText], scores: Sequence[TokenScores], reference: Sequence[TokenScores] | None
) -> Slice:
    own = TokenScores.concatenate(list(scores))
    segments = [len(s.nll) for s in scores]
    scored_bytes = np.concatenate([t.scored_bytes for t in texts])
    return Slice(
        text=texts[0].name if len(texts) == 1 else ALL,
        windows=sum(segments),
        tokens=own.nll.size,
        model=_model_figures(own, scored_bytes, segments),
        divergence=_divergence(texts, own, TokenScores.concatenate(list(reference)), segments) if reference else None,
    )


def _model_figures(own: TokenScores, scored_bytes: Doubles, segments: Sequence[int]) -> ModelFigures:
    bits = own.nll.sum(axis=1) / math.log(2)
    return ModelFigures(
        perplexity=st.exp_estimate(st.mean_estimate(own.nll, segments, NATS), "perplexity"),
        bits_per_byte=st.ratio_estimate(bits, scored_bytes, segments, "bits/byte"),
        entropy_nats=st.mean_estimate(own.entropy, segments, NATS),
        logit_norm=st.mean_estimate(own.logit_norm, segments, "logits"),
        margin_logits=st.mean_estimate(own.margin, segments, "logits"),
    )


def _divergence(
    texts: Sequence[ScoredText], own: TokenScores, reference: TokenScores, segments: Sequence[int]
) -> Divergence:
    assert own.kl is not None and own.overlap is not None
    divergences = own.kl
    ln_ratio = st.paired_difference(own.nll, reference.nll, segments, "ln(perplexity ratio)")
    change = np.exp(-own.nll) - np.exp(-reference.nll)

    def kl(fraction: float) -> Figure:
        return st.percentile_estimate(divergences, segments, fraction, NATS)

    return Divergence(
        ln_perplexity_ratio=ln_ratio,
        perplexity_ratio=st.exp_estimate(ln_ratio, "ratio"),
        kl_mean=_not_negative(st.mean_estimate(divergences, segments, NATS)),
        kl_median=kl(0.5),
        kl_p90=kl(0.9),
        kl_p95=kl(0.95),
        kl_p99=kl(0.99),
        kl_p999=kl(0.999),
        kl_max=_largest(texts, own.kl, segments),
        probability_change_mean=st.mean_estimate(change, segments, "probability"),
        probability_change_rms=st.root_mean_square_estimate(change, segments, "probability"),
        top1_agreement=st.proportion_estimate(own.top1 == reference.top1, segments, "share"),
        top_k_overlap=st.proportion_estimate(own.overlap, segments, "share"),
        top_k=TOP_K,
    )


def _not_negative(estimate: Estimate) -> Estimate:
    """A divergence is never below 0, whatever the interval's formula says."""
    return estimate.model_copy(update={"low": max(0.0, estimate.low)})


def _largest(texts: Sequence[ScoredText], kl: Doubles, segments: Sequence[int]) -> Extreme:
    row, column = np.unravel_index(int(kl.argmax()), kl.shape)
    ends = np.cumsum(segments)
    which = int(np.searchsorted(ends, row, side="right"))
    return Extreme(
        value=float(kl[row, column]),
        unit=NATS,
        text=texts[which].name,
        window=int(row - (ends[which] - segments[which])),
        position=int(texts[which].window_tokens - kl.shape[1] + column),
    )
