"""Ctrl-C and SIGTERM end a run at once, or else at its next step.

Python prints and forgets an exception that a signal handler raises inside a destructor or a weak reference's callback
(https://docs.python.org/3/library/signal.html, "Note on Signal Handlers and Exceptions"), so the request is also kept.
"""

from __future__ import annotations

import signal
from types import FrameType

TERMINATED = 143
"""Exit code after SIGTERM: 128 and the signal's number, as shells say it."""
_asked: int | None = None


class Terminated(SystemExit):
    """SIGTERM."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C. With KeyboardInterrupt itself CPython may kill the process by SIGINT after a handled interrupt."""


def install() -> None:
    """Take Ctrl-C, unless this process was started to ignore it (nohup, a job in the background), and SIGTERM."""
    signal.signal(signal.SIGTERM, _stop)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _stop)


def check() -> None:
    """End now if that was asked for.

    Raises:
        Interrupted: after Ctrl-C.
        Terminated: after SIGTERM.
    """
    if _asked is not None:
        _end(_asked)


def _stop(number: int, frame: FrameType | None) -> None:
    global _asked
    _asked = number
    _end(number)


def _end(number: int) -> None:
    if number == signal.SIGTERM:
        raise Terminated(TERMINATED)
    raise Interrupted
