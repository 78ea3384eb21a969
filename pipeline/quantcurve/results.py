"""The one record of a run: every figure with its interval, everything that was done to get it.

`RunResult` is what `results.json` holds. A number that could not be had is a `Missing` (estimates.py) with its
reason, never 0, infinity, NaN or null.
"""

from __future__ import annotations

from typing import Literal

from quantcurve.accuracy_records import ControlResult
from quantcurve.calibration import CalibrationResult
from quantcurve.estimates import Figure, Missing
from quantcurve.latency_records import GenAiLatency, VariantLatency
from quantcurve.records import (
    EffectiveConfig,
    EngineIdentity,
    Frozen,
    ImatrixResult,
    LlamaCppEffective,
    MachineFacts,
    ModelFile,
    Provenance,
    SpeedSamples,
    StageTime,
    TextResult,
    TokenizersResult,
    Workload,
)
from quantcurve.scorecard_records import Scorecard
from quantcurve.task_records import TaskResult, TaskResults

SCHEMA_VERSION = 1


class Extreme(Frozen):
    """The largest per-token value; no interval, since a maximum only grows with the sample."""

    value: float
    unit: str
    text: str
    window: int
    position: int
    """Index of the predicted token inside its window."""


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


class Speed(Frozen):
    """Speed of one model on this machine with the recipe's workload."""

    prefill_tokens_per_s: Figure
    decode_tokens_per_s: Figure
    time_to_first_token_s: Figure
    load_time_s: Figure
    peak_memory_bytes: int
    """Peak resident memory of the process that held the model: weights, KV cache, compute buffers, runtime."""
    samples: SpeedSamples
    decode_latency_p95_s: Figure = Missing(missing="single tokens were not timed")
    """Of one decoded token; median over repetitions (metrics/step_latency.py)."""
    decode_latency_p99_s: Figure = Missing(missing="single tokens were not timed")
    decode_energy_j_per_token: Figure = Missing(missing="energy was not measured")
    """Of the processor's packages, whatever else ran there."""


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


class LossSplit(Frozen):
    """Where a variant's mean KL divergence from the reference comes from; see stages/loss_split.py."""

    windows: int
    kl_deployed: Figure
    kl_weights: Figure
    """Of the same weights, run exactly."""
    kl_activations: Figure
    """What less is lost with float32 arithmetic."""
    kl_cache: Figure
    """What less is lost with a cache that is not quantised."""
    kl_interaction: Figure
    """Deployed less the three: 0 if they add."""


class VariantResult(Frozen):
    """Everything measured about one variant."""

    name: str
    engine: Literal["llama.cpp", "OpenVINO"] = "llama.cpp"
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
    weights_from: Literal["reference", "folder"] = "reference"
    """Of the engine floor: whether its weights are those of the reference's file, or those of the Hugging Face folder
    that the reference was converted from, unrounded."""
    loss_split: LossSplit | Missing | None = None
    """Of an OpenVINO variant."""
    latency: VariantLatency | Missing | None = None
    """Of an OpenVINO variant, by benchmark_app."""
    genai: GenAiLatency | Missing | None = None
    """Of an OpenVINO variant's folder, by OpenVINO GenAI."""
    tasks: TaskResults = ()
    """Of lm-evaluation-harness."""
    scorecard: Scorecard | None = None
    """What the recipe's contract says of it; None where there is no contract."""
    accuracy_control: ControlResult | None = None
    """What was restored, where the recipe asks for that."""
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
    tasks: tuple[TaskResult, ...] = ()
    """Of lm-evaluation-harness, with the noise floor of each."""


class RunResult(Frozen):
    """One run: recipe, inputs, machine, figures."""

    schema_version: Literal[1] = 1
    name: str
    quantcurve_version: str
    run_key: str
    """Hash of everything that determines the figures."""
    recipe_text: str
    engine: EngineIdentity
    """llama.cpp."""
    openvino: EngineIdentity | None = None
    """OpenVINO, where the recipe has variants for it."""
    scoring_config: LlamaCppEffective
    """Of the reference."""
    timing_config: LlamaCppEffective | None = None
    workload: Workload | None = None
    machine: MachineFacts
    texts: tuple[TextResult, ...]
    screen: ScreenEffort | None = None
    calibration: CalibrationResult | None = None
    """Of variants that are calibrated."""
    imatrix: ImatrixResult | None = None
    tokenizers: TokenizersResult | None = None
    """That agreed, where there are several lanes."""
    reference: ReferenceResult
    variants: tuple[VariantResult, ...]
    warnings: tuple[str, ...] = ()
    stages: tuple[StageTime, ...] = ()
