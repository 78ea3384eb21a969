"""What is finished of a long step, a line each, so that an interrupted one goes on from there."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from quantcurve import disk


class Lines:
    """An append-only file of JSON values, a line each.

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

    def append(self, value: Any) -> None:
        """Append a value, and return when it is on the disk.

        Raises:
            ValueError: NaN or infinity is in it; nothing was written.
            PrerequisiteError: the disk is full, or refuses to be written.
        """
        line = json.dumps(value, allow_nan=False).encode() + b"\n"
        with disk.errors_named(self.path.parent, needed_bytes=len(line)):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{self.path}.lock"), self.path.open("ab+") as sink:
                sink.write((b"\n" if _is_torn(sink.fileno()) else b"") + line)
                sink.flush()
                os.fsync(sink.fileno())

    def new(self) -> Iterator[Any]:
        """Values of the lines that were finished since the last time; what is no JSON is passed over."""
        if not self.path.is_file():
            return
        with self.path.open("rb") as source:
            source.seek(self._read_bytes)
            whole, newline, _ = source.read().rpartition(b"\n")
        self._read_bytes += len(whole) + len(newline)
        for line in whole.split(b"\n"):
            with contextlib.suppress(ValueError, RecursionError):
                yield json.loads(line)


class Journal:
    """Lines of {"model": key, "values": {item number: value}}."""

    def __init__(self, path: Path) -> None:
        """Nothing is read or written yet; see `Lines`."""
        self._lines = Lines(path)
        self._known: defaultdict[str, dict[int, float]] = defaultdict(dict)

    @property
    def path(self) -> Path:
        """Of the file."""
        return self._lines.path

    def values(self, model_key: str) -> dict[int, float]:
        """What is known of a model, by item number; of an item that was added twice the later value.

        Args:
            model_key: as it was added under.
        """
        for content in self._lines.new():
            if entry := _parsed(content):
                self._known[entry[0]].update(entry[1])
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
        self._lines.append({"model": model_key, "values": {str(number): float(v) for number, v in values.items()}})


def _is_torn(descriptor: int) -> bool:
    size = os.fstat(descriptor).st_size
    return size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"


def _parsed(content: Any) -> tuple[str, dict[int, float]] | None:
    """Key and values of a line; None if it is not one that was written whole."""
    try:
        key, pairs = content["model"], content["values"].items()
        values = {int(number): value for number, value in pairs}
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    if not isinstance(key, str) or not all(isinstance(v, float) and math.isfinite(v) for v in values.values()):
        return None
    return key, values
