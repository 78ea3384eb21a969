"""What a run of an encoder's recipe gives: one record."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from quantcurve.accuracy_records import ControlResult
from quantcurve.estimates import Estimate, Figure, Missing
from quantcurve.latency_records import BenchmarkAppReport
from quantcurve.records import EngineIdentity, Frozen, MachineFacts, ModelFile, OpenVinoEffective, StageTime
from quantcurve.verdicts import VariantVerdict


class EncoderWorkload(Frozen):
    """What one round of the benchmark does."""

    tokens: int = Field(ge=2)
    batch: int = Field(ge=1)
    passes: int = Field(ge=1)
    seed: int = 0


class AtDepth(Frozen):
    """A figure of the first k passages."""

    k: int
    figure: Figure


class WorstText(Frozen):
    """The text whose embedding has gone farthest."""

    text: str
    drift: float


class Drift(Frozen):
    """1 - cosine of a text's embedding and the reference's, over all texts that the model is judged on."""

    mean: Estimate
    worst: WorstText


class RankingFigures(Frozen):
    """How well passages are found, over the queries of one domain or of all."""

    domain: str
    queries: int
    recall: tuple[AtDepth, ...]
    """Share of a query's relevant passages among the first k."""
    recall_change: tuple[AtDepth, ...] = ()
    """Paired difference from the reference; empty for the reference."""
    ndcg: tuple[AtDepth, ...] = ()
    """nDCG of the first k; empty in records of before."""
    ndcg_change: tuple[AtDepth, ...] = ()
    """Paired difference from the reference; empty for the reference."""
    reciprocal_rank: Figure | None = None
    """1 / place of a query's first relevant passage among all; None in records of before."""
    reciprocal_rank_change: Figure | None = None
    """Paired difference from the reference; None for the reference."""
    overlap: tuple[AtDepth, ...] = ()
    """Share of the reference's first k among the own first k; empty for the reference."""
    tau: Figure | None = None
    """Kendall's tau-b between the own ranking of all passages and the reference's; None for the reference."""


class EncoderQuality(Frozen):
    """What a model's embeddings are worth."""

    spearman: Figure
    """Between graded similarity and cosine."""
    spearman_change: Figure | None = None
    """Paired difference from the reference; None for the reference."""
    drift: Drift | None = None
    """None for the reference."""
    ranking: RankingFigures
    """Over all domains together."""
    domains: tuple[RankingFigures, ...] = ()


class EncoderLatency(Frozen):
    """One forward pass; figures are medians over rounds, a round counts by the median of its passes."""

    pass_ms: Figure
    samples_ms: tuple[tuple[float, ...], ...]
    """Of every round."""
    load_s: Figure
    peak_memory_bytes: int
    benchmark_app_ms: float | Missing | None = None
    """Median over iterations on static shapes; None where the recipe leaves it out."""
    report: BenchmarkAppReport | None = None


class EncoderVariantResult(Frozen):
    """The reference or one variant."""

    name: str
    status: Literal["measured", "failed"]
    reason: str = ""
    """Why it failed."""
    log: str = ""
    weights: str = ""
    """Format as the recipe names it; empty for the reference."""
    file: ModelFile | None = None
    config: OpenVinoEffective | None = None
    quality: EncoderQuality | None = None
    latency: EncoderLatency | Missing | None = None
    accuracy_control: ControlResult | None = None
    """If layers were restored."""
    verdict: VariantVerdict | None = None
    """Of the recipe's contract; None where there is none, and for the reference."""
    notes: tuple[str, ...] = ()


class TextSetResult(Frozen):
    """Texts as they were used."""

    source: str
    content_hash: str
    items: int
    """Pairs, queries or sentences."""
    passages: int = 0
    left_out: int = 0
    """Calibration sentences that are, in part, what the model is judged on."""


class EncoderResult(Frozen):
    """One run of an encoder's recipe."""

    schema_version: Literal[1] = 1
    kind: Literal["encoder"] = "encoder"
    name: str
    model: str
    """The source as the recipe names it; for the hub with the commit's hash."""
    model_hash: str
    pipeline: str
    """How embeddings are made, in words."""
    reference: EncoderVariantResult
    variants: tuple[EncoderVariantResult, ...]
    similarity: TextSetResult
    retrieval: TextSetResult
    calibration: TextSetResult | None = None
    workload: EncoderWorkload | None = None
    engine: EngineIdentity
    machine: MachineFacts
    threads: int
    seed: int
    stages: tuple[StageTime, ...] = ()
    recipe_text: str = ""
