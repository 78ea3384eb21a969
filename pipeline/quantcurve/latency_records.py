"""What OpenVINO's own tools measured: raw milliseconds, commands and reports, and the figures made of them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from quantcurve.estimates import Figure
from quantcurve.records import AttentionBackend, Frozen

DECODE_STEPS = 32
"""Tokens that benchmark_app decodes at every context; the figure is their median."""


class GenAiWorkload(Frozen):
    """What OpenVINO GenAI generates."""

    prompt_tokens: int = Field(512, ge=1, le=1_048_576)
    new_tokens: int = Field(33, ge=2, le=1_048_576)
    repetitions: int = Field(5, ge=3, le=1000)


class Setting(Frozen):
    """A property of a compiled model, as its tool prints it."""

    name: str
    value: str


class BenchmarkAppReport(Frozen):
    """One run of benchmark_app."""

    command: tuple[str, ...]
    """Arguments; paths are relative to the folder that the tool ran in."""
    settings: tuple[Setting, ...]
    """Properties of the model it compiled, as it printed them."""
    json_text: str
    """Its benchmark_report.json. Latencies of single groups collapse there: keys are repeated."""


class ContextSamples(Frozen):
    """Milliseconds of every forward pass at one context, in the order they ran."""

    context_tokens: int
    prefill_ms: tuple[float, ...]
    """benchmark_app: the whole context at once, nothing in the cache before."""
    decode_ms: tuple[float, ...]
    """benchmark_app: one token after another, the first with exactly the context in the cache."""
    loop_prefill_ms: tuple[float, ...]
    """The direct loop, the same passes."""
    loop_decode_ms: tuple[float, ...]


class LatencyRound(Frozen):
    """One round of benchmark_app and of the direct loop on one model."""

    contexts: tuple[ContextSamples, ...]
    decode: BenchmarkAppReport
    prefill: BenchmarkAppReport


class MeanStd(Frozen):
    """Mean and standard deviation, as OpenVINO GenAI computes them."""

    mean: float
    std: float


class GenAiSamples(Frozen):
    """What OpenVINO GenAI reports of its own generation (perf_metrics), over all repetitions."""

    prompt_tokens: int
    generated_tokens: int
    """In one repetition."""
    load_ms: float
    time_to_first_token_ms: MeanStd
    time_per_output_token_ms: MeanStd
    inference_per_output_token_ms: MeanStd
    throughput_tokens_per_s: MeanStd
    first_token_ms: tuple[float, ...]
    """Of every repetition."""
    token_ms: tuple[tuple[float, ...], ...]
    """Of every repetition: the time of every further token."""
    inference_ms: tuple[tuple[float, ...], ...]
    """Of every repetition: the model's share of the time of every token, the first one too."""
    attention_backend: AttentionBackend | None = None
    """That it took, as it printed; None if it did not say."""


Agreement = Literal["agrees", "too noisy", "disagrees", "not checked"]
"""What an interval of the ratio to the direct loop says; "not checked": there are too few rounds for an interval."""


class ContextLatency(Frozen):
    """Latency at one context, and whether the direct loop says the same."""

    context_tokens: int
    prefill_ms: Figure
    """Of the whole context, from an empty cache to the logits of its last token."""
    decode_ms_per_token: Figure
    ratio_to_direct_loop: Figure
    """benchmark_app over the direct loop, decoding."""
    agreement: Agreement
    prefill_ratio_to_direct_loop: Figure
    prefill_agreement: Agreement


class VariantLatency(Frozen):
    """One model's latency: figures over rounds, what they were made of, and the tool's reports."""

    contexts: tuple[ContextLatency, ...]
    rounds: tuple[tuple[ContextSamples, ...], ...]
    reports: tuple[BenchmarkAppReport, ...]
    """Of the last round: decoding, prefill. Those of the others are in the store."""


class GenAiLatency(Frozen):
    """Medians over repetitions, beside OpenVINO GenAI's own means and its raw figures."""

    time_to_first_token_ms: Figure
    time_per_output_token_ms: Figure
    samples: GenAiSamples
