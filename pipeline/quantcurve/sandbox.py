"""Programs that a model wrote, run where they reach nothing: no file of the user's, no network, no other process.

Linux namespaces hold them: made by bwrap (https://github.com/containers/bubblewrap) where it works, else by `unshare`
of util-linux and sandbox_root.py. A program sees the system's programs and libraries and Python's standard library,
read-only, and a folder of its own in memory. sandbox_inside.py is its parent there, and sets the limits;
sandbox_calls.py says which system calls are refused.
"""

from __future__ import annotations

import errno
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import Literal

from pydantic import Field

from quantcurve.errors import PrerequisiteError, printable
from quantcurve.machine import usable_cores
from quantcurve.records import Frozen
from quantcurve.sandbox_calls import filters
from quantcurve.sandbox_command import Way, command, python
from quantcurve.sandbox_inside import STARTED, Given, Said

GRACE_SECONDS = 10.0
"""After its time, for the start and the end of a sandbox; then it is killed from outside."""
WHY_CHARACTERS = 160
KERNEL = Path("/proc/sys")


class Limits(Frozen):
    """What a program may take."""

    seconds: float = Field(3.0, gt=0, le=86_400)
    """Of wall time, from its start (3: as code_eval of the evaluate library)."""
    memory_bytes: int = Field(2**30, ge=2**26, le=2**48)
    """Address space of each process, and memory of all together (that of each alone, where a container forbids to mount
    /proc)."""
    file_bytes: int = Field(2**20, ge=4096, le=2**40)
    """Of one file, and of all in a folder that can be written."""
    processes: int = Field(32, ge=1, le=4096)
    """At once, the program itself and threads among them."""


USUAL = Limits()


class Ended(Frozen):
    """How a program ended."""

    ok: bool
    """By itself, without an error."""
    how: Literal["ended", "error", "time", "memory", "killed"]
    why: str = Field("", max_length=WHY_CHARACTERS)
    """The last line that it wrote to stderr, or a few words; empty where it is ok."""


def unavailable() -> str:
    """Why programs cannot be isolated on this machine; empty where they can, which is tried once."""
    return _tried()[1]


def run(program: str, limits: Limits = USUAL, marker: bool = False) -> Ended:
    """Run a Python program, which has no arguments, no input, and the standard library.

    Args:
        program: its text.
        limits: what it may take; all that it started ends with it.
        marker: whether it must come to its last line, so that sys.exit(0) before does not make it ok. The token that
            shows it is not in the program's own text and not in its environment; a program that searches its
            interpreter's memory can find it.

    Raises:
        PrerequisiteError: programs cannot be isolated on this machine.
    """
    way, why = _tried()
    if way is None:
        raise _impossible(why)
    return _run(way, program, limits, marker)


def run_all(programs: Sequence[str], limits: Limits = USUAL, marker: bool = False) -> list[Ended]:
    """Run programs as `run` does, as many at once as there are usable cores.

    Raises:
        PrerequisiteError: programs cannot be isolated on this machine.
    """
    with ThreadPoolExecutor(max_workers=usable_cores()) as pool:
        return list(pool.map(partial(run, limits=limits, marker=marker), programs))


@cache
def _tried() -> tuple[Way | None, str]:
    """What works here, else why nothing does."""
    if sys.platform != "linux":
        return None, f"programs are isolated on Linux only, and this is {platform.system() or sys.platform}"
    root = os.geteuid() == 0
    ways: list[Way] = ["bwrap", *(("unshare", "unshare --user") if root else ("unshare --user",))]
    ways = [way for way in ways if shutil.which(way.split()[0])]
    if not ways:
        return None, "neither bwrap nor unshare is installed"
    found = []
    for way in ways:
        why = _probed(way)
        if not why:
            return way, ""
        found.append(f"{way}: {why}")
    return None, "; ".join([*found, *_forbidden()])


def _forbidden(kernel: Path = KERNEL) -> list[str]:
    """Settings of this machine that forbid user namespaces."""
    settings = (
        ("user/max_user_namespaces", "0"),
        ("kernel/unprivileged_userns_clone", "0"),
        ("kernel/apparmor_restrict_unprivileged_userns", "1"),
    )
    there = [(name, value) for name, value in settings if (kernel / name).is_file()]
    return [
        f"user namespaces are forbidden here ({name.replace('/', '.')} = {value})"
        for name, value in there
        if (kernel / name).read_text().strip() == value
    ]


_PROBE = """
import os, socket
held, end = os.pipe()
children = 0
while children < 64:
    try:
        child = os.fork()
    except OSError:
        break
    if not child:
        os.close(end)
        os.read(held, 1)
        os._exit(0)
    children += 1
os.close(end)
assert 0 < children < 8, f'the limit on processes does not hold ({children} of 8 could be started)'
assert os.getppid() == 1, 'processes outside are seen'
for path in ('/tried', '/usr/tried', '/dev/tried'):
    try:
        os.mkdir(path)
    except OSError:
        continue
    raise AssertionError(f'{path} can be written')
try:
    with socket.socket() as other:
        other.connect(('127.0.0.1', 9))
except ConnectionRefusedError:
    raise AssertionError('there is a network')
except OSError:
    pass
"""


def _probed(way: Way) -> str:
    """Why this way does not work, or does not hold; empty where it does."""
    try:
        ended = _run(way, _PROBE, Limits(seconds=30, processes=8), True)
    except PrerequisiteError as error:
        return str(error.args[0])
    return "" if ended.ok else ended.why


def _run(way: Way, program: str, limits: Limits, marker: bool) -> Ended:
    calls = filters(platform.machine())
    given = Given(limits.seconds, calls, limits.memory_bytes, limits.file_bytes, limits.processes)
    libraries = python().libraries
    environment = {"PATH": os.defpath, "LANG": "C.UTF-8", "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            command(way, given, os.geteuid() == 0),
            executable=shutil.which(way.split()[0]),
            input=program.encode("utf-8", "replace"),
            env=environment | ({"LD_LIBRARY_PATH": libraries} if libraries else {}),
            cwd="/",
            capture_output=True,
            timeout=limits.seconds + GRACE_SECONDS,
            start_new_session=True,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return _stopped("time", limits)
    except OSError as error:
        raise _impossible(str(error)) from error
    started, _, said = done.stdout.decode().partition("\n")
    if started != STARTED:
        raise _impossible(_last(done.stderr.decode("utf-8", "replace")) or f"{way} ended with {done.returncode}")
    if not said:
        return Ended(ok=False, how="killed", why="its whole sandbox was ended")
    return _judged(Said(*json.loads(said)), limits, marker)


def _judged(said: Said, limits: Limits, marker: bool) -> Ended:
    line = _last(said.stderr)
    if said.stopped or said.code == -signal.SIGXCPU:
        return _stopped(said.stopped or "time", limits)
    if said.code < 0:
        return Ended(ok=False, how="killed", why=_signal(-said.code))
    if said.code > 0:
        memory = line.startswith("MemoryError") or os.strerror(errno.ENOMEM) in line
        return Ended(ok=False, how="memory" if memory else "error", why=line or f"exit code {said.code}")
    if marker and not said.reached:
        return Ended(ok=False, how="error", why="ended before its last line")
    return Ended(ok=True, how="ended")


def _signal(number: int) -> str:
    return signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"


def _stopped(what: str, limits: Limits) -> Ended:
    if what == "time":
        return Ended(ok=False, how="time", why=f"not done after {limits.seconds:g} s")
    return Ended(ok=False, how="memory", why=f"its processes took more than {limits.memory_bytes / 2**20:.0f} MiB")


def _last(text: str) -> str:
    """The last line with something in it, fit for a message."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return printable(lines[-1], WHY_CHARACTERS)[:WHY_CHARACTERS] if lines else ""


def _impossible(why: str) -> PrerequisiteError:
    return PrerequisiteError(
        f"programs that a model wrote cannot be isolated on this machine: {why}",
        "install bubblewrap (apt install bubblewrap, dnf install bubblewrap), or allow user namespaces",
    )
