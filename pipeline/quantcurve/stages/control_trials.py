"""The two ways of accuracy_search.py, each in a child process, with a journal of what was validated."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

from quantcurve.accuracy_search import Restored, Step
from quantcurve.engines.base import OpenVinoConfig
from quantcurve.engines.child import Child
from quantcurve.engines.judging import Judge, Judged
from quantcurve.journal import Journal

KEPT_MODELS = 2
"""Built models that stay on disk: the one that is chosen is among the last."""


class Restorable(Protocol):
    """A model in which layers can be restored."""

    @property
    def rungs(self) -> tuple[tuple[Step, ...], ...]:
        """See accuracy_search.Task."""
        ...

    @property
    def parts(self) -> tuple[Restored, ...]:
        """Steps that fit into one compilation of the quick way; none: there is no quick way."""
        ...

    def open_quick(self, child: Child, part: Restored, fixed: Restored = frozenset()) -> None:
        """Compile the quick way for the steps of a part, with others restored for good."""
        ...

    def judge_quick(self, child: Child, restored: Restored, items: Sequence[int]) -> Judged:
        """Values of the quick way."""
        ...

    def build(self, child: Child, restored: Restored, folder: Path) -> None:
        """Write the model as it is deployed."""
        ...


@dataclass
class Spent:
    """What validating has taken so far."""

    validation_s: float = 0.0
    compilation_s: float = 0.0
    sets: int = 0
    items: int = 0
    opened: int = 0


@dataclass
class _Journalled:
    """A trial that remembers: subclasses compute what the journal does not have."""

    model: Restorable
    judge: Judge
    config: OpenVinoConfig
    start: Callable[[], Child]
    """Starts the process that the model is run in; not before something is to be validated."""
    journal: Journal
    kind: str
    spent: Spent = field(default_factory=Spent)
    process: Child | None = None

    def values(self, restored: Restored, items: Sequence[int]) -> list[float]:
        """See accuracy_search.Trial."""
        key = f"{self.kind} {','.join(map(str, sorted(restored)))}"
        known = self.journal.values(key)
        if missing := [i for i in items if i not in known]:
            judged = self.compute(restored, missing)
            self.spent.validation_s += judged.seconds
            self.spent.sets += 1
            self.spent.items += len(missing)
            fresh = dict(zip(missing, judged.values, strict=True))
            self.journal.add(key, fresh)
            known = known | fresh
        return [known[i] for i in items]

    def compute(self, restored: Restored, items: Sequence[int]) -> Judged:
        """Values that are not known yet."""
        raise NotImplementedError

    def per_item_s(self) -> float:
        """Mean time of one item so far."""
        return self.spent.validation_s / self.spent.items if self.spent.items else 0.0

    def compiled(self, work: Callable[[], None]) -> None:
        """Count the time of making and compiling a model."""
        started = time.perf_counter()
        work()
        self.spent.compilation_s += time.perf_counter() - started
        self.spent.opened += 1

    @property
    def child(self) -> Child:
        """The process, with the validation function loaded."""
        from quantcurve.engines import control_child

        if self.process is None:
            self.process = self.start()
            self.process.call(control_child.judge_by, self.judge)
        return self.process


class _Compiled(NamedTuple):
    """What one compilation of the quick way can restore: all of `fixed`, and any of `part`."""

    part: Restored
    fixed: Restored

    def covers(self, restored: Restored) -> bool:
        """Whether it can restore just these."""
        return self.fixed <= restored <= self.part | self.fixed


@dataclass
class Quick(_Journalled):
    """Restores without compiling."""

    open: _Compiled | None = None

    def covers(self, restored: Restored) -> bool:
        """Whether one compilation can restore just these."""
        return any(way.covers(restored) for way in self._ways())

    def cost_s(self, items: int) -> float:
        """See accuracy_search.Trial."""
        return items * self.per_item_s()

    def compute(self, restored: Restored, items: Sequence[int]) -> Judged:
        """See _Journalled."""
        if self.open is None or not self.open.covers(restored):
            way = next(way for way in self._ways() if way.covers(restored))
            self.compiled(lambda: self.model.open_quick(self.child, *way))
            self.open = way
        return self.model.judge_quick(self.child, restored, items)

    def _ways(self) -> list[_Compiled]:
        """Each part among steps that are not taken, and among steps that are."""
        parts = self.model.parts
        everything = frozenset().union(*parts)
        return [_Compiled(part, fixed) for part in parts for fixed in (frozenset[int](), everything - part)]


@dataclass
class Built(_Journalled):
    """Makes the model that is deployed."""

    scratch: Path = Path()
    folders: dict[Restored, Path] = field(default_factory=dict)
    open: Restored | None = None

    def covers(self, restored: Restored) -> bool:
        """All."""
        return True

    def cost_s(self, items: int) -> float:
        """See accuracy_search.Trial."""
        per_model = self.spent.compilation_s / self.spent.opened if self.spent.opened else 0.0
        return per_model + items * self.per_item_s()

    def compute(self, restored: Restored, items: Sequence[int]) -> Judged:
        """See _Journalled."""
        from quantcurve.engines import control_child

        if self.open != restored:
            self.compiled(lambda: self._open(restored))
        return self.child.call(control_child.judge_open, items)

    def folder(self, restored: Restored) -> Path:
        """With the model, made if it is not there."""
        if restored not in self.folders:
            while len(self.folders) >= KEPT_MODELS:
                shutil.rmtree(self.folders.pop(next(iter(self.folders))))
            folder = self.scratch / f"built-{time.monotonic_ns()}"
            folder.mkdir()
            self.model.build(self.child, restored, folder)
            self.folders[restored] = folder
        return self.folders[restored]

    def move(self, restored: Restored, target: Path) -> None:
        """Move a model's files into a folder that is there already."""
        for path in self.folder(restored).iterdir():
            path.rename(target / path.name)
        self.folders.pop(restored).rmdir()
        self.open = None

    def _open(self, restored: Restored) -> None:
        from quantcurve.engines import control_child

        self.open = None
        self.child.call(control_child.close)  # before another model is made beside it
        folder = self.folder(restored)
        self.child.call(control_child.open_folder, folder, self.config)
        self.open = restored
