"""A model open in a child process, as the stages see it, whatever the engine."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from quantcurve import likelihood
from quantcurve.engines import memory
from quantcurve.engines.base import CONTINUATIONS, EngineConfig, ReferenceScratch, Tokens, TokenScores
from quantcurve.engines.child import Child
from quantcurve.generation import Answer, Group, Request, schedule
from quantcurve.likelihood import Batch, Likelihood, Pair
from quantcurve.records import EffectiveConfig, SpeedSamples, Workload

Config = TypeVar("Config", bound=EngineConfig)
Effective = TypeVar("Effective", bound=EffectiveConfig)


@dataclass(frozen=True)
class ChildFunctions(Generic[Config, Effective]):
    """What an engine does in the child: module-level functions, since they are pickled by reference."""

    open_model: Callable[[Path, Config], Effective]
    score: Callable[[Tokens, ReferenceScratch | None, ReferenceScratch | None], TokenScores]
    warm_up: Callable[[Workload], None]
    time_once: Callable[[Workload], SpeedSamples]
    time_load: Callable[[Path, Config], float]
    generate: Callable[[Sequence[Request], int], list[Answer]]
    log_likelihoods: Callable[[Batch], list[Likelihood]]
    end_tokens: Callable[[], tuple[int, ...]]


class ChildModel(Generic[Config, Effective]):
    """A model open in a child process; satisfies base.LoadedModel."""

    def __init__(
        self, functions: ChildFunctions[Config, Effective], path: Path, config: Config, label: str, log: Path
    ) -> None:
        """Start the process and open the model in it.

        Args:
            functions: of the engine.
            path: of the model, as the engine takes it.
            config: how it is opened.
            label: name of the model in errors.
            log: file for what the engine prints.

        Raises:
            ModelFileError: the engine cannot read the model.
            BackendError: the engine refused or died.
        """
        self._functions = functions
        self._path = path
        self._config = config
        self._child = Child(label, log)
        try:
            self._effective = self._child.call(functions.open_model, path, config)
        except BaseException:
            self._child.kill()
            raise

    @property
    def effective_config(self) -> Effective:
        """See base.LoadedModel."""
        return self._effective

    def score(
        self, windows: Tokens, reference: ReferenceScratch | None = None, keep: ReferenceScratch | None = None
    ) -> TokenScores:
        """See base.LoadedModel."""
        return self._child.call(self._functions.score, windows, reference, keep)

    def generate(
        self, requests: Sequence[Request], batch: int, done: Collection[int] = ()
    ) -> Iterator[tuple[Group, list[Answer]]]:
        """See base.LoadedModel."""
        for place, group in enumerate(schedule(requests, batch)):
            if place not in done:
                some = [requests[i] for i in group.places]
                yield group, self._child.call(self._functions.generate, some, group.shared)

    def log_likelihoods(
        self, pairs: Sequence[Pair], batch_tokens: int, done: Collection[int] = ()
    ) -> Iterator[tuple[Batch, list[Likelihood]]]:
        """See base.LoadedModel."""
        for place, batch in enumerate(likelihood.schedule(pairs, batch_tokens, CONTINUATIONS)):
            if place not in done:
                yield batch, self._child.call(self._functions.log_likelihoods, batch)

    def end_tokens(self) -> tuple[int, ...]:
        """See base.LoadedModel."""
        return self._child.call(self._functions.end_tokens)

    def warm_up(self, workload: Workload) -> None:
        """See base.LoadedModel."""
        self._child.call(self._functions.warm_up, workload)

    def time(self, workload: Workload) -> SpeedSamples:
        """See base.LoadedModel."""
        return self._child.call(self._functions.time_once, workload)

    def time_load(self) -> float:
        """Close the model, load it again, and give the seconds that took."""
        return self._child.call(self._functions.time_load, self._path, self._config)

    def resident_bytes(self) -> int:
        """See base.LoadedModel."""
        return self._child.call(memory.resident_bytes)

    def peak_memory_bytes(self) -> int:
        """See base.LoadedModel."""
        return self._child.call(memory.peak_memory_bytes)

    def close(self) -> None:
        """See base.LoadedModel."""
        self._child.close()
