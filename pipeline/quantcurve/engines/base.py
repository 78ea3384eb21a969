"""What stages see of an engine: configurations, per-token scores, and the protocol of a loaded model."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from quantcurve.records import EffectiveConfig, Frozen, SpeedSamples, Workload

if TYPE_CHECKING:
    from quantcurve.generation import Answer, Group, Request
    from quantcurve.likelihood import Batch, Likelihood, Pair

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Tokens = NDArray[np.int32]

TOP_K = 10
"""Number of most likely tokens compared between reference and variant."""
CONTINUATIONS = 128
"""Whose likelihoods are computed together at most."""
CACHE_TYPES = ("f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl")
"""Types that llama.cpp keeps a KV cache in (common/arg.cpp, kv_cache_types), most precise first."""
FLOAT_CACHE_TYPES = CACHE_TYPES[:3]
"""The others are quantised: as V they need flash attention."""


class CacheTypes(Frozen):
    """ggml types of the KV cache, by their lower-case names (one of `CACHE_TYPES`)."""

    k: str = "f16"
    v: str = "f16"

    def label(self) -> str:
        """As a part of a variant's name; empty for F16."""
        if self.k == self.v:
            return "" if self.k == "f16" else f"kv-{self.k}"
        return "+".join(f"{side}-{kind}" for side, kind in (("k", self.k), ("v", self.v)) if kind != "f16")


class OpenVinoRuntime(Frozen):
    """How OpenVINO runs a variant; what is not given is left to the device."""

    device: str = Field("CPU", pattern=r"^[A-Z]+(\.\d+)?(:[A-Z.,\d]+)?$", description="CPU, GPU, GPU.1, NPU, AUTO")
    execution: Literal["performance", "accuracy"] = Field(
        "performance", description="accuracy: float32 throughout, no dynamic quantization"
    )
    inference_precision: Literal["f32", "f16", "bf16"] | None = None
    kv_cache: Literal["f32", "f16", "bf16", "u8", "i8", "u4", "i4"] | None = None
    dynamic_quantization_group: int | None = Field(
        None, ge=0, le=4096, description="activations that share a scale; 0: activations stay float"
    )
    attention: Literal["SDPA", "PA"] | None = Field(None, description="attention backend of OpenVINO GenAI")

    @model_validator(mode="after")
    def _one_mode(self) -> OpenVinoRuntime:
        given = (self.inference_precision, self.kv_cache, self.dynamic_quantization_group)
        if self.execution == "accuracy" and any(v is not None for v in given):
            raise PydanticCustomError(
                "accuracy", "execution: accuracy sets all precisions to float32, and devices ignore others beside it"
            )
        return self

    def without_generation(self) -> OpenVinoRuntime:
        """Without what only OpenVINO GenAI takes: nothing else that opens an IR can run another attention backend than
        the one in the graph, so it is no part of what determines scores and times."""
        return self.model_copy(update={"attention": None})

    def label(self) -> str:
        """As a part of a variant's name; empty for the CPU as it comes."""
        parts = (
            self.device * (self.device != "CPU"),
            self.execution * (self.execution != "performance"),
            self.inference_precision or "",
            f"kv-{self.kv_cache}" if self.kv_cache else "",
            "" if self.dynamic_quantization_group is None else f"dq{self.dynamic_quantization_group}",
            self.attention or "",
        )
        return "+".join(part for part in parts if part)


Runtime = CacheTypes | OpenVinoRuntime
"""What a variant sets in its engine beside its weights."""


class OpenVinoConfig(Frozen):
    """How OpenVINO opens a model; what it made of it is read back as `OpenVinoEffective`."""

    threads: int
    window_tokens: int
    """Longest sequence."""
    runtime: OpenVinoRuntime


class LlamaCppConfig(Frozen):
    """How llama.cpp opens a model; what it made of it is read back as `LlamaCppEffective`."""

    device: Literal["cpu", "gpu"] = "cpu"
    threads: int
    window_tokens: int
    """Longest sequence."""
    sequences: int = 1
    """Sequences decoded together in one batch."""
    batch_tokens: int = 2048
    micro_batch_tokens: int = 512
    k_type: str = "f16"
    v_type: str = "f16"
    flash_attention: Literal["auto", "on", "off"] = "auto"
    unified: bool = False
    """Whether sequences share one cache, of `window_tokens` and a batch, in place of one of `window_tokens` each."""

    def with_cache(self, cache: CacheTypes) -> LlamaCppConfig:
        """The same but for the KV cache's types."""
        return self.model_copy(update={"k_type": cache.k, "v_type": cache.v})

    def for_answers(self, batch: int, context_tokens: int) -> LlamaCppConfig:
        """To generate so many answers at a time, each with its prompt no longer than the context; one more sequence
        keeps what all prompts begin with."""
        return self.model_copy(update={"sequences": batch + 1, "window_tokens": context_tokens})

    def for_likelihoods(self, context_tokens: int) -> LlamaCppConfig:
        """For likelihoods of continuations, each with its context no longer than this."""
        return self.model_copy(update={"sequences": CONTINUATIONS, "window_tokens": context_tokens, "unified": True})

    def of(self, runtime: Runtime) -> EngineConfig:
        """The same length and threads for a variant of either engine."""
        if isinstance(runtime, CacheTypes):
            return self.with_cache(runtime)
        plain = runtime.without_generation()
        return OpenVinoConfig(threads=self.threads, window_tokens=self.window_tokens, runtime=plain)


EngineConfig = LlamaCppConfig | OpenVinoConfig


@dataclass(frozen=True)
class TokenScores:
    """Per-token scores of one model over W windows with T scored tokens each; all arrays are (W, T).

    The last two are there only for a model that was scored against a reference.
    """

    nll: Doubles
    """Negative log-likelihood of the true token, nats."""
    entropy: Floats
    """Entropy of the predicted distribution, nats."""
    logit_norm: Floats
    """Euclidean norm of the logits."""
    margin: Floats
    """Top-1 minus top-2 logit."""
    top1: Tokens
    """Most likely token (the first of equals)."""
    kl: Doubles | None = None
    """KL divergence from the reference's distribution to this one, nats."""
    overlap: Floats | None = None
    """Share of the reference's TOP_K most likely tokens that are among this model's."""

    def save(self, path: Path) -> None:
        """Write all arrays to one .npz file."""
        np.savez(path, **{f.name: v for f in fields(self) if (v := getattr(self, f.name)) is not None})

    @classmethod
    def load(cls, path: Path) -> TokenScores:
        """Read what `save` wrote."""
        with np.load(path) as archive:
            return cls(**{name: archive[name] for name in archive.files})

    @classmethod
    def concatenate(cls, parts: list[TokenScores]) -> TokenScores:
        """Join along windows."""
        present = [f.name for f in fields(cls) if getattr(parts[0], f.name) is not None]
        return cls(**{name: np.concatenate([getattr(p, name) for p in parts]) for name in present})

    def rows(self, part: slice | Tokens) -> TokenScores:
        """Some windows of it."""
        present = [f.name for f in fields(self) if getattr(self, f.name) is not None]
        return type(self)(**{name: getattr(self, name)[part] for name in present})


@dataclass(frozen=True)
class ReferenceScratch:
    """The reference's logits of one chunk of windows, in a scratch folder on disk that lives as long as the chunk."""

    folder: Path

    @property
    def logits(self) -> Path:
        """.npy file, (W, T, vocabulary) float32."""
        return self.folder / "logits.npy"

    @property
    def log_normaliser(self) -> Path:
        """.npy file, (W, T) float64: log of the sum of exponentials of the logits."""
        return self.folder / "log_normaliser.npy"

    @property
    def top_k(self) -> Path:
        """.npy file, (W, T, TOP_K) int32: ids of the most likely tokens."""
        return self.folder / "top_k.npy"


class LoadedModel(Protocol):
    """A model that an engine holds ready in its own process."""

    @property
    def effective_config(self) -> EffectiveConfig:
        """Configuration read back from the engine."""
        ...

    def score(
        self, windows: Tokens, reference: ReferenceScratch | None = None, keep: ReferenceScratch | None = None
    ) -> TokenScores:
        """Score the second half of every window.

        Args:
            windows: token ids, (W, window_tokens).
            reference: logits to compare with, of the same windows.
            keep: where to leave this model's own logits, for others to be compared with.
        """
        ...

    def generate(
        self, requests: Sequence[Request], batch: int, done: Collection[int] = ()
    ) -> Iterator[tuple[Group, list[Answer]]]:
        """Continue prompts, group by group (generation.schedule), so that those which are done can be kept.

        Args:
            requests: prompts, and when their answers end.
            batch: answers that are generated together; at most what the model was opened for.
            done: groups, by their places in the schedule, that are passed over.

        Raises:
            RecipeError: a prompt cannot be continued: it is empty, or too long with its answer.
            BackendError: the engine failed or died.
        """
        ...

    def log_likelihoods(
        self, pairs: Sequence[Pair], batch_tokens: int, done: Collection[int] = ()
    ) -> Iterator[tuple[Batch, list[Likelihood]]]:
        """How likely continuations are after their contexts, batch by batch (likelihood.schedule), so that those which
        are done can be kept.

        Args:
            pairs: contexts and continuations.
            batch_tokens: that go through the model together.
            done: batches, by their places in the schedule, that are passed over.

        Raises:
            RecipeError: a context or continuation is empty, or both are too long.
            BackendError: the engine failed or died.
        """
        ...

    def end_tokens(self) -> tuple[int, ...]:
        """Tokens that end an answer, as the model says."""
        ...

    def warm_up(self, workload: Workload) -> None:
        """Run the workload once, untimed (whole prompt, one decoded token)."""
        ...

    def time(self, workload: Workload) -> SpeedSamples:
        """One repetition of the workload: raw seconds, no averages; `load_s` is empty."""
        ...

    def resident_bytes(self) -> int:
        """Memory that the model's process holds now."""
        ...

    def peak_memory_bytes(self) -> int:
        """Largest memory that the model's process has held."""
        ...

    def close(self) -> None:
        """Free the model and end its process."""
        ...
