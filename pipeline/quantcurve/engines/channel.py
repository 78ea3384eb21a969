"""Requests and replies between a parent and its child over two pipes, and the parent's watch over a child that hangs.

A request is MAGIC, the number of bytes that follow (8 bytes, little-endian), and a pickle; a reply is MAGIC and a
pickle, which is read as it comes.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import pickle
import select
import struct
import time
from typing import Any, BinaryIO

from quantcurve.errors import RecipeError

MAGIC = b"QCV1"
HEADER = struct.Struct("<4sQ")
TICK_S = 1.0
"""Time between two looks at a child that has not answered."""
PIPE_BYTES, BUFFER_BYTES = 2**20, 2**16
STALL_VARIABLE, STALL_S = "QUANTCURVE_STALL_S", 120.0
LIMIT_VARIABLE, LIMIT_S = "QUANTCURVE_CALL_LIMIT_S", 6 * 3600.0


class GarbledError(Exception):
    """What came out of the pipe is no reply."""


class HungError(Exception):
    """The child does not get on."""


def seconds_from_environment(variable: str, default: float) -> float:
    """A length of time that the user may set; `inf` for no limit.

    Raises:
        RecipeError: it is not a positive number.
    """
    text = os.environ.get(variable, "")
    try:
        value = float(text) if text else default
    except ValueError:
        value = math.nan
    if not value > 0:
        raise RecipeError(f"{variable}={text}: not a positive number of seconds; unset it for {default:g}")
    return value


class Watch:
    """Whether a process gets on: by the processor time and the input and output that the kernel counts for it.

    Time is added up in ticks of the monotonic clock, each at most two ticks long: a clock that is set, a suspended
    machine or a stopped parent does not count as a stall.
    """

    def __init__(self, pid: int) -> None:
        """Watch a process.

        Raises:
            RecipeError: a limit from the environment is no number.
        """
        self._pid = pid
        self._stall_s = seconds_from_environment(STALL_VARIABLE, STALL_S)
        self._limit_s = seconds_from_environment(LIMIT_VARIABLE, LIMIT_S)
        self.start()

    def start(self) -> None:
        """A call begins."""
        self._elapsed_s = self._idle_s = 0.0
        self._seen: object = None
        self._last = time.monotonic()

    def wait(self, ready: select.poll) -> None:
        """Wait for a pipe.

        Raises:
            HungError: see look.
        """
        while not ready.poll(1000 * TICK_S):
            self.look()
        self.look()

    def look(self) -> None:
        """Look at the process, if a tick has passed since the last look.

        Raises:
            HungError: it has done nothing for too long, or the call takes too long.
        """
        step = time.monotonic() - self._last
        if step < TICK_S:
            return
        self._last += step
        step = min(step, 2 * TICK_S)
        seen = _account(self._pid)
        self._elapsed_s += step
        self._idle_s = self._idle_s + step if seen is not None and seen == self._seen else 0.0
        self._seen = seen
        if self._idle_s >= self._stall_s:
            raise HungError(
                f"no progress for {self._idle_s:.0f} s (no processor time, no input or output; "
                f"{STALL_VARIABLE} sets how long is waited)"
            )
        if self._elapsed_s >= self._limit_s:
            raise HungError(f"no answer in {self._elapsed_s:.0f} s ({LIMIT_VARIABLE} sets how long is waited)")


class Channel:
    """The parent's ends of the pipes."""

    def __init__(self, requests: BinaryIO, replies: BinaryIO, watch: Watch) -> None:
        """Take over two unbuffered pipes."""
        self._watch = watch
        self._requests = _Requests(requests.fileno(), watch)
        self._raw_replies = _Replies(replies.fileno(), watch)
        self._replies = io.BufferedReader(self._raw_replies, BUFFER_BYTES)

    def exchange(self, request: bytes) -> Any:
        """Send a pickle and return the object that is answered.

        Raises:
            EOFError, BrokenPipeError: the child has ended, maybe in the middle of its reply.
            GarbledError: the reply cannot be read.
            HungError: see Watch.
        """
        self._watch.start()
        self._requests.write_all(HEADER.pack(MAGIC, len(request)))
        self._requests.write_all(request)
        magic = self._replies.read(len(MAGIC))
        if len(magic) < len(MAGIC):
            raise EOFError
        if magic != MAGIC:
            raise GarbledError(f"a reply began with {magic!r}")
        try:
            return pickle.load(self._replies)
        except HungError:
            raise
        except Exception as error:  # whatever unpickling says to nonsense
            if self._raw_replies.ended:
                raise EOFError("the reply was cut") from error
            raise GarbledError(f"{type(error).__name__}: {error}") from error


class _Requests:
    """Writes to a pipe while the child is watched."""

    def __init__(self, pipe: int, watch: Watch) -> None:
        self._pipe, self._watch, self._ready = pipe, watch, select.poll()
        _widen(pipe)
        os.set_blocking(pipe, False)
        self._ready.register(pipe, select.POLLOUT)

    def write_all(self, content: bytes) -> None:
        rest = memoryview(content)
        while rest:
            self._watch.wait(self._ready)
            rest = rest[os.write(self._pipe, rest) :]


class _Replies(io.RawIOBase):
    """Reads from a pipe while the child is watched."""

    def __init__(self, pipe: int, watch: Watch) -> None:
        self._pipe, self._watch, self._ready = pipe, watch, select.poll()
        self.ended = False
        _widen(pipe)
        self._ready.register(pipe, select.POLLIN)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._watch.wait(self._ready)
        count = os.readv(self._pipe, [buffer])
        self.ended = count == 0
        return count


def read_request(source: BinaryIO) -> bytes:
    """The next request from a blocking pipe, still pickled.

    Raises:
        EOFError: there is none.
    """
    header = source.read(HEADER.size)
    if len(header) < HEADER.size:
        raise EOFError
    content = source.read(size := HEADER.unpack(header)[1])
    if len(content) < size:
        raise EOFError
    return content


def _widen(pipe: int) -> None:
    """On Linux, let a pipe take a whole chunk's scores at once: each time it is full costs two changes of process."""
    import fcntl

    if hasattr(fcntl, "F_SETPIPE_SZ"):
        with contextlib.suppress(OSError):  # a user may have only so much in pipes
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)


def _account(pid: int) -> object:
    """What the kernel has counted for a process; None where it cannot be told."""
    import psutil

    try:
        process = psutil.Process(pid)
        times = process.cpu_times()
        counters = process.io_counters() if hasattr(process, "io_counters") else None
    except (psutil.Error, OSError):
        return None
    return times.user + times.system, counters
