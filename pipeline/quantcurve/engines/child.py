"""The process boundary: engines run in a child process, so that an abort in native code is an error, not a crash.

A child (child_main.py) executes module-level functions that the parent names (pickled by reference) and sends back
what they return or raise. Standard output and error of the child, with everything llama.cpp prints, go to a log
file. One child holds at most one model (see `llamacpp_child.open_model`). A child that dies, hangs, or answers
nonsense is a BackendError; a child whose parent dies ends too.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, ParamSpec, TypeVar, cast

from quantcurve import disk
from quantcurve.engines import child_main
from quantcurve.engines.channel import Channel, GarbledError, HungError, Watch
from quantcurve.errors import BackendError

P = ParamSpec("P")
T = TypeVar("T")
CLOSE_GRACE_S = 5.0
KILL_GRACE_S = 30.0
"""A killed process that is stuck in the kernel (a dead network disk) is not waited for any longer."""
LAST_LINES = 20
LOG_FIX = "free some space there, or give another folder with --out"
MEMORY_WORDS = re.compile(
    r"bad_alloc|MemoryError|out of memory|cannot allocate|(?:failed|unable) to allocate|can't start new thread"
    r"|resource temporarily unavailable|alloc\w* (?:\S+ )?failed",
    re.I,
)
ILLEGAL_HINT = (
    "an instruction that this processor refuses: llama.cpp was built for another one, or by GCC 12 with AMX, whose "
    'tiles it leaves without a configuration; build it here: CMAKE_ARGS="-DCMAKE_CXX_FLAGS=-mno-amx-int8" pip install '
    "--force-reinstall --no-binary llama-cpp-python llama-cpp-python"
)
MEMORY_HINT = "free some memory, lower engine.batch_tokens in the recipe, or take smaller models"


class Child:
    """A running engine process; use as a context manager."""

    def __init__(self, label: str, log: Path) -> None:
        """Start the process.

        Args:
            label: what the process works on (a variant's name); appears in errors.
            log: file that gets everything the engine prints (appended).

        Raises:
            PrerequisiteError: the log cannot be written.
            BackendError: no process can be started.
        """
        self.label = label
        self.log = log
        with disk.errors_named(log.parent, LOG_FIX):
            log.parent.mkdir(parents=True, exist_ok=True)
            sink = log.open("ab")
        with sink:
            self._log_start = sink.tell()
            try:
                self._process = _start(label, sink)
            except OSError as error:
                raise BackendError(f"{label}: no process can be started ({error.strerror}); {MEMORY_HINT}") from error
        assert self._process.stdin and self._process.stdout
        try:
            watch = Watch(self._process.pid)
            self._channel = Channel(cast(BinaryIO, self._process.stdin), cast(BinaryIO, self._process.stdout), watch)
        except BaseException:
            self.kill()
            raise

    @property
    def pid(self) -> int:
        """Process id of the child."""
        return self._process.pid

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a module-level function in the child and return its result.

        Raises:
            BackendError: the process died (with exit code, signal and the end of its log), hung (see channel.Watch) or
                cannot be spoken to.
            Exception: whatever the function raised.
        """
        assert self._process.stdin
        doing = getattr(function, "__name__", str(function))
        if self._process.stdin.closed:
            raise self._death(doing)
        log_before = self._log_size()
        try:
            ok, value = self._channel.exchange(pickle.dumps((function, args, kwargs)))
        except HungError as hung:
            self.kill()
            raise BackendError(f"{self.label}: the engine hung in {doing}: {hung}; it was killed", self.log) from hung
        except GarbledError as garbled:
            self.kill()
            what = f"{self.label}: the engine's answer to {doing} cannot be read: {garbled}"
            raise BackendError(what, self.log) from garbled
        except (EOFError, ConnectionError) as error:
            raise self._death(doing) from error
        except BaseException:
            self.kill()
            raise
        if not ok:
            raise self._explained(value, doing, log_before)
        return cast(T, value)

    def close(self) -> None:
        """End the process: politely, then by force."""
        if self._process.poll() is None:
            assert self._process.stdin
            with contextlib.suppress(OSError):
                self._process.stdin.close()
            try:
                self._process.wait(CLOSE_GRACE_S)
            except subprocess.TimeoutExpired:
                self.kill()
        self._close_pipes()

    def kill(self) -> None:
        """End the process now."""
        if self._process.poll() is None:
            self._process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(KILL_GRACE_S)
        self._close_pipes()

    def __enter__(self) -> Child:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            self.kill()

    def log_since_start(self) -> str:
        """What the engine printed since this child was started."""
        return self._log_from(self._log_start)

    def _log_from(self, start: int) -> str:
        try:
            with self.log.open("rb") as source:
                source.seek(start)
                return source.read().decode("utf-8", "replace")
        except OSError as error:  # somebody removed it
            return f"({self.log.name}: {error.strerror})"

    def _log_size(self) -> int:
        with contextlib.suppress(OSError):
            return self.log.stat().st_size
        return self._log_start

    def _close_pipes(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def _death(self, doing: str) -> BackendError:
        try:
            code = self._process.wait(CLOSE_GRACE_S)
            how = _how(code)
        except subprocess.TimeoutExpired:
            self.kill()
            code, how = 0, "its pipe closed"
        self._close_pipes()
        lines = self.log_since_start().strip().splitlines()[-LAST_LINES:]
        tail = "\n    ".join(lines)
        return BackendError(
            f"{self.label}: the engine died in {doing} with {how}{_hint(code, tail)}; its last words:\n    {tail}",
            self.log,
        )

    def _explained(self, error: Exception, doing: str, log_before: int) -> Exception:
        """The error with the log; lack of memory is told as such, whatever the engine made of it."""
        if not isinstance(error, BackendError):
            return error
        if MEMORY_WORDS.search(f"{error.message}\n{self._log_from(log_before)}"):
            reason = error.message.removeprefix(f"{self.label}: ")
            return BackendError(f"{self.label}: out of memory in {doing}; {MEMORY_HINT}: {reason}", self.log)
        return error if error.log else type(error)(error.message, self.log)


def _start(label: str, sink: BinaryIO) -> subprocess.Popen[bytes]:
    main_thread = threading.current_thread() is threading.main_thread()
    started_by = child_main.MAIN if main_thread else child_main.OTHER
    return subprocess.Popen(
        # Unbuffered, or an abort loses what was printed last.
        [sys.executable, "-u", "-m", child_main.__name__, str(os.getpid()), started_by, label],
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=sink,
        start_new_session=True,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
    )


def _how(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    with contextlib.suppress(ValueError):  # real-time signals have no names
        return f"signal {-code} ({signal.Signals(-code).name})"
    return f"signal {-code} ({signal.strsignal(-code)})"


def _hint(code: int, last_words: str) -> str:
    if MEMORY_WORDS.search(last_words):
        return f" (out of memory: {MEMORY_HINT})"
    if code == -signal.SIGKILL:
        return f" (if nobody killed it, the kernel did for lack of memory, see dmesg: {MEMORY_HINT})"
    if code == -signal.SIGILL:
        return f" ({ILLEGAL_HINT})"
    if code == -signal.SIGBUS:
        return " (a mapped file could not be read or written: see whether its disk is full or broken)"
    return ""
