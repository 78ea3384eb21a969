"""Regressions that are planted into a real model are found by name and slice; see tools/bench_planted.py for more
items."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from quantcurve.run import Where, open_session
from quantcurve.session import Session

sys.path.append(str(Path(__file__).parents[1] / "tools"))

import bench_planted
import planted

SLICES = ("knowledge", "json")
SOUGHT = ("bracket", "sure", "block")
CERTAINTY = {"entropy", "choice_entropy"}


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    monkeypatch.setattr(bench_planted, "HOW", (2, 16))
    found = open_session(Where(threads=2, cache=tmp_path / "cache"))
    with found.store.in_use():
        yield found


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_regressions_are_found_by_name_and_slice(session: Session, tmp_path: Path) -> None:
    bench = bench_planted.measure(bench_planted.Wanted(SLICES, 40), session, tmp_path, SOUGHT)
    found = {
        kind: {(f.figure.slice, f.figure.statistic) for f in bench.findings if f.variant == kind} for kind in SOUGHT
    }
    assert ("json", "close_first") in found["bracket"] or ("json", "close_likelihood") in found["bracket"]
    assert not [where for where in found["bracket"] if where[0] == "knowledge"], "no choice has a brace in it"
    assert {name for _, name in found["sure"]} == CERTAINTY, "a surer model, and nothing else"
    assert {where for where, _ in found["sure"]} == set(SLICES)
    assert ("json", "answer_likelihood") in found["block"]


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_copies_that_are_only_run_otherwise_are_rarely_found(session: Session, tmp_path: Path) -> None:
    replay = bench_planted.replayed(bench_planted.Wanted(SLICES, 16, 48), 40, session, tmp_path, ((1, 16), (2, 5)))
    assert replay.copies == ("1 thread, batch 16", "2 threads, batch 5")
    assert replay.failed.value <= 0.1 and replay.found.value <= 0.1  # type: ignore[union-attr]


def test_damage_is_where_it_is_said_to_be() -> None:
    rng = np.random.default_rng(0)
    output = rng.normal(0, 1, (50, 32)).astype(np.float32)
    changed = planted.towards_mean(output, [3, 7], 0.8)
    assert [int(i) for i in np.flatnonzero((changed != output).any(1))] == [3, 7]
    assert np.allclose(changed[3], 0.8 * output[3] + 0.2 * output.mean(0))
    rounded = planted.two_bits(output)
    assert all(len(set(block)) <= 4 for row in rounded for block in row.reshape(-1, 16).tolist())


def test_a_bench_is_told_with_its_machine() -> None:
    path = Path(__file__).parent / "data" / "planted" / "bench.json"
    bench = bench_planted.PlantedBench.model_validate(json.loads(path.read_text()))
    shown = bench_planted.table(bench)
    assert all(planted.WORDS[name] in shown for name in bench.models) and bench.machine.processor in shown
