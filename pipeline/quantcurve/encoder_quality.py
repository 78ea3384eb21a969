"""What a model's embeddings are worth, and what has become of the reference's: figures of graded pairs and rankings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from quantcurve.encoder_results import AtDepth, Drift, EncoderQuality, RankingFigures, WorstText
from quantcurve.encoder_texts import ALL, EncoderTexts
from quantcurve.engines.base import Doubles, Floats
from quantcurve.estimates import Estimate, Figure
from quantcurve.metrics import embedding as figures

Depths = tuple[AtDepth, ...]


class Embeddings(NamedTuple):
    """What a model made of all texts that it is judged on."""

    texts: EncoderTexts
    rows: Mapping[str, Floats]
    """Embedding of each text."""

    def cosines(self) -> Doubles:
        """Of the graded pairs, (n,)."""
        pairs = self.texts.pairs
        return figures.cosines(self.of(pairs.first), self.of(pairs.second))

    def ranking(self) -> figures.Ranking:
        """Of all passages, for every query."""
        found = self.texts.retrieval
        return figures.ranking(self.of([q.text for q in found.queries]), self.of(found.passages))

    def of(self, texts: Sequence[str]) -> Floats:
        """Embeddings (n, width)."""
        return np.stack([self.rows[text] for text in texts])


def quality(own: Embeddings, base: Embeddings | None, depths: Sequence[int], seed: int) -> EncoderQuality:
    """What embeddings are worth, and what has become of them.

    Args:
        own: of the model.
        base: of the reference; None: this is the reference.
        depths: k of recall, nDCG and overlap.
        seed: of the bootstrap.
    """
    graded, found = own.texts.pairs.graded, own.cosines()
    domains = own.texts.retrieval.domains
    queries = _per_query(own, base, depths)
    return EncoderQuality(
        spearman=figures.spearman(graded, found, seed),
        spearman_change=figures.spearman_difference(graded, found, base.cosines(), seed) if base else None,
        drift=_drift(own, base, seed) if base else None,
        ranking=_ranking(queries, ALL, seed),
        domains=tuple(_ranking(queries, domain, seed) for domain in domains if len(domains) > 1),
    )


def _drift(own: Embeddings, base: Embeddings, seed: int) -> Drift:
    texts = own.texts.judged
    drifts = 1 - figures.cosines(own.of(texts), base.of(texts))
    worst = int(drifts.argmax())
    mean = figures.mean(drifts, seed, "1 - cosine", "texts")
    assert isinstance(mean, Estimate)
    return Drift(mean=mean, worst=WorstText(text=texts[worst], drift=float(drifts[worst])))


class _PerQuery(NamedTuple):
    """Figures of every query, (n,) each, by depth; of the reference only recall, nDCG and reciprocal rank."""

    domains: tuple[str, ...]
    recall: dict[int, Doubles]
    ndcg: dict[int, Doubles]
    reciprocal_rank: Doubles
    recall_change: dict[int, Doubles]
    ndcg_change: dict[int, Doubles]
    reciprocal_rank_change: Doubles | None
    overlap: dict[int, Doubles]
    taus: Doubles | None


def _per_query(own: Embeddings, base: Embeddings | None, depths: Sequence[int]) -> _PerQuery:
    asked = own.texts.retrieval.queries
    relevant, domains = [q.relevant for q in asked], tuple(q.domain for q in asked)
    ranked = own.ranking()
    recall = {k: figures.recalls(ranked, relevant, k) for k in depths}
    ndcg = {k: figures.ndcgs(ranked, relevant, k) for k in depths}
    reciprocal = figures.reciprocal_ranks(ranked, relevant)
    if base is None:
        return _PerQuery(domains, recall, ndcg, reciprocal, {}, {}, None, {}, None)
    other = base.ranking()
    return _PerQuery(
        domains,
        recall,
        ndcg,
        reciprocal,
        recall_change={k: recall[k] - figures.recalls(other, relevant, k) for k in depths},
        ndcg_change={k: ndcg[k] - figures.ndcgs(other, relevant, k) for k in depths},
        reciprocal_rank_change=reciprocal - figures.reciprocal_ranks(other, relevant),
        overlap={k: figures.overlaps(ranked, other, k) for k in depths},
        taus=figures.taus(ranked, other),
    )


def _ranking(found: _PerQuery, domain: str, seed: int) -> RankingFigures:
    some = np.array([domain in {ALL, d} for d in found.domains])

    def at_depths(values: dict[int, Doubles], figure: Callable[[Doubles, str], Figure], name: str) -> Depths:
        return tuple(AtDepth(k=k, figure=figure(v[some], f"{name}@{k}")) for k, v in values.items())

    def share(values: Doubles, unit: str) -> Figure:
        return figures.mean_share(values, unit, "queries")

    def mean(values: Doubles, unit: str) -> Figure:
        return figures.mean(values, seed, unit, "queries")

    change = found.reciprocal_rank_change
    return RankingFigures(
        domain=domain,
        queries=int(some.sum()),
        recall=at_depths(found.recall, share, "recall"),
        recall_change=at_depths(found.recall_change, mean, "recall"),
        ndcg=at_depths(found.ndcg, share, "nDCG"),
        ndcg_change=at_depths(found.ndcg_change, mean, "nDCG"),
        reciprocal_rank=share(found.reciprocal_rank[some], "reciprocal rank"),
        reciprocal_rank_change=None if change is None else mean(change[some], "reciprocal rank"),
        overlap=at_depths(found.overlap, share, "overlap"),
        tau=None if found.taus is None else mean(found.taus[some], "Kendall's tau-b"),
    )
