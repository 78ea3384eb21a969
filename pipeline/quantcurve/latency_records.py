"""What OpenVINO's own tools measured, as they measured it: raw milliseconds, commands, reports; no statistics."""

from __future__ import annotations

from quantcurve.records import Frozen


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
