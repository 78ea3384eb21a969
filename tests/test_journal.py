"""The journal of validations: torn lines, a killed process, two writers."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from quantcurve.journal import Journal

WRITER = """
import sys
from pathlib import Path
from quantcurve.journal import Journal
journal, key, count = Journal(Path(sys.argv[1])), sys.argv[2], int(sys.argv[3])
print("ready", flush=True)
for number in range(count):
    journal.add(key, {number: number / 3, -number - 1: -number / 7})
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "journal.jsonl"


def _writer(path: Path, key: str, count: int) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(path), key, str(count)], stdout=subprocess.PIPE)
    assert process.stdout and process.stdout.readline() == b"ready\n"
    return process


def _ended(process: subprocess.Popen[bytes]) -> None:
    process.wait(60)
    assert process.stdout
    process.stdout.close()


def test_nothing_is_known_at_first(path: Path) -> None:
    assert Journal(path).values("a") == {}
    assert not path.parent.exists()


def test_values_come_back_bit_by_bit(path: Path) -> None:
    random = np.random.default_rng(0).integers(0, 2**64, 2000, dtype=np.uint64).view(np.float64)
    values = {i: float(v) for i, v in enumerate(random) if math.isfinite(v)}
    values |= {-1: -0.0, -2: 5e-324, -3: 0.1 + 0.2, -4: 1e22, -5: 3}
    Journal(path).add("a", values)
    found = Journal(path).values("a")
    assert found == values
    assert {n: math.copysign(1, v) for n, v in found.items()} == {n: math.copysign(1, v) for n, v in values.items()}


def test_models_are_told_apart_and_the_later_value_counts(path: Path) -> None:
    journal = Journal(path)
    journal.add("a", {1: 1.0, 2: 2.0})
    journal.add("b", {1: -1.0})
    assert journal.values("a") == {1: 1.0, 2: 2.0}
    journal.add("a", {2: 3.0})
    assert journal.values("a") == Journal(path).values("a") == {1: 1.0, 2: 3.0}
    assert journal.values("b") == {1: -1.0}


def test_what_is_given_out_is_a_copy(path: Path) -> None:
    journal = Journal(path)
    journal.add("a", {1: 1.0})
    journal.values("a")[1] = 9.0
    assert journal.values("a") == {1: 1.0}


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_refused_and_nothing_written(path: Path, bad: float) -> None:
    journal = Journal(path)
    with pytest.raises(ValueError, match="not JSON compliant"):
        journal.add("a", {1: 1.0, 2: bad})
    assert journal.values("a") == {}


def test_wherever_the_last_line_is_torn_the_others_hold_and_the_next_is_whole(path: Path) -> None:
    journal = Journal(path)
    journal.add("a", {1: 0.1})
    first = path.stat().st_size
    journal.add("a", {2: 0.2})
    whole = path.read_bytes()
    for size in range(first, len(whole)):
        path.write_bytes(whole[:size])
        assert Journal(path).values("a") == {1: 0.1}
        Journal(path).add("a", {3: 0.3})
        complete = size == len(whole) - 1  # only the end of the line is missing
        assert Journal(path).values("a") == {1: 0.1, 3: 0.3} | ({2: 0.2} if complete else {})


@pytest.mark.parametrize(
    "garbage",
    [
        *(b"\0" * 300, b"\xff\xfe garbled", b"", b"[]", b"3", b"null", b"{}", b'{"model": "a"}', b"[" * 100_000),
        *(b'{"model": "a", "values": {"1": NaN}}', b'{"model": "a", "values": {"x": 1.0}}'),
        *(
            b'{"model": "a", "values": {"1": "2"}}',
            b'{"model": 3, "values": {"1": 1.0}}',
            b'{"model": "a", "values": 1}',
        ),
    ],
    ids=range(14),
)
def test_a_garbled_line_in_the_middle_is_passed_over(path: Path, garbage: bytes) -> None:
    journal = Journal(path)
    journal.add("a", {1: 0.1})
    with path.open("ab") as sink:
        sink.write(garbage + b"\n")
    journal.add("a", {2: 0.2})
    assert journal.values("a") == Journal(path).values("a") == {1: 0.1, 2: 0.2}


def test_a_reader_sees_what_another_adds(path: Path) -> None:
    reader = Journal(path)
    assert reader.values("a") == {}
    Journal(path).add("a", {1: 0.1})
    assert reader.values("a") == {1: 0.1}
    with path.open("ab") as sink:
        sink.write(b'{"model": "a", "val')
    assert reader.values("a") == {1: 0.1}
    Journal(path).add("a", {2: 0.2})
    assert reader.values("a") == {1: 0.1, 2: 0.2}


def test_a_process_killed_in_the_middle_loses_nothing_that_it_finished(path: Path) -> None:
    for after_s in (0.0, 0.02, 0.1):
        process = _writer(path, f"killed {after_s}", 1_000_000)
        deadline = time.monotonic() + 30
        while not path.is_file() and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(after_s)
        os.kill(process.pid, signal.SIGKILL)
        _ended(process)
        before = Journal(path).values(f"killed {after_s}")
        Journal(path).add("after", {0: after_s})  # the lock of a dead process holds nobody up
        assert Journal(path).values("after") == {0: after_s}
        assert Journal(path).values(f"killed {after_s}").items() >= before.items()
        count = max(before, default=-1) + 1
        assert {n for n in before if n >= 0} == set(range(count))
        assert all(before[n] == n / 3 for n in range(count))
    assert max(Journal(path).values("killed 0.1"), default=0) > 0


def test_two_processes_write_without_mixing_lines(path: Path) -> None:
    writers = [_writer(path, key, 200) for key in ("a", "b")]
    for process in writers:
        _ended(process)
    assert [process.returncode for process in writers] == [0, 0]
    lines = path.read_bytes().splitlines()
    assert len([json.loads(line) for line in lines]) == 400
    for key in ("a", "b"):
        assert {n: v for n, v in Journal(path).values(key).items() if n >= 0} == {n: n / 3 for n in range(200)}
