"""The process boundary: engines run in a child process, so that an abort in native code is an error, not a crash.

A child is `python -m quantcurve.engines.child`. It executes module-level functions that the parent names
(pickled by reference) and sends back what they return or raise. Standard output and error of the child, with
everything llama.cpp prints, go to a log file. One child holds at most one model (see `llamacpp.open_model`).
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, ParamSpec, TypeVar, cast

from quantcurve.errors import BackendError

P = ParamSpec("P")
T = TypeVar("T")
CLOSE_GRACE_S = 5.0


class Child:
    """A running engine process; use as a context manager."""

    def __init__(self, label: str, log: Path) -> None:
        """Start the process.

        Args:
            label: what the process works on (a variant's name); appears in errors.
            log: file that gets everything the engine prints (appended).
        """
        self.label = label
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as sink:
            self._log_start = sink.tell()
            self._process = subprocess.Popen(
                [sys.executable, "-u", "-m", __name__],  # unbuffered, or an abort loses what was printed last
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=sink,
                start_new_session=True,
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
            )

    @property
    def pid(self) -> int:
        """Process id of the child."""
        return self._process.pid

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a module-level function in the child and return its result.

        Raises:
            BackendError: the process died (with exit code, signal and the end of its log) or cannot be spoken to.
            Exception: whatever the function raised.
        """
        assert self._process.stdin and self._process.stdout
        doing = getattr(function, "__name__", str(function))
        if self._process.stdin.closed:
            raise self._death(doing)
        try:
            pickle.dump((function, args, kwargs), self._process.stdin)
            self._process.stdin.flush()
            ok, value = pickle.load(self._process.stdout)
        except (EOFError, BrokenPipeError, ConnectionError, pickle.UnpicklingError) as error:
            raise self._death(doing) from error
        except BaseException:
            self.kill()
            raise
        if not ok:
            raise self._with_log(value)
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
            self._process.wait()
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
        with self.log.open("rb") as source:
            source.seek(self._log_start)
            return source.read().decode("utf-8", "replace")

    def _close_pipes(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def _death(self, doing: str) -> BackendError:
        try:
            code = self._process.wait(CLOSE_GRACE_S)
        except subprocess.TimeoutExpired:
            self.kill()
            code = self._process.returncode
        self._close_pipes()
        how = f"exit code {code}"
        if code < 0:
            how = f"signal {-code} ({signal.strsignal(-code)})"
            with contextlib.suppress(ValueError):  # real-time signals have no names
                how = f"signal {-code} ({signal.Signals(-code).name})"
        tail = "\n    ".join(self.log_since_start().strip().splitlines()[-20:])
        return BackendError(
            f"{self.label}: the engine died in {doing} with {how}; its last words:\n    {tail}", self.log
        )

    def _with_log(self, error: Exception) -> Exception:
        if isinstance(error, BackendError) and error.log is None:
            return type(error)(error.message, self.log)
        return error


def _die_with_parent() -> None:
    """On Linux, ask the kernel to kill this process when the parent dies, also in the middle of native code."""
    if sys.platform == "linux":
        import ctypes

        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def _sendable(error: BaseException) -> Exception:
    """The error itself if it survives pickling, else a BackendError with its traceback."""
    import traceback

    if isinstance(error, Exception):
        try:
            if type(pickle.loads(pickle.dumps(error))) is type(error):
                return error
        except Exception as unpicklable:
            sys.stderr.write(f"cannot send {type(error).__name__}: {unpicklable}\n")
    return BackendError("".join(traceback.format_exception(error)))


def _serve(requests: BinaryIO, replies: BinaryIO) -> None:
    while True:
        try:
            function, args, kwargs = cast(tuple[Callable[..., Any], Any, Any], pickle.load(requests))
        except EOFError:
            return
        try:
            reply = (True, function(*args, **kwargs))
        except BaseException as error:
            import traceback

            traceback.print_exc()
            reply = (False, _sendable(error))
        pickle.dump(reply, replies, protocol=pickle.HIGHEST_PROTOCOL)
        replies.flush()


def main() -> None:
    """Serve requests from standard input until it closes; everything printed goes to standard error."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _die_with_parent()
    requests = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    with contextlib.suppress(BrokenPipeError):
        _serve(requests, replies)
    sys.stderr.flush()
    # Native threads may still be parked in the engine; skip interpreter teardown.
    assert threading.current_thread() is threading.main_thread()
    os._exit(0)


if __name__ == "__main__":
    main()
