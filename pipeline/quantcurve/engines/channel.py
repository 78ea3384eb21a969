"""Requests and replies between a parent and its child over two pipes, and the parent's watch over a child that hangs.

A frame is MAGIC, the number of bytes that follow (8 bytes, little-endian), and a pickle.
"""

from __future__ import annotations

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
PIECE_BYTES = 2**20
STALL_VARIABLE, STALL_S = "QUANTCURVE_STALL_S", 120.0
LIMIT_VARIABLE, LIMIT_S = "QUANTCURVE_CALL_LIMIT_S", 6 * 3600.0


class GarbledError(Exception):
    """What came out of the pipe is no frame, or no pickle."""


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
        self._requests, self._replies, self._watch = requests.fileno(), replies.fileno(), watch
        os.set_blocking(self._requests, False)
        self._writable, self._readable = select.poll(), select.poll()
        self._writable.register(self._requests, select.POLLOUT)
        self._readable.register(self._replies, select.POLLIN)

    def exchange(self, request: bytes) -> Any:
        """Send a pickle and return the object that is answered.

        Raises:
            EOFError, BrokenPipeError: the child has ended, maybe in the middle of its reply.
            GarbledError: the reply cannot be read.
            HungError: see Watch.
        """
        self._watch.start()
        rest = memoryview(HEADER.pack(MAGIC, len(request)) + request)
        while rest:
            self._wait(self._writable)
            rest = rest[os.write(self._requests, rest[:PIECE_BYTES]) :]
        magic, size = HEADER.unpack(self._read(HEADER.size))
        if magic != MAGIC:
            raise GarbledError(f"a reply began with {magic!r}")
        return decoded(self._read(size))

    def _read(self, size: int) -> bytearray:
        found = bytearray()
        while len(found) < size:
            self._wait(self._readable)
            piece = os.read(self._replies, min(size - len(found), PIECE_BYTES))
            if not piece:
                raise EOFError(f"the reply ended after {len(found)} of {size} bytes")
            found += piece
        return found

    def _wait(self, ready: select.poll) -> None:
        while not ready.poll(1000 * TICK_S):
            self._watch.look()
        self._watch.look()


def decoded(pickled: bytes | bytearray) -> Any:
    """The object behind a pickle.

    Raises:
        GarbledError: there is none, whatever unpickling says.
    """
    try:
        return pickle.loads(pickled)
    except Exception as error:
        raise GarbledError(f"{type(error).__name__}: {error}") from error


def read_frame(source: BinaryIO) -> bytes:
    """The next frame of a blocking pipe.

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


def write_frame(target: BinaryIO, content: bytes) -> None:
    """Send a pickle through a blocking pipe."""
    target.write(HEADER.pack(MAGIC, len(content)))
    target.write(content)
    target.flush()


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
