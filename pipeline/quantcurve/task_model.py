"""A model that answers many requests and keeps what is done: opened when it is needed, with the room that they need."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

from quantcurve import generation, likelihood
from quantcurve.answers_kept import Kept, key_of_batch, key_of_group
from quantcurve.engines.base import CONTINUATIONS, EngineConfig, LlamaCppConfig, Runtime
from quantcurve.engines.opening import Opened, open_model
from quantcurve.generation import Answer, Request
from quantcurve.likelihood import Likelihood, Pair
from quantcurve.records import EffectiveConfig, Frozen

T = TypeVar("T")
ROOM_STEP = 64
"""Contexts are opened in multiples of this."""


class TaskSettings(Frozen):
    """How a model is opened and asked; part of what determines its answers."""

    threads: int
    device: Literal["cpu", "gpu"] = "cpu"
    """Of llama.cpp."""
    runtime: Runtime
    batch: int
    """Answers that are generated together."""
    batch_tokens: int
    """That go through the model together for likelihoods."""
    flash_attention: Literal["auto", "on", "off"] = "auto"


class TaskModel:
    """A GGUF file or an IR's folder."""

    def __init__(self, path: Path, settings: TaskSettings, label: str, log: Path, kept: Kept | None = None) -> None:
        """Nothing is opened yet.

        Args:
            path: GGUF file, or folder with an IR.
            settings: how it is opened.
            label: name in errors.
            log: file for what the engine prints.
            kept: what is done, and where to add to it.
        """
        self.path = path
        self.settings = settings
        self.effective: EffectiveConfig | None = None
        """Of the last time that it was opened."""
        self._label, self._log = label, log
        self._kept = kept or Kept(None)
        self._held: dict[EngineConfig, _Held] | None = None
        """By configuration without its length; None: a model is closed after every call."""

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within the block a model stays open from one call to the next, one for answers and one for likelihoods where
        the engine opens them otherwise. One that has too little room gives way to one with twice as much."""
        self._held = {}
        try:
            yield
        finally:
            self._close_held()
            self._held = None

    def end_tokens(self) -> tuple[int, ...]:
        """Tokens that end an answer, as the model says.

        Raises:
            ModelFileError: the model cannot be opened.
            BackendError: the engine failed or died.
        """
        with self._open(self._answering(ROOM_STEP, 1)) as model:
            return model.end_tokens()

    def answers(self, requests: Sequence[Request], moved: Callable[[int], object] = int) -> list[Answer]:
        """Answers in the order of the requests.

        Args:
            requests: prompts, and when their answers end.
            moved: is called with the number of answers that have come.

        Raises:
            RecipeError: a prompt cannot be continued.
            BackendError: the engine failed or died; what was done is kept.
        """
        batch, kept = self.settings.batch, self._kept
        groups = generation.schedule(requests, batch)
        parts = [_Part(key_of_group([requests[i] for i in g.places], g.shared), g.places) for g in groups]

        def rest(done: Collection[int]) -> Iterator[list[Answer]]:
            room = max(len(request.prompt) + request.max_tokens for request in requests)
            with self._open(self._answering(room, batch)) as model:
                for _, some in model.generate(requests, batch, done):
                    yield some

        return _gathered(parts, kept.answers, kept.add_answers, rest, moved)

    def likelihoods(self, pairs: Sequence[Pair], moved: Callable[[int], object] = int) -> list[Likelihood]:
        """Likelihoods in the order of the pairs; arguments and errors as `answers`."""
        size, kept = self.settings.batch_tokens, self._kept
        batches = likelihood.schedule(pairs, size, CONTINUATIONS)
        parts = [_Part(key_of_batch(batch), batch.places) for batch in batches]

        def rest(done: Collection[int]) -> Iterator[list[Likelihood]]:
            with self._open(self._judging(max(pair.fed for pair in pairs))) as model:
                for _, some in model.log_likelihoods(pairs, size, done):
                    yield some

        return _gathered(parts, kept.likelihoods, kept.add_likelihoods, rest, moved)

    @contextmanager
    def _open(self, config: EngineConfig) -> Iterator[Opened]:
        if self._held is None:
            with closing(self._opened(config)) as model:
                yield model
            return
        try:
            yield self._from_held(self._held, config)
        except BaseException:
            self._close_held()
            raise

    def _from_held(self, held: dict[EngineConfig, _Held], config: EngineConfig) -> Opened:
        kind, room = config.model_copy(update={"window_tokens": 0}), config.window_tokens
        if (known := held.get(kind)) is None or known.room < room:
            if known:
                del held[kind]
                known.model.close()
            room = ROOM_STEP * 2 ** math.ceil(math.log2(room / ROOM_STEP))
            held[kind] = _Held(self._opened(config.model_copy(update={"window_tokens": room})), room)
        return held[kind].model

    def _close_held(self) -> None:
        for one in (self._held or {}).values():
            one.model.close()
        if self._held:
            self._held.clear()

    def _opened(self, config: EngineConfig) -> Opened:
        model = open_model(self.path, config, self._label, self._log)
        self.effective = model.effective_config
        return model

    def _answering(self, room: int, batch: int) -> EngineConfig:
        config = self._config(room)
        return config.for_answers(batch, config.window_tokens) if isinstance(config, LlamaCppConfig) else config

    def _judging(self, room: int) -> EngineConfig:
        config = self._config(room)
        return config.for_likelihoods(config.window_tokens) if isinstance(config, LlamaCppConfig) else config

    def _config(self, room: int) -> EngineConfig:
        settings = self.settings
        plain = LlamaCppConfig(
            device=settings.device,
            threads=settings.threads,
            window_tokens=math.ceil(room / ROOM_STEP) * ROOM_STEP,
            flash_attention=settings.flash_attention,
        )
        return plain.of(settings.runtime)


class _Held(NamedTuple):
    """A model that stays open."""

    model: Opened
    room: int
    """Tokens of its longest sequence."""


class _Part(NamedTuple):
    """What goes through the model together."""

    key: str
    places: Sequence[int]
    """Among all requests."""


def _gathered(
    parts: Sequence[_Part],
    read: Callable[[str], list[T] | None],
    add: Callable[[str, list[T]], None],
    rest: Callable[[Collection[int]], Iterator[list[T]]],
    moved: Callable[[int], object],
) -> list[T]:
    """All results in the order of the requests: those that are kept, and then the rest, which is kept as it comes.

    Args:
        parts: in the order of the schedule.
        read: what is kept of a part.
        add: keeps a part.
        rest: computes all parts but those at these places.
        moved: is told how many results have come.
    """
    found: dict[int, T] = {}

    def put(part: _Part, some: list[T]) -> None:
        found.update(zip(part.places, some, strict=True))
        moved(len(some))

    known = {place: some for place, part in enumerate(parts) if (some := read(part.key)) is not None}
    for place, some in known.items():
        put(parts[place], some)
    if left := [part for place, part in enumerate(parts) if place not in known]:
        for part, some in zip(left, rest(known.keys()), strict=True):
            add(part.key, some)
            put(part, some)
    return [found[place] for place in range(len(found))]
