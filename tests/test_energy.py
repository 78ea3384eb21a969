"""Energy counters of a made-up machine, single decoded tokens, and their quantiles."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from quantcurve.energy import ALLOW, EnergyMeter, joules_per_token
from quantcurve.engines import decode_times
from quantcurve.estimates import Estimate, Missing
from quantcurve.metrics.step_latency import quantile_estimate, round_quantiles
from quantcurve.records import SpeedSamples


def zone(folder: Path, number: str, name: str, counter: int, limit: int = 1000) -> Path:
    made = folder / f"intel-rapl:{number}"
    made.mkdir(parents=True)
    for file, value in (("name", name), ("energy_uj", counter), ("max_energy_range_uj", limit)):
        (made / file).write_text(f"{value}\n")
    return made / "energy_uj"


def test_packages_are_summed_and_may_wrap_around(tmp_path: Path) -> None:
    first, second = zone(tmp_path, "0", "package-0", 900), zone(tmp_path, "1", "package-1", 100)
    zone(tmp_path, "0:0", "core", 5)
    zone(tmp_path, "2", "psys", 5)
    meter = EnergyMeter(tmp_path)
    assert not meter.unavailable
    before = meter.read()
    first.write_text("150\n")  # past its end: 100 to it, 150 behind it
    second.write_text("400\n")
    assert before == (900, 100) and meter.joules(before, meter.read()) == pytest.approx(550e-6)


def test_a_machine_without_counters_says_so(tmp_path: Path) -> None:
    assert "no energy counters" in EnergyMeter(tmp_path / "none").unavailable
    zone(tmp_path, "0", "psys", 5)
    assert "no energy counters" in EnergyMeter(tmp_path).unavailable


def test_counters_that_are_broken_are_told(tmp_path: Path) -> None:
    zone(tmp_path, "0", "package-0", 5).write_text("none\n")
    assert "cannot be read" in EnergyMeter(tmp_path).unavailable


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_counters_that_may_not_be_read_come_with_the_command(tmp_path: Path) -> None:
    zone(tmp_path, "0", "package-0", 5).chmod(0)
    assert EnergyMeter(tmp_path).unavailable.endswith(ALLOW)


def test_a_refused_counter_comes_with_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(self: Path) -> str:
        raise PermissionError(13, "Permission denied", str(self))

    counter = zone(tmp_path, "0", "package-0", 5)
    plain = Path.read_text
    monkeypatch.setattr(Path, "read_text", lambda self: refused(self) if self == counter else plain(self))
    assert EnergyMeter(tmp_path).unavailable == f"{counter} may not be read; {ALLOW}"


def test_steps_and_energy_of_a_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counter = zone(tmp_path, "0", "package-0", 0, 10**12)

    def step(place: int) -> None:
        time.sleep(0.02 if place == 2 else 0.002)
        counter.write_text(f"{(place + 1) * 1_000_000}\n")

    monkeypatch.setattr(decode_times, "meter", lambda: EnergyMeter(tmp_path))
    found = decode_times.timed(step, 4)
    assert len(found.steps_s) == 4 and found.steps_s[2] >= 0.02
    assert found.whole_s == pytest.approx(sum(found.steps_s)) and found.energy_j == (4.0,)
    monkeypatch.setattr(decode_times, "meter", lambda: EnergyMeter(tmp_path / "none"))
    assert decode_times.timed(lambda place: None, 2).energy_j == ()


def test_counters_that_are_lost_while_decoding_cost_only_the_energy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counter = zone(tmp_path, "0", "package-0", 5)
    meter = EnergyMeter(tmp_path)
    monkeypatch.setattr(decode_times, "meter", lambda: meter)
    lost = decode_times.timed(lambda place: counter.unlink(missing_ok=True), 3)
    assert len(lost.steps_s) == 3 and lost.energy_j == () and "could not be read while decoding" in lost.no_energy
    assert lost.samples(1.0, 1.0).no_energy == lost.no_energy
    assert decode_times.timed(lambda place: None, 3).energy_j == ()  # lost before it began
    counter.write_text("7\n")
    assert decode_times.timed(lambda place: counter.write_text("8\n"), 3).energy_j == (pytest.approx(1e-6),)


def test_a_counter_that_stood_still_tells_no_energy() -> None:
    def samples(*joules: float, why: str = "") -> SpeedSamples:
        whole = (1.0,) * len(joules)
        return SpeedSamples(
            prefill_s=whole, decode_s=whole, first_token_s=whole, load_s=(), decode_energy_j=joules, no_energy=why
        )

    assert joules_per_token(samples(4.0, 2.0), 4) == [1.0, 0.5]
    still = joules_per_token(samples(4.0, 0.0), 4)
    assert isinstance(still, Missing) and "did not move" in still.missing and "decode_tokens" in still.missing
    assert joules_per_token(samples(why="no counters"), 4) == Missing(missing="no counters")


def test_quantiles_are_of_repetitions() -> None:
    steps = [[0.01 * (1 + round_)] * 19 + [1.0] for round_ in range(5)]
    found = quantile_estimate(steps, 0.95)
    assert isinstance(found, Estimate) and found.n == 5 and found.unit == "s"
    assert found.value == pytest.approx(0.03 + 0.05 * (1 - 0.03))  # between the 19th and the 20th
    few = round_quantiles(steps, 0.99)
    assert isinstance(few, Missing) and "benchmark.decode_tokens to 100" in few.missing and "slowest 1 %" in few.missing
    assert isinstance(quantile_estimate([], 0.95), Missing)
