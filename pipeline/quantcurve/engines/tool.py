"""Runs a command-line tool as a child in a session of its own: it is killed with its parent, when it hangs, and when it
takes too long."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from quantcurve import disk
from quantcurve.engines.channel import LIMIT_VARIABLE, TICK_S, HungError, Watch
from quantcurve.engines.child import LOG_FIX
from quantcurve.engines.child_main import die_with_parent
from quantcurve.errors import BackendError

LAST_LINES = 15


def run(command: Sequence[str | Path], folder: Path, log: Path, limit_s: float, label: str) -> str:
    """What a tool prints, standard output and error.

    Args:
        command: the tool and its arguments.
        folder: working directory.
        log: file that gets everything the tool prints (appended); of this tool alone.
        limit_s: wall time after which it is killed, with all processes it started.
        label: what it works on; begins every message.

    Raises:
        BackendError: it cannot be started, failed, did nothing for too long (see channel.Watch) or took too long.
        PrerequisiteError: the log cannot be written.
    """
    name = Path(command[0]).name
    with disk.errors_named(log.parent, LOG_FIX):
        log.parent.mkdir(parents=True, exist_ok=True)
        sink = log.open("ab")
    with sink:
        start = sink.tell()
        try:
            process = subprocess.Popen(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                start_new_session=True,
                preexec_fn=partial(die_with_parent, os.getpid()),  # noqa: PLW1509 - the parent has one thread
            )
        except OSError as error:
            raise BackendError(f"{label}: {name} cannot be started: {error.strerror}") from error
        try:
            code = _wait(process, limit_s)
        except HungError as hung:
            raise BackendError(f"{label}: {name} hung: {hung}; it was killed{_words(log, start)}", log) from hung
        finally:
            _kill_session(process)
    if code:
        raise BackendError(f"{label}: {name} failed with {_how(code)}{_words(log, start)}", log)
    return _printed(log, start)


def _wait(process: subprocess.Popen[bytes], limit_s: float) -> int:
    watch, deadline_s = Watch(process.pid), time.monotonic() + limit_s
    while True:
        with suppress(subprocess.TimeoutExpired):
            return process.wait(min(TICK_S, max(0.0, deadline_s - time.monotonic())))
        watch.look()
        if time.monotonic() >= deadline_s:
            raise HungError(f"it was not done after {limit_s:g} s ({LIMIT_VARIABLE} sets how long is waited)")


def _kill_session(process: subprocess.Popen[bytes]) -> None:
    """End what is left of it: also what it started, when it has ended itself."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _how(code: int) -> str:
    if code > 0:
        return f"exit code {code}"
    with suppress(ValueError):  # real-time signals have no names
        return f"signal {-code} ({signal.Signals(-code).name})"
    return f"signal {-code}"


def _printed(log: Path, start: int) -> str:
    with log.open("rb") as source:
        source.seek(start)
        return source.read().decode("utf-8", "replace")


def _words(log: Path, start: int) -> str:
    lines = [line.rpartition("\r")[2].rstrip() for line in _printed(log, start).splitlines()]
    tail = [line for line in lines if line][-LAST_LINES:]
    return "; its last words:\n    " + "\n    ".join(tail) if tail else "; it said nothing"
