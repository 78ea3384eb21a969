"""From per-token scores to figures with intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from quantcurve.engines.base import TOP_K, Doubles, Tokens, TokenScores
from quantcurve.estimates import Estimate, Figure
from quantcurve.metrics import statistics as st
from quantcurve.metrics import transforms
from quantcurve.results import Divergence, Extreme, ModelFigures, Slice
from quantcurve.stages.route import Route
from quantcurve.stages.tokenize import ScoredText

ALL = "all"
NATS = "nats"


class _Visited(NamedTuple):
    """Windows of one text that a model was scored on, in the order of the text."""

    text: ScoredText
    rows: Tokens
    windows: Tokens


def slices(
    texts: Sequence[ScoredText], along: Route, scores: TokenScores, reference: TokenScores | None
) -> tuple[Slice, tuple[Slice, ...]]:
    """Figures over all texts together and over each that has at least two visited windows.

    Args:
        texts: the texts, in the order of the recipe.
        along: the route over their windows.
        scores: this model's, of the first n windows of the route, arrays (n, T).
        reference: the reference's, of at least as many windows, if this is a variant.
    """
    n = len(scores.nll)
    parts = [_Visited(texts[p.text], p.rows, p.windows) for p in along.parts(n)]
    each = tuple(
        _slice([p], [len(p.rows)], scores.rows(p.rows), reference.rows(p.rows) if reference else None)
        for p in parts
        if len(p.rows) > 1
    )
    if len(texts) == 1:
        return each[0].model_copy(update={"text": ALL}), each
    rows, segments = along.sorted_rows(n)
    return _slice(parts, segments, scores.rows(rows), reference.rows(rows) if reference else None), each


def _slice(
    parts: Sequence[_Visited], segments: Sequence[int], own: TokenScores, reference: TokenScores | None
) -> Slice:
    scored_bytes = np.concatenate([p.text.scored_bytes[p.windows] for p in parts])
    return Slice(
        text=parts[0].text.name if len(parts) == 1 else ALL,
        windows=sum(segments),
        tokens=own.nll.size,
        model=_model_figures(own, scored_bytes, segments),
        divergence=_divergence(parts, own, reference, segments) if reference else None,
    )


def _model_figures(own: TokenScores, scored_bytes: Doubles, segments: Sequence[int]) -> ModelFigures:
    bits = own.nll.sum(axis=1) / math.log(2)
    return ModelFigures(
        perplexity=transforms.exp_estimate(st.mean_estimate(own.nll, segments, NATS), "perplexity"),
        bits_per_byte=st.ratio_estimate(bits, scored_bytes, segments, "bits/byte"),
        entropy_nats=st.mean_estimate(own.entropy, segments, NATS),
        logit_norm=st.mean_estimate(own.logit_norm, segments, "logits"),
        margin_logits=st.mean_estimate(own.margin, segments, "logits"),
    )


def _divergence(
    parts: Sequence[_Visited], own: TokenScores, reference: TokenScores, segments: Sequence[int]
) -> Divergence:
    assert own.kl is not None and own.overlap is not None
    divergences = own.kl
    ln_ratio = st.paired_difference(own.nll, reference.nll, segments, "ln(perplexity ratio)")
    change = np.exp(-own.nll) - np.exp(-reference.nll)

    def kl(fraction: float) -> Figure:
        return st.percentile_estimate(divergences, segments, fraction, NATS)

    return Divergence(
        ln_perplexity_ratio=ln_ratio,
        perplexity_ratio=transforms.exp_estimate(ln_ratio, "ratio"),
        kl_mean=not_negative(st.mean_estimate(divergences, segments, NATS)),
        kl_median=kl(0.5),
        kl_p90=kl(0.9),
        kl_p95=kl(0.95),
        kl_p99=kl(0.99),
        kl_p999=kl(0.999),
        kl_max=_largest(parts, own.kl),
        probability_change_mean=st.mean_estimate(change, segments, "probability"),
        probability_change_rms=st.root_mean_square_estimate(change, segments, "probability"),
        top1_agreement=st.proportion_estimate(own.top1 == reference.top1, segments, "share"),
        top_k_overlap=st.proportion_estimate(own.overlap, segments, "share"),
        top_k=TOP_K,
    )


def not_negative(estimate: Estimate) -> Estimate:
    """A divergence is never below 0, whatever the interval's formula says."""
    return estimate.model_copy(update={"low": max(0.0, estimate.low)})


def _largest(parts: Sequence[_Visited], kl: Doubles) -> Extreme:
    row, column = np.unravel_index(int(kl.argmax()), kl.shape)
    ends = np.cumsum([len(p.rows) for p in parts])
    which = int(np.searchsorted(ends, row, side="right"))
    part = parts[which]
    return Extreme(
        value=float(kl[row, column]),
        unit=NATS,
        text=part.text.name,
        window=int(part.windows[row - (ends[which] - len(part.rows))]),
        position=int(part.text.window_tokens - kl.shape[1] + column),
    )
