"""What every stage of one run shares: store, engine, machine settings, progress, and the account of steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, TypeVar

from pydantic import BaseModel

from quantcurve.engines.base import CacheTypes, LlamaCppConfig, Runtime
from quantcurve.recipe import EngineSettings
from quantcurve.records import EngineIdentity, StageTime
from quantcurve.store import Artifact, Store

Result = TypeVar("Result", bound=BaseModel)
STAGES = (
    *("resolve", "tokenize", "calibrate", "export", "tokenizer_gate", "imatrix", "quantize", "w8a8", "compress"),
    *(
        "accuracy_control",
        "screen",
        "kv_cache",
        "loss_split",
        "embed",
        "evaluate",
        "benchmark",
        "scorecard",
        "slices",
        "latency",
        "genai",
        "frontier",
    ),
)


class Event(NamedTuple):
    """Progress of one stage."""

    stage: str
    done: float
    total: float
    what: str
    """What is being worked on."""


class Progress(Protocol):
    """Gets an event whenever a stage has moved."""

    def __call__(self, event: Event) -> None:
        """Show it."""


@dataclass
class _Account:
    seconds: float = 0.0
    steps: int = 0
    cached: int = 0


@dataclass
class Session:
    """One run's surroundings; nothing in here changes a figure but what is in the keys (engine, threads, device)."""

    store: Store
    engine: EngineIdentity
    """llama.cpp."""
    threads: int
    device: Literal["cpu", "gpu"]
    logs: Path
    progress: Progress
    force: frozenset[str] = frozenset()
    openvino: EngineIdentity | None = None
    """OpenVINO, where the recipe has a lane for it."""
    _accounts: dict[str, _Account] = field(default_factory=dict)
    _inside_s: float = 0.0
    """Time of the timed blocks inside the one that runs."""

    def make(
        self, stage: str, inputs: BaseModel, kind: type[Result], make: Callable[[Path], Result]
    ) -> tuple[Result, Artifact]:
        """A step through the store (see Store.make), redone if the stage is forced, and counted."""
        result, artifact = self.store.make(stage, inputs, kind, make, force=stage in self.force)
        account = self._account(stage)
        account.steps += 1
        account.cached += artifact.cached
        return result, artifact

    def cached(self, stage: str, inputs: BaseModel) -> bool:
        """Whether `make` would only read."""
        return stage not in self.force and self.store.find(stage, inputs) is not None

    def peek(self, stage: str, inputs: BaseModel, kind: type[Result]) -> tuple[Result, Path] | None:
        """Result and folder that `make` would only read, or None; writes nothing."""
        return None if stage in self.force else self.store.peek(stage, inputs, kind)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Count the wall time of a block towards a stage, but for that of blocks inside it."""
        started, outer = time.perf_counter(), self._inside_s
        self._inside_s = 0.0
        try:
            yield
        finally:
            seconds = time.perf_counter() - started
            self._account(stage).seconds += seconds - self._inside_s
            self._inside_s = outer + seconds

    def stage_times(self) -> tuple[StageTime, ...]:
        """The account so far, in stage order."""
        return tuple(
            StageTime(stage=s, seconds=round(a.seconds, 3), steps=a.steps, cached=a.cached)
            for s in STAGES
            if (a := self._accounts.get(s))
        )

    def scoring_config(self, settings: EngineSettings, window_tokens: int) -> LlamaCppConfig:
        """How models are opened for scoring: as many windows in one batch as fit (llama-perplexity's n_seq)."""
        return LlamaCppConfig(
            device=self.device,
            threads=self.threads,
            window_tokens=window_tokens,
            sequences=max(1, settings.batch_tokens // window_tokens),
            batch_tokens=settings.batch_tokens,
            micro_batch_tokens=settings.micro_batch_tokens,
            flash_attention=settings.flash_attention,
        )

    def engine_of(self, runtime: Runtime) -> EngineIdentity:
        """The engine that runs a model so."""
        if isinstance(runtime, CacheTypes):
            return self.engine
        assert self.openvino
        return self.openvino

    def log(self, label: str) -> Path:
        """Log file of one model's engine."""
        return self.logs / f"{label}.log"

    def _account(self, stage: str) -> _Account:
        return self._accounts.setdefault(stage, _Account())
