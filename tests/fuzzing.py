"""What the fuzzers of headers and recipes share: what counts as a violation, limits, and the count of outcomes.

The promise: whatever a file holds, the process lives, answers soon, and refuses only by an error of errors.py whose
message names the place, what is wrong and nothing of the code.
"""

from __future__ import annotations

import signal
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import NamedTuple

from quantcurve.errors import QuantcurveError

MESSAGE_CHARACTERS = 100_000
"""No message is longer."""


class Violation(NamedTuple):
    """How a case broke the promise."""

    step: str
    what: str


class Outcome(NamedTuple):
    """What came of a case: `accepted`, or the name of the error's class; and what broke the promise, if anything."""

    kind: str
    violation: Violation | None = None


@dataclass
class Tally:
    """Outcomes counted by kind, and the violations with the number of their case."""

    kinds: Counter[str] = field(default_factory=Counter)
    violations: list[tuple[int, Violation]] = field(default_factory=list)

    def add(self, number: int, outcome: Outcome) -> None:
        """Count one case."""
        self.kinds[outcome.kind] += 1
        if outcome.violation:
            self.violations.append((number, outcome.violation))


class TooSlowError(Exception):
    """The time of a case is used up."""


def refused(step: str, error: BaseException, places: tuple[str, ...]) -> Outcome:
    """The outcome of a case that raised.

    Args:
        step: what was done.
        error: what it raised.
        places: the message must begin with one of these (a path, or the label of an engine).
    """
    kind = type(error).__name__
    if not isinstance(error, QuantcurveError):
        return Outcome(kind, Violation(step, f"{kind} is no QuantcurveError: {error!s:.500}"))
    wrong = _wrong_with(str(error), places)
    return Outcome(kind, Violation(step, f"{wrong}: {error!s:.500}") if wrong else None)


def _wrong_with(message: str, places: tuple[str, ...]) -> str | None:
    """What keeps a message from being shown to a user."""
    if not message.startswith(places):
        return f"the message does not begin with {' or '.join(places)}"
    if "Traceback" in message:
        return "the message has a traceback"
    if message.endswith(("no reason given", "no reason given\n")):
        return "the message has no reason"
    if len(message) > MESSAGE_CHARACTERS:
        return f"the message has {len(message):,} characters"
    if odd := next((c for c in message if c not in "\n\t" and unicodedata.category(c) in {"Cc", "Cs"}), None):
        return f"the message has the control character {odd!r}"
    return None


@contextmanager
def processor_limit(limit_s: float) -> Iterator[None]:
    """Interrupt the block with a TooSlowError once it has computed for so long (main thread only)."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise TooSlowError(f"more than {limit_s:g} s of computing")

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, limit_s, 0.1)  # again, where the first is swallowed
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


@contextmanager
def memory_limit(limit_bytes: int) -> Iterator[None]:
    """Let this process, and those it starts meanwhile, allocate so much at most (on Linux; elsewhere nothing)."""
    if sys.platform != "linux":
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (limit_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
