"""Values of finished validations, a line each, so that an interrupted search goes on from the last one."""

from __future__ import annotations

import json
import math
import os
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from quantcurve import disk


class Journal:
    """An append-only file of JSON lines, {"model": key, "values": {item number: value}}.

    A process that dies in the middle of a line leaves a torn one: it is passed over, and what is appended next begins a
    line of its own. Floats come back as they were, bit by bit (json writes repr). Any number of processes may append;
    each waits for the others, and sees what they added.
    """

    def __init__(self, path: Path) -> None:
        """Nothing is read or written yet.

        Args:
            path: of the file; need not be there, nor its folder.
        """
        self.path = path
        self._read_bytes = 0
        self._known: defaultdict[str, dict[int, float]] = defaultdict(dict)

    def values(self, model_key: str) -> dict[int, float]:
        """What is known of a model, by item number; of an item that was added twice the later value.

        Args:
            model_key: as it was added under.
        """
        self._read_on()
        return dict(self._known.get(model_key, {}))

    def add(self, model_key: str, values: Mapping[int, float]) -> None:
        """Append values, and return when they are on the disk.

        Args:
            model_key: any text that tells models apart.
            values: by item number, finite.

        Raises:
            ValueError: a value is NaN or infinite; nothing was written.
            PrerequisiteError: the disk is full, or refuses to be written.
        """
        content = {"model": model_key, "values": {str(number): float(value) for number, value in values.items()}}
        line = json.dumps(content, allow_nan=False).encode() + b"\n"
        with disk.errors_named(self.path.parent, needed_bytes=len(line)):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{self.path}.lock"), self.path.open("ab+") as sink:
                sink.write((b"\n" if _is_torn(sink.fileno()) else b"") + line)
                sink.flush()
                os.fsync(sink.fileno())

    def _read_on(self) -> None:
        """Take in the lines that were finished since the last time."""
        if not self.path.is_file():
            return
        with self.path.open("rb") as source:
            source.seek(self._read_bytes)
            whole, newline, _ = source.read().rpartition(b"\n")
        self._read_bytes += len(whole) + len(newline)
        for line in whole.split(b"\n"):
            if entry := _parsed(line):
                self._known[entry[0]].update(entry[1])


def _is_torn(descriptor: int) -> bool:
    size = os.fstat(descriptor).st_size
    return size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"


def _parsed(line: bytes) -> tuple[str, dict[int, float]] | None:
    """Key and values of a line; None if it is not one that was written whole."""
    try:
        content: Any = json.loads(line)
        key, pairs = content["model"], content["values"].items()
        values = {int(number): value for number, value in pairs}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    if not isinstance(key, str) or not all(isinstance(v, float) and math.isfinite(v) for v in values.values()):
        return None
    return key, values
