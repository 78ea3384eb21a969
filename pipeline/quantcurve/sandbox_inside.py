"""The first process of a sandbox: gives a program its limits, watches it, and says how it ended.

A script of the standard library alone, started inside with the program on standard input. When it ends, the kernel
ends every other process of its namespace (man 7 pid_namespaces). Signals from inside do not reach it: it has no
handlers. It writes a line once the program is started, then a `Said` as JSON.
"""

from __future__ import annotations

import ctypes
import json
import math
import os
import resource
import select
import signal
import struct
import sys
import time
from contextlib import suppress
from fcntl import F_DUPFD, fcntl
from pathlib import Path
from typing import NamedTuple

STARTED = "started"
START = """
import os
def run():
    import sys
    write, process, this = os.write, os.getpid, os.getpid()
    with open(0, "rb", closefd=False) as given:
        marker, token, program = int(given.readline()), given.readline(), given.read()
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    os.environ.pop("LD_LIBRARY_PATH", None)
    os.set_inheritable(marker, False)
    main = sys.modules["__main__"] = type(sys)("__main__")
    sys.argv = [""]
    exec(compile(program.decode("utf-8-sig"), "<program>", "exec", dont_inherit=True), vars(main))
    if process() == this:
        write(marker, token)
run()
"""
"""Runs the program that `packed` gives it on standard input, which is empty afterwards; then writes the token, unless
the program ended before its last line or this is a process that it forked."""
OPEN_FILES = 64
STEP_BYTES = 8
"""Of `struct sock_filter`."""
LINE_BYTES = 1000
"""Of a line of stderr that are kept."""
STEP_MS = 10
LOOK_SECONDS = 0.02
"""Between looks at the memory."""
NOBODY = 65534
_SET_DUMPABLE, _SET_SECCOMP, _DROP_BOUND, _SET_NO_NEW_PRIVILEGES = 4, 22, 24, 38
_FILTER = 2
_libc = ctypes.CDLL(None, use_errno=True)


class Given(NamedTuple):
    """The limits, as `quantcurve.sandbox.Limits` has them."""

    seconds: float
    filters: bytes
    """From `quantcurve.sandbox_calls`."""
    memory_bytes: int
    file_bytes: int
    processes: int


class Said(NamedTuple):
    """How a program ended."""

    stopped: str
    """'time' or 'memory' where it was stopped for that."""
    code: int
    """Its exit code, or minus the signal's number."""
    reached: bool
    """Whether it came to its last line."""
    stderr: str
    """The beginning of its last line."""


class _Files(NamedTuple):
    """Descriptors that a program is given."""

    program: int
    stderr: int
    marker: int
    failed: int
    """Says why the program could not be started; closed when it is."""


def packed(program: str, marker: int, token: str) -> bytes:
    """What START reads.

    Args:
        program: its text; what UTF-8 does not have becomes a question mark.
        marker: the descriptor that the token is written to after the last line.
        token: one line.
    """
    return f"{marker}\n{token}\n".encode() + program.encode("utf-8", "replace")


def main() -> None:
    """Run the program and say how it ended."""
    seconds, filters, *numbers = sys.argv[1:]
    given = Given(float(seconds), bytes.fromhex(filters), *map(int, numbers))
    program = sys.stdin.buffer.read().decode()
    os.environ.pop("PWD", None)  # from bwrap
    _keep_apart()
    token = os.urandom(16).hex()
    stderr, marker, failed = os.pipe(), os.pipe(), os.pipe()
    hidden = fcntl(marker[1], F_DUPFD, 10 + os.urandom(1)[0] % (OPEN_FILES - 20))
    files = _Files(os.memfd_create("program"), stderr[1], hidden, failed[1])
    os.write(files.program, packed(program, hidden, token))
    os.lseek(files.program, 0, os.SEEK_SET)
    child = os.fork()
    if child == 0:
        _start(given, files)
    for number in (*files, marker[1]):
        os.close(number)
    if why := os.read(failed[0], 1000):
        sys.exit(why.decode("utf-8", "replace"))
    os.write(1, f"{STARTED}\n".encode())
    stopped, code, line = _watch(child, stderr[0], given)
    os.set_blocking(marker[0], False)
    said = Said(stopped, code, _read(marker[0]) == f"{token}\n".encode(), line.decode("utf-8", "replace"))
    os.write(1, json.dumps(said).encode())
    os._exit(0)


def _keep_apart() -> None:
    """Out of the program's reach, and the first to end where the machine is out of memory."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    _libc.prctl(_SET_DUMPABLE, 0, 0, 0, 0)
    for number in (signal.SIGINT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)


def _start(given: Given, files: _Files) -> None:
    """In the forked process: become the program."""
    try:
        os.setsid()
        for number, to in ((files.program, 0), (os.open(os.devnull, os.O_WRONLY), 1), (files.stderr, 2)):
            os.dup2(number, to)
        os.set_inheritable(files.marker, True)
        _limit(given, _drop())
        _refuse(given.filters)
        os.execv(sys.executable, [sys.executable, "-I", "-S", "-X", "utf8", "-c", START])
    except BaseException as error:
        os.write(files.failed, f"the program could not be started: {error}".encode())
    finally:
        os._exit(127)


def _drop() -> bool:
    """Give up all privileges, for good.

    Returns:
        Whether the program is a user of its own, as it is where this process may change users: the kernel counts
        processes by user, and not at all those of the machine's root.
    """
    for capability in range(64):
        _libc.prctl(_DROP_BOUND, capability, 0, 0, 0)
    own = 2**30 + int.from_bytes(os.urandom(3), "big")
    for user in (own, NOBODY):
        with suppress(OSError):
            os.setgroups([])
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)
            return True
    return False


def _limit(given: Given, alone: bool) -> None:
    cpu = math.ceil(given.seconds) + 1
    for kind, soft, hard in (
        (resource.RLIMIT_CPU, cpu, cpu + 1),
        (resource.RLIMIT_AS, given.memory_bytes, given.memory_bytes),
        (resource.RLIMIT_FSIZE, given.file_bytes, given.file_bytes),
        (resource.RLIMIT_NPROC, given.processes + (not alone), given.processes + (not alone)),
        (resource.RLIMIT_NOFILE, OPEN_FILES, OPEN_FILES),
        (resource.RLIMIT_CORE, 1, 1),  # not 0, with which the kernel still starts a program that takes core dumps
    ):
        most = resource.getrlimit(kind)[1]
        bound = (soft, hard) if most == resource.RLIM_INFINITY else (min(soft, most), min(hard, most))
        resource.setrlimit(kind, bound)


def _watch(child: int, stderr: int, given: Given) -> tuple[str, int, bytes]:
    """Wait for the program's end, or until it has to be stopped.

    Returns:
        What it was stopped for, its exit code, the last line of its stderr.
    """
    os.set_blocking(stderr, False)
    waiting = select.poll()
    waiting.register(stderr, select.POLLIN)
    line, looked, end = b"", 0.0, time.monotonic() + given.seconds
    while True:
        if waiting.poll(STEP_MS):
            read = _read(stderr)
            line = _last_line(line + (read or b""))
            if read == b"":
                waiting.unregister(stderr)
        if (code := _ended(child)) is not None:
            return "", code, _last_line(line + (_read(stderr) or b""))
        now = time.monotonic()
        if now > end:
            return "time", 0, line
        if now > looked + LOOK_SECONDS:
            looked = now
            if _used_bytes(given.memory_bytes) > given.memory_bytes:
                return "memory", 0, line


def _last_line(text: bytes) -> bytes:
    """The last that is not blank, its beginning, with a newline if it is over."""
    whole = text.rstrip()
    over = b"\n" if b"\n" in text[len(whole) :] else b""
    return whole[whole.rfind(b"\n") + 1 :][:LINE_BYTES] + over


def _read(number: int) -> bytes | None:
    """What there is; None where there is nothing yet, and no bytes at the end."""
    try:
        return os.read(number, 65536)
    except BlockingIOError:
        return None


def _ended(child: int) -> int | None:
    """The program's exit code if it has ended; what else has ended is forgotten."""
    with suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            if found[0] == child:
                return os.waitstatus_to_exitcode(found[1])
    return None


def _used_bytes(most: int) -> int:
    """Memory of all processes but this; 0 without /proc. What processes share counts once where the sum is above."""
    with suppress(OSError):
        there = [path for path in Path("/proc").iterdir() if path.name.isdigit() and path.name != "1"]
        resident = sum(map(_resident_bytes, there))
        return resident if resident <= most else sum(map(_proportional_bytes, there))
    return 0


def _resident_bytes(process: Path) -> int:
    with suppress(OSError):
        return int((process / "statm").read_text().split()[1]) * resource.getpagesize()
    return 0


def _proportional_bytes(process: Path) -> int:
    try:
        lines = (process / "smaps_rollup").read_text().splitlines()
    except OSError:
        return _resident_bytes(process)
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def _refuse(filters: bytes) -> None:
    """Take a filter of system calls (linux/seccomp.h), for this process and all that it starts."""
    _check(_libc.prctl(_SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0))
    if filters:
        code = ctypes.create_string_buffer(filters)
        whole = ctypes.create_string_buffer(struct.pack("HP", len(filters) // STEP_BYTES, ctypes.addressof(code)))
        _check(_libc.prctl(_SET_SECCOMP, _FILTER, whole, 0, 0))


def _check(returned: int) -> None:
    if returned != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{os.strerror(number)} (prctl)")


if __name__ == "__main__":
    main()
