"""The one record of a run: every figure with its interval, everything that was done to get it.

`RunResult` is what `results.json` holds. A number that could not be had is a `Missing` with its reason,
never 0, infinity, NaN or null.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

SCHEMA_VERSION = 1


class Frozen(BaseModel):
    """Immutable record: unknown keys and non-finite numbers are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Estimate(Frozen):
    """A figure with its confidence interval."""

    value: float
    low: float
    high: float
    level: float = 0.95
    """Confidence level of [low, high]."""
    n: int
    """Number of independent units behind the interval (windows or repetitions, not tokens)."""
    unit: str
    method: str


class Missing(Frozen):
    """A figure that could not be had, and why."""

    missing: str


Figure = Estimate | Missing


class Extreme(Frozen):
    """The largest per-token value; no interval, since a maximum only grows with the sample."""

    value: float
    unit: str
    text: str
    window: int
    position: int
    """Index of the predicted token inside its window."""


class TensorTypeShare(Frozen):
    """How many tensors and weights of a file are stored in one type."""

    type: str
    tensors: int
    weights: int
    share: float
    """Fraction of all weights of the file, 0 to 1."""


class Fallback(Frozen):
    """A tensor that did not get the type its mixture asked for, as llama.cpp said while writing it."""

    tensor: str
    wanted: str
    got: str
    weights: int


class ModelFile(Frozen):
    """What a model file really is, read back from the file."""

    content_hash: str
    """SHA-256 of the whole file."""
    size_bytes: int
    weights: int
    """Number of parameters in all tensors."""
    bits_per_weight: float
    """8 x (bytes of all tensors) / weights, as llama.cpp counts it."""
    types: tuple[TensorTypeShare, ...]
    fallbacks: tuple[Fallback, ...] = ()

    @property
    def fallback_share(self) -> float:
        """Fraction of all weights that fell back to another type."""
        return sum(f.weights for f in self.fallbacks) / self.weights


class Provenance(Frozen):
    """Whether the reference's weights are native or were dequantised, seen from the weights themselves."""

    kind: Literal["native", "dequantised"]
    source_types: tuple[TensorTypeShare, ...]
    """Types of the file the reference was written from."""
    lattice_share: float
    """Fraction of the sampled blocks of weights that lie on a quantization lattice, 0 to 1."""
    statement: str
    """One sentence for the reader, shown on every result."""


class ModelFigures(Frozen):
    """Figures of one model by itself over scored tokens; logarithms are natural."""

    perplexity: Figure
    bits_per_byte: Figure
    entropy_nats: Figure
    logit_norm: Figure
    """Euclidean norm of the logit vector."""
    margin_logits: Figure
    """Top-1 minus top-2 logit."""


class Divergence(Frozen):
    """Figures of a variant against the reference, paired token by token."""

    ln_perplexity_ratio: Figure
    perplexity_ratio: Figure
    kl_mean: Figure
    kl_median: Figure
    kl_p90: Figure
    kl_p95: Figure
    kl_p99: Figure
    kl_p999: Figure
    kl_max: Extreme
    probability_change_mean: Figure
    """Mean of p(variant) - p(reference) of the true token."""
    probability_change_rms: Figure
    top1_agreement: Figure
    top_k_overlap: Figure
    """Mean share of the reference's k most likely tokens that are among the variant's k."""
    top_k: int


class Slice(Frozen):
    """Figures over one evaluation text, or over all of them (`text` is then "all")."""

    text: str
    windows: int
    tokens: int
    """Scored tokens."""
    model: ModelFigures
    divergence: Divergence | None = None


class Workload(Frozen):
    """What one repetition of the speed benchmark does (llama-bench's pp, tg and depth)."""

    prompt_tokens: int
    decode_tokens: int
    decode_context_tokens: int
    seed: int


class SpeedSamples(Frozen):
    """Raw seconds of every repetition, in the order they ran (round r of all variants before round r + 1)."""

    prefill_s: tuple[float, ...]
    decode_s: tuple[float, ...]
    first_token_s: tuple[float, ...]
    load_s: tuple[float, ...]


class Speed(Frozen):
    """Speed of one model on this machine with the recipe's workload."""

    prefill_tokens_per_s: Figure
    decode_tokens_per_s: Figure
    time_to_first_token_s: Figure
    load_time_s: Figure
    peak_memory_bytes: int
    """Peak resident memory of the process that held the model: weights, KV cache, compute buffers, runtime."""
    samples: SpeedSamples


Decision = Literal["keep", "suspect", "at_line", "discard"]


class ScreenVerdict(Frozen):
    """What the perplexity screen says of a variant."""

    decision: Decision
    """`at_line`: the interval contains the suspect or the discard line, so the data cannot tell; such a
    variant is kept."""
    sentence: str
    judged: Figure | None = None
    """The ln-perplexity ratio that was judged, with its interval."""


class ScreenEffort(Frozen):
    """What the screen decoded, over the reference and all variants that did not fail."""

    exhaustive: bool
    """Whether the recipe asked for every window."""
    tokens: int
    whole_tokens: int
    """What every model on every window would have been."""

    @property
    def saved_share(self) -> float:
        """Fraction of `whole_tokens` that early stopping left out."""
        return 1 - self.tokens / self.whole_tokens


class CacheFigures(Frozen):
    """What a variant's KV cache costs at one context length, and whether that adds to what its weights cost.

    All on the same windows, which are fewer than the screen's may be. "Alone" and "both" are against the reference
    with an F16 cache: the reference's weights with this cache, the variant's with an F16 cache, and with this one.
    """

    context_tokens: int
    windows: int
    k_type: str
    v_type: str
    kl_from_f16_cache: Figure
    """Mean KL divergence from the same weights with an F16 cache."""
    ln_perplexity_ratio_to_f16_cache: Figure
    kl_cache_alone: Figure
    kl_weights_alone: Figure
    kl_both: Figure
    ln_perplexity_ratio_cache_alone: Figure
    ln_perplexity_ratio_weights_alone: Figure
    ln_perplexity_ratio_both: Figure
    interaction_kl: Figure
    """Both - weights alone - cache alone: 0 if the losses add."""
    interaction_ln_perplexity_ratio: Figure


class VariantResult(Frozen):
    """Everything measured about one variant."""

    name: str
    engine: Literal["llama.cpp"] = "llama.cpp"
    status: Literal["measured", "failed"]
    failure: str | None = None
    log: str | None = None
    """Path of the engine's log, where it failed."""
    file: ModelFile | None = None
    tensor_types: tuple[tuple[str, str], ...] = ()
    """Name and type of every tensor that llama.cpp was told the type of, where the recipe has rules for some."""
    verdict: ScreenVerdict | None = None
    overall: Slice | None = None
    slices: tuple[Slice, ...] = ()
    speed: Speed | Missing = Missing(missing="not measured")
    scoring_config: EffectiveConfig | None = None
    timing_config: EffectiveConfig | None = None
    kv_cache: tuple[CacheFigures, ...] | Missing = ()
    """At the recipe's two context lengths; empty where the cache is F16."""
    on_front: bool = False
    dominated_by: tuple[str, ...] = ()
    tied_with: tuple[str, ...] = ()
    """Variants whose paired KL divergence cannot be told from this one's."""
    notes: tuple[str, ...] = ()


class ReferenceResult(Frozen):
    """The model that all variants are compared with."""

    name: str
    source: str
    precision: str
    file: ModelFile
    provenance: Provenance
    overall: Slice
    slices: tuple[Slice, ...]
    speed: Speed | Missing = Missing(missing="not measured")


class TextResult(Frozen):
    """One evaluation text as it was used."""

    name: str
    source: str
    content_hash: str
    size_bytes: int
    tokens: int
    windows_available: int
    windows_used: int


class ImatrixResult(Frozen):
    """The importance matrix behind variants that have one."""

    source: str
    """`computed`, or the name of the user's file."""
    content_hash: str
    tensors: int
    datasets: tuple[str, ...]
    windows: int
    window_tokens: int


class EngineIdentity(Frozen):
    """Which engine computed: part of every store key."""

    name: str
    version: str
    build: str
    """SHA-256 over the engine's shared libraries."""
    cpu_features: str


class EffectiveConfig(Frozen):
    """The engine's configuration as read back after opening a model."""

    device: str
    threads: int
    context_tokens: int
    batch_tokens: int
    micro_batch_tokens: int
    sequences: int
    k_type: str
    v_type: str
    flash_attention: str
    k_rotated: bool = False
    """Whether the build rotates K before it is stored (a Hadamard transform, where the type is quantised)."""
    v_rotated: bool = False
    cache_bytes: int = 0
    """Size of the whole KV cache, as llama.cpp says it (rounded to 0.01 MiB)."""
    trained_context_tokens: int
    """Longest context the model was trained for, as its file says."""


class MachineFacts(Frozen):
    """The machine that measured; part of the key of every speed figure."""

    system: str
    processor: str
    logical_cores: int
    memory_bytes: int
    cpu_features: str


class StageTime(Frozen):
    """Wall time of one stage; `cached` steps were read from the store."""

    stage: str
    seconds: float
    steps: int
    cached: int


class RunResult(Frozen):
    """One run: recipe, inputs, machine, figures."""

    schema_version: Literal[1] = 1
    name: str
    quantcurve_version: str
    run_key: str
    """Hash of everything that determines the figures."""
    recipe_text: str
    engine: EngineIdentity
    scoring_config: EffectiveConfig
    timing_config: EffectiveConfig | None = None
    workload: Workload | None = None
    machine: MachineFacts
    texts: tuple[TextResult, ...]
    screen: ScreenEffort | None = None
    imatrix: ImatrixResult | None = None
    reference: ReferenceResult
    variants: tuple[VariantResult, ...]
    warnings: tuple[str, ...] = ()
    stages: tuple[StageTime, ...] = ()
