"""A fabricated run of both lanes; times are made up, figures are made of them by the stages themselves."""

from __future__ import annotations

from collections.abc import Sequence

from factories import Made, make_run, make_variant
from quantcurve.latency_records import (
    BenchmarkAppReport,
    ContextSamples,
    GenAiLatency,
    GenAiSamples,
    LatencyRound,
    MeanStd,
    VariantLatency,
)
from quantcurve.recipe_openvino import FLOOR
from quantcurve.records import EngineIdentity, OpenVinoEffective
from quantcurve.results import RunResult, VariantResult
from quantcurve.stages import genai, latency

CONTEXTS = (8, 48)
DEVICE = "Intel(R) Xeon(R) CPU @ 2.60GHz"
GGUF = (Made("Q8_0", 0.001, 138, 33.0, on_front=True), Made("Q4_0", 0.1, 80, 50.0, on_front=True))


def make_config(device: str = DEVICE, threads: int = 2) -> OpenVinoEffective:
    return OpenVinoEffective(
        device=device,
        threads=threads,
        streams=1,
        execution_mode="PERFORMANCE",
        inference_precision="f32",
        key_cache_precision="u8",
        value_cache_precision="u8",
        dynamic_quantization_group=32,
        activations="quantised",
        attention_backend="SDPA",
        context_tokens=80,
        cache_bytes_per_token=1000.0,
    )


def make_latency(rounds: int, over_loop: float = 1.0) -> VariantLatency:
    """over_loop: time by benchmark_app over that by the direct loop."""
    nothing = BenchmarkAppReport(command=(), settings=(), json_text="{}")

    def samples(context: int, number: int) -> ContextSamples:
        loop = (context + 0.001 * number,)
        tool = (over_loop * loop[0],)
        return ContextSamples(
            context_tokens=context, prefill_ms=tool, decode_ms=tool, loop_prefill_ms=loop, loop_decode_ms=loop
        )

    return latency.summary(
        [
            LatencyRound(contexts=tuple(samples(c, r) for c in CONTEXTS), decode=nothing, prefill=nothing)
            for r in range(rounds)
        ]
    )


def make_genai(repetitions: int) -> GenAiLatency:
    spot = MeanStd(mean=41.5, std=0.5)
    return genai.summary(
        GenAiSamples(
            prompt_tokens=24,
            generated_tokens=3,
            load_ms=100.0,
            time_to_first_token_ms=spot,
            time_per_output_token_ms=spot,
            inference_per_output_token_ms=spot,
            throughput_tokens_per_s=MeanStd(mean=24.14, std=0.53),
            first_token_ms=(200.0,) * repetitions,
            token_ms=((41.0, 42.0),) * repetitions,
            inference_ms=((40.0, 41.0),) * repetitions,
        )
    )


def make_lane_variant(made: Made, rounds: int = 5, repetitions: int = 5) -> VariantResult:
    return make_variant(made).model_copy(
        update={
            "engine": "OpenVINO",
            "scoring_config": make_config(),
            "latency": make_latency(rounds),
            "genai": make_genai(repetitions),
        }
    )


def make_lane_run(
    rounds: int = 5, repetitions: int = 5, floor_kl: float = 1e-8, gguf: Sequence[Made] = GGUF
) -> RunResult:
    """Variants of both lanes and the engine floor."""
    lane = (Made(FLOOR, floor_kl, 520, 12.0, kl_half=floor_kl / 10), Made("OV-INT8", 0.004, 140, 30.0))
    run = make_run(gguf)
    return run.model_copy(
        update={
            "openvino": EngineIdentity(name="OpenVINO", version="2026.1", build="4" * 64, cpu_features="avx2"),
            "variants": (*run.variants, *(make_lane_variant(m, rounds, repetitions) for m in lane)),
        }
    )
