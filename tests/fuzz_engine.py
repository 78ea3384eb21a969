"""What must hold for a model file whose header is not true: the engine's steps on it, as the stages take them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import numpy as np
import psutil

from fuzzing import Outcome, Violation, memory_limit, refused
from quantcurve.engines import llamacpp, llamacpp_files, provenance
from quantcurve.engines.base import LlamaCppConfig
from quantcurve.engines.child import Child
from quantcurve.engines.llamacpp import LlamaCppModel
from quantcurve.recipe import Model
from quantcurve.recipe_gguf import GgufVariant
from quantcurve.records import Workload
from quantcurve.session import Session
from quantcurve.stages import resolve
from quantcurve.store import Store

CASE_LIMIT_S = 20.0
ENGINE_MEMORY_BYTES = 4 * 2**30
"""What an engine may allocate for a file of 50 KB, before it is refused more."""
CASES_PER_CHILD = 300
CONFIG = LlamaCppConfig(threads=1, window_tokens=32)
WORKLOAD = Workload(prompt_tokens=8, decode_tokens=2, decode_context_tokens=4, seed=0)
TEXT = "some text of a window " * 20
T = TypeVar("T")


class EngineCheck:
    """Takes files through the engine, in one child as long as it lives; use as a context manager."""

    def __init__(self, folder: Path) -> None:
        """Everything is written under a folder that exists; the file of a case is `path`."""
        self.path = folder / "case.gguf"
        self._folder = folder
        self._log = folder / "engine.log"
        self._child: Child | None = None
        self._cases = 0
        self._hung: list[str] = []
        self._ids = np.zeros(0, np.int32)
        store = Store(folder / "cache")
        self._session = Session(
            store=store,
            engine=llamacpp.identity(store.hash_file),
            threads=1,
            device="cpu",
            logs=folder / "logs",
            progress=lambda event: None,
        )

    def __enter__(self) -> EngineCheck:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._end()

    def check(self, raw: bytes, deep: bool) -> Outcome:
        """Read the header, tokenize, look for lattices; `deep`: also open, score, time and resolve the model."""
        self.path.write_bytes(raw)
        self._cases += 1
        if self._cases % CASES_PER_CHILD == 0:
            self._end()
        steps: list[tuple[str, Callable[[], object]]] = [("engine", self._engine)]
        if deep:
            steps += [("open and score", self._open_and_score), ("resolve", self._resolve)]
        outcome = Outcome("accepted")
        for step, run in steps:
            found = self._watched(step, run)
            if found.violation or outcome.kind == "accepted":
                outcome = found
            if found.violation:
                break
        return outcome

    def _watched(self, step: str, run: Callable[[], object]) -> Outcome:
        """Run a step with a limit of time (children that are still at work then are killed) and of memory."""
        self._hung.clear()
        watch = threading.Timer(CASE_LIMIT_S, self._kill_all, (step,))
        watch.daemon = True
        watch.start()
        try:
            with memory_limit(ENGINE_MEMORY_BYTES):
                run()
            outcome = Outcome("accepted")
        except Exception as error:
            outcome = refused(step, error, (str(self.path), f"model source {str(self.path)!r}: "))
            if any(sign in str(error) for sign in ("bad_alloc", "failed to allocate", "unable to allocate")):
                outcome = outcome._replace(violation=Violation(step, f"more than the memory: {error!s:.500}"))
        finally:
            watch.cancel()
        if self._hung:
            outcome = Outcome("hang", Violation(step, f"no answer in {CASE_LIMIT_S:g} s"))
        if self._child and not psutil.pid_exists(self._child.pid):
            self._end()
        return outcome

    def _kill_all(self, step: str) -> None:
        self._hung.append(step)
        for process in psutil.Process().children():
            process.kill()

    def _end(self) -> None:
        if self._child:
            self._child.close()
            self._child = None
            self._log.unlink(missing_ok=True)

    def _engine(self) -> None:
        if self._child is None:
            self._child = Child(str(self.path), self._log)
        self._ids = np.zeros(0, np.int32)
        header = self._child.call(llamacpp_files.header, self.path)
        header.type_shares()
        self._ids = self._child.call(llamacpp_files.tokenize, self.path, ["loads?", TEXT])[1]
        self._child.call(provenance.lattice_share, header, self.path)

    def _open_and_score(self) -> None:
        model = LlamaCppModel(self.path, CONFIG, str(self.path), self._folder / "open.log")
        try:
            windows = np.resize(self._ids, (2, CONFIG.window_tokens)).astype(np.int32)
            scored = model.score(windows)
            assert np.isfinite(scored.nll).all(), "scores that are not finite"
            model.warm_up(WORKLOAD)
            model.time(WORKLOAD)
        finally:
            model.close()
            (self._folder / "open.log").unlink(missing_ok=True)

    def _resolve(self) -> None:
        reference = resolve.resolve(Model(source=str(self.path)), self._folder, self._session)
        reference.step.model_dump_json()
        for made in resolve.quantize(reference, (GgufVariant(type="Q4_0"),), None, self._session):
            assert made.name == "Q4_0"
