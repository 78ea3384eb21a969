"""Models kept open while memory lasts: the least recently used one is closed for the next."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Generic, Protocol, TypeVar

from quantcurve.machine import available_memory_bytes

RESERVE = 0.1
"""Fraction of the memory available at the start that is left alone."""


class Held(Protocol):
    """A model in a process of its own."""

    def resident_bytes(self) -> int:
        """Memory that the model's process holds now."""
        ...

    def close(self) -> None:
        """Free the model and end its process."""
        ...


M = TypeVar("M", bound=Held)


class ModelPool(Generic[M]):
    """Open models by name, as a context manager; at most as many as the measured memory allows."""

    def __init__(
        self,
        open_model: Callable[[str], M],
        needed_bytes: Callable[[str], int],
        available_bytes: Callable[[], int] = available_memory_bytes,
    ) -> None:
        """Nothing is opened yet.

        Args:
            open_model: opens one by name.
            needed_bytes: memory that one will need, before it was ever measured.
            available_bytes: memory that can be had now.
        """
        self._open = open_model
        self._needed = needed_bytes
        self._available = available_bytes
        self._reserve = RESERVE * available_bytes()
        self._models: OrderedDict[str, M] = OrderedDict()
        self._measured: dict[str, int] = {}

    def get(self, name: str) -> M:
        """The model, opened if it is not; others are closed first where memory is short.

        Raises:
            BackendError: it cannot be opened.
        """
        if name not in self._models:
            needed = self._measured.get(name, self._needed(name))
            while self._models and self._available() - needed < self._reserve:
                self.drop(next(iter(self._models)))
            self._models[name] = self._open(name)
        self._models.move_to_end(name)
        return self._models[name]

    def is_open(self, name: str) -> bool:
        """Whether `get` would not have to open it."""
        return name in self._models

    def drop(self, name: str) -> None:
        """Close a model, if it is open, and remember how large it had become."""
        model = self._models.pop(name, None)
        if model is not None:
            model.close()

    def note_size(self, name: str) -> None:
        """Measure an open model's memory for later decisions."""
        self._measured[name] = self._models[name].resident_bytes()

    def __enter__(self) -> ModelPool[M]:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        with ExitStack() as stack:  # goes on after a model that cannot be closed
            for name in reversed(self._models):
                stack.callback(self.drop, name)
