"""A fabricated run with every kind of variant in it; figures are made up, but belong together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from quantcurve.estimates import Estimate, Figure, Missing
from quantcurve.records import (
    EngineIdentity,
    Fallback,
    LlamaCppEffective,
    MachineFacts,
    ModelFile,
    Provenance,
    SpeedSamples,
    TensorTypeShare,
    TextResult,
)
from quantcurve.results import (
    Divergence,
    Extreme,
    ModelFigures,
    ReferenceResult,
    RunResult,
    ScreenVerdict,
    Slice,
    Speed,
    VariantResult,
)

WEIGHTS = 134_000_000
DECODE_TOKENS = 32
CONFIG = LlamaCppEffective(
    device="cpu",
    threads=2,
    context_tokens=2048,
    trained_context_tokens=2048,
    batch_tokens=2048,
    micro_batch_tokens=512,
    sequences=4,
    k_type="f16",
    v_type="f16",
    flash_attention="off",
)


def estimate(value: float, half: float = 0.0, unit: str = "1") -> Estimate:
    return Estimate(value=value, low=value - half, high=value + half, n=40, unit=unit, method="fabricated")


def make_file(
    size_bytes: int, bits_per_weight: float = 4.5, fallbacks: Sequence[Fallback] = (), type_name: str = "q4_K"
) -> ModelFile:
    types = (TensorTypeShare(type=type_name, tensors=210, weights=WEIGHTS, share=1.0),)
    return ModelFile(
        content_hash="0" * 64,
        size_bytes=size_bytes,
        weights=WEIGHTS,
        bits_per_weight=bits_per_weight,
        types=types,
        fallbacks=tuple(fallbacks),
    )


def make_model_figures(perplexity: Figure) -> ModelFigures:
    return ModelFigures(
        perplexity=perplexity,
        bits_per_byte=estimate(0.9, 0.01),
        entropy_nats=estimate(2.4, 0.02),
        logit_norm=estimate(1800, 10),
        margin_logits=estimate(2.1, 0.02),
    )


def make_divergence(
    kl: Estimate, ratio: Estimate, top1: Estimate, kl_p99: Figure | None = None, text: str = "wiki"
) -> Divergence:
    spot = estimate(kl.value, 0.1 * kl.value)
    return Divergence(
        ln_perplexity_ratio=estimate(ratio.value - 1, ratio.high - ratio.value),
        perplexity_ratio=ratio,
        kl_mean=kl,
        kl_median=spot,
        kl_p90=spot,
        kl_p95=spot,
        kl_p99=estimate(8 * kl.value, kl.value) if kl_p99 is None else kl_p99,
        kl_p999=spot,
        kl_max=Extreme(value=40 * kl.value, unit="nats", text=text, window=3, position=17),
        probability_change_mean=estimate(-0.001, 0.0005),
        probability_change_rms=estimate(0.03, 0.001),
        top1_agreement=top1,
        top_k_overlap=estimate(0.9, 0.01),
        top_k=10,
    )


def make_slice(
    kl: Estimate,
    ratio: Estimate | None = None,
    top1: Estimate | None = None,
    kl_p99: Figure | None = None,
    text: str = "all",
) -> Slice:
    ratio = estimate(1 + kl.value / 2, 0.001) if ratio is None else ratio
    top1 = estimate(1 / (1 + kl.value), 0.004) if top1 is None else top1
    model = make_model_figures(estimate(18 * ratio.value, 0.4))
    return Slice(
        text=text, windows=40, tokens=10_240, model=model, divergence=make_divergence(kl, ratio, top1, kl_p99, text)
    )


def make_speed(
    decode_s: Sequence[float], prefill_tokens_per_s: float = 300.0, first_token_s: float = 0.4, memory_mib: int = 300
) -> Speed:
    """Intervals are the extremes, as the sign test has them for few rounds."""
    rates = sorted(DECODE_TOKENS / s for s in decode_s)
    decode = Estimate(
        value=rates[len(rates) // 2],
        low=rates[0],
        high=rates[-1],
        level=0.9375,
        n=len(rates),
        unit="tokens/s",
        method="fabricated",
    )
    return Speed(
        prefill_tokens_per_s=estimate(prefill_tokens_per_s, 10),
        decode_tokens_per_s=decode,
        time_to_first_token_s=estimate(first_token_s, 0.01),
        load_time_s=estimate(0.1, 0.01),
        peak_memory_bytes=memory_mib * 2**20,
        samples=SpeedSamples(
            prefill_s=tuple(512 / prefill_tokens_per_s for _ in decode_s),
            decode_s=tuple(decode_s),
            first_token_s=tuple(first_token_s for _ in decode_s),
            load_s=(0.1,),
        ),
    )


def rounds(tokens_per_s: float, jitter: float = 0.002) -> tuple[float, ...]:
    """Five rounds' seconds around one speed; different speeds are disturbed in different rounds."""
    turn = round(10 * tokens_per_s) % 5
    steps = (0, 1, -1, 2, -2)
    return tuple(DECODE_TOKENS / tokens_per_s * (1 + jitter * k) for k in steps[turn:] + steps[:turn])


class Made(NamedTuple):
    """What a test says of a variant; the rest is made up."""

    name: str
    kl: float
    size_mib: float
    decode_tokens_per_s: float | None = 40.0
    kl_half: float = 0.0005
    decision: Literal["keep", "suspect", "at_line", "discard"] = "keep"
    tied_with: tuple[str, ...] = ()
    on_front: bool = False
    fallbacks: tuple[Fallback, ...] = ()
    ratio: Estimate | None = None
    top1: Estimate | None = None
    kl_p99: Figure | None = None
    decode_s: tuple[float, ...] | None = None
    """Raw seconds instead of the speed."""
    first_token_s: float = 0.4
    memory_mib: int = 300


DEFAULT = (
    Made("Q8_0", 0.0006, 138.1, 33.0, kl_half=0.00002, on_front=True),
    Made("Q5_K_M", 0.0121, 99.9, 39.5, on_front=True, tied_with=("Q5_0",)),
    Made("Q5_0", 0.0124, 96.4, 41.0, on_front=True, tied_with=("Q5_K_M",)),
    Made(
        "Q4_K_M",
        0.0318,
        100.6,
        39.9,
        kl_half=0.0014,
        fallbacks=(
            *(
                Fallback(tensor=f"blk.{i}.ffn_up.weight", wanted="q4_K", got="q5_0", weights=700_000)
                for i in range(150)
            ),
            Fallback(tensor="blk.0.attn_v.weight", wanted="q6_K", got="q8_0", weights=860_000),
        ),
    ),
    Made("IQ4_NL", 0.0402, 87.0, 46.2, kl_half=0.002, decision="at_line", on_front=True),
    Made("Q3_K_S", 0.118, 84.2, 48.1, kl_half=0.006, decision="suspect", on_front=True),
)


def make_variant(made: Made, texts: Sequence[str] = ("wiki",)) -> VariantResult:
    overall = make_slice(estimate(made.kl, made.kl_half, "nats"), made.ratio, made.top1, made.kl_p99)
    decode_s = made.decode_s
    if decode_s is None and made.decode_tokens_per_s is not None:
        decode_s = rounds(made.decode_tokens_per_s)
    slices = tuple(
        make_slice(estimate(made.kl * (1 + k), made.kl_half, "nats"), text=text) for k, text in enumerate(texts)
    )
    speed: Speed | Missing = Missing(missing="not measured")
    if decode_s is not None:
        speed = make_speed(decode_s, 300.0, made.first_token_s, made.memory_mib)
    return VariantResult(
        name=made.name,
        status="measured",
        file=make_file(round(made.size_mib * 2**20), 8 * made.size_mib * 2**20 / WEIGHTS, made.fallbacks),
        verdict=ScreenVerdict(decision=made.decision, sentence=f"perplexity of {made.name} was screened"),
        overall=overall,
        slices=slices,
        on_front=made.on_front,
        tied_with=made.tied_with,
        speed=speed,
        scoring_config=CONFIG,
    )


def failed_variant(name: str = "Q2_K", failure: str = "llama.cpp died with signal 6") -> VariantResult:
    return VariantResult(name=name, status="failed", failure=failure, log=f"/tmp/quantcurve/{name}.log")


def make_reference(texts: Sequence[str] = ("wiki",), decode_s: Sequence[float] = rounds(18.0)) -> ReferenceResult:
    model = make_model_figures(estimate(18.3, 0.4))
    shares = (TensorTypeShare(type="F32", tensors=272, weights=WEIGHTS, share=1.0),)
    return ReferenceResult(
        name="F16",
        source="smollm2-135m.gguf",
        precision="F16",
        file=make_file(round(258.2 * 2**20), 16.2),
        provenance=Provenance(
            kind="native", source_types=shares, lattice_share=0.0, statement="The reference's weights are native."
        ),
        overall=Slice(text="all", windows=40, tokens=10_240, model=model),
        slices=tuple(Slice(text=text, windows=40, tokens=10_240, model=model) for text in texts),
        speed=make_speed(decode_s, 250.0, 0.5, 420),
    )


def make_run(
    made: Sequence[Made] = DEFAULT,
    failed: Sequence[VariantResult] = (),
    texts: Sequence[str] = ("wiki",),
    warnings: Sequence[str] = (),
    name: str = "smollm2-135m",
) -> RunResult:
    return RunResult(
        name=name,
        quantcurve_version="0.1.0",
        run_key="1" * 64,
        recipe_text="name: smollm2-135m\n",
        engine=EngineIdentity(name="llama.cpp", version="0.3.36", build="2" * 64, cpu_features="avx2 fma"),
        scoring_config=CONFIG,
        timing_config=CONFIG,
        machine=MachineFacts(
            system="Linux 6.1",
            processor="Intel(R) Xeon(R) CPU @ 2.60GHz",
            logical_cores=2,
            memory_bytes=8 * 2**30,
            cpu_features="avx2 fma",
        ),
        texts=tuple(
            TextResult(
                name=text,
                source=f"{text}.txt",
                content_hash="3" * 64,
                size_bytes=80_000,
                tokens=20_480,
                windows_available=60,
                windows_used=40,
            )
            for text in texts
        ),
        reference=make_reference(texts),
        variants=tuple(make_variant(m, texts) for m in made) + tuple(failed),
        warnings=tuple(warnings),
    )
