"""What was measured, and with what: files, texts, engines, machines; no figures. results.py has those."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

REFERENCE = "reference"
"""The reference's name among models; no variant has it."""


class Frozen(BaseModel):
    """Immutable record: unknown keys and non-finite numbers are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class TensorTypeShare(Frozen):
    """How many tensors and weights of a file are stored in one type."""

    type: str
    tensors: int
    weights: int
    share: float
    """Fraction of all weights of the file, 0 to 1."""


class Fallback(Frozen):
    """A tensor that did not get the type that was asked for: as llama.cpp said while writing it, or as an IR shows."""

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
    decode_steps_s: tuple[tuple[float, ...], ...] = ()
    """Of every repetition its decoded tokens, in order; together a repetition's decode_s."""
    decode_energy_j: tuple[float, ...] = ()
    """Of the processor's packages while a repetition decoded, whatever else ran there."""
    no_energy: str = "energy was not measured"
    """Why there is none; empty where there is."""


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


class TokenizersResult(Frozen):
    """Tokenizers that agreed on everything that they were compared on."""

    lanes: tuple[str, ...]
    """The first is the truth."""
    strings: int
    """Texts and adversarial strings."""
    tokens: int
    """Of all of them, control tokens left as text."""


class EngineIdentity(Frozen):
    """Which engine computed: part of every store key."""

    name: str
    version: str
    build: str
    """SHA-256 over the engine's shared libraries."""
    cpu_features: str


class LlamaCppEffective(Frozen):
    """llama.cpp's configuration as read back after opening a model."""

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

    @property
    def cache_bytes_per_token(self) -> float:
        """Of the KV cache."""
        return self.cache_bytes / self.context_tokens


AttentionBackend = Literal["PA", "SDPA"]
"""Paged attention, or the operation of scaled dot-product attention."""
Activations = Literal["quantised", "partly quantised", "measured ranges", "float", "not applicable"]
"""How the activations of matrix products are run; partly: of some products only; measured ranges:
quantised by the graph itself, whatever the device is asked for; not applicable: no weights are
integers, and only their products take quantised activations."""


PLAIN_CACHE = frozenset({"f32", "f16", "bf16"})
"""Precisions of an OpenVINO KV cache that is not quantised."""


class OpenVinoEffective(Frozen):
    """OpenVINO's configuration as read back from the compiled model; what the device does not tell is None."""

    device: str
    """Full name of the device that executes."""
    threads: int | None
    streams: int | None
    execution_mode: str | None
    inference_precision: str | None
    key_cache_precision: str | None
    value_cache_precision: str | None
    dynamic_quantization_group: int | None
    """Activations that would share a scale; 0: none are quantised."""
    activations: Activations | None
    attention_backend: AttentionBackend | None
    """Of the operation in the graph, which is what is scored and timed; None: attention is of other operations."""
    context_tokens: int
    """Longest sequence that was asked of it."""
    cache_bytes_per_token: float | None
    """Of the KV cache at the read-back precisions, without scales."""

    @property
    def plain_cache(self) -> bool:
        """Whether the KV cache is known to hold floats."""
        return {self.key_cache_precision, self.value_cache_precision} <= PLAIN_CACHE


EffectiveConfig = LlamaCppEffective | OpenVinoEffective


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
