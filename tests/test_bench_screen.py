"""The race against llama.cpp's tools: intervals and verdicts, the table, and one real race over a tiny model."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from quantcurve.records import MachineFacts

ROOT = Path(__file__).parents[1]
TOOLS = Path(os.environ.get("QUANTCURVE_LLAMA_TOOLS", ROOT / "build" / "llama-tools" / "cmake" / "bin"))
sys.path.insert(0, str(ROOT / "tools"))

import bench_run  # noqa: E402
import bench_screen  # noqa: E402
import race  # noqa: E402
from race import Builds, Measure, Race, Target, ratio, verdict  # noqa: E402

BUILDS = Builds(bindings="0.3.36", tools="1 (abc)", features=("CPU : AVX2 = 1", "CPU : AVX2 = 1"), compilers=("g", "g"))
FACTS = MachineFacts(
    system="Linux 6", processor="a processor", logical_cores=2, memory_bytes=8 * 2**30, cpu_features="avx2"
)


def measure(ours, theirs, target=None, **changed) -> Measure:
    fields = {"section": "kl", "name": "a measure", "unit": "s", "ours": ours, "theirs": theirs, "target": target}
    return Measure(**(fields | changed))


def a_race(*measures: Measure, **changed) -> Race:
    fields = {
        "model": "tiny",
        "threads": 2,
        "windows": 24,
        "text": "t.txt (SHA-256 0)",
        "machine": FACTS,
        "load_average": 0.25,
        "builds": BUILDS,
        "measures": measures,
    }
    return Race(**(fields | changed))


# ---- statistics ----


def test_the_ratio_is_the_median_over_pairs_and_not_that_of_medians():
    found = ratio(measure((1.0, 2.0, 30.0), (2.0, 2.0, 10.0)))  # 0.5, 1, 3; medians 2 and 2
    assert (found.value, found.low, found.high) == (1.0, 0.5, 3.0)
    assert ratio(measure((1.0, 4.0, 30.0), (2.0, 2.0, 10.0), paired=False)).value == 2.0


def test_an_interval_of_many_pairs_is_that_of_the_median():
    """The normal approximation for a median: sd * sqrt(pi / 2 / n)."""
    random = np.random.default_rng(1)
    ratios = random.normal(1, 0.02, 400)
    found = ratio(measure(tuple(ratios * 7), (7.0,) * 400))
    expected = 1.96 * 0.02 * np.sqrt(np.pi / 2 / 400)
    assert found.value == pytest.approx(np.median(ratios))
    assert (found.high - found.low) / 2 == pytest.approx(expected, rel=0.25)


@pytest.mark.parametrize("paired", [True, False])
def test_intervals_hold_their_level(paired):
    """Of 300 races over 10 pairs with a true ratio of 0.9, about 95 % have it in their interval."""
    random = np.random.default_rng(2)
    hits = 0
    for _ in range(300):
        drift = random.normal(1, 0.1, 10) if paired else np.ones(10)
        ours, theirs = (m * drift * random.normal(1, 0.02, 10) for m in (0.9, 1.0))
        found = ratio(measure(tuple(ours), tuple(theirs), paired=paired))
        hits += found.low <= 0.9 <= found.high
    assert 0.90 <= hits / 300 <= 0.99


def test_the_same_samples_give_the_same_interval():
    one = measure((1.0, 1.1, 1.2, 1.3), (1.0, 1.0, 1.1, 1.0))
    assert ratio(one) == ratio(one)
    assert ratio(one).low < ratio(one).value < ratio(one).high


# ---- verdicts ----

AT_LEAST, AT_MOST, MEETS = Target(low=0.95), Target(high=1.0), Target(low=0.95, high=1.05, rule="meets")


@pytest.mark.parametrize(
    ("low", "high", "target", "expected"),
    [
        (0.96, 1.0, AT_LEAST, "pass"),
        (0.95, 1.0, AT_LEAST, "pass"),
        (0.94, 0.97, AT_LEAST, "inconclusive"),
        (0.90, 0.94, AT_LEAST, "fail"),
        (0.95, 1.00, AT_MOST, "pass"),
        (0.98, 1.02, AT_MOST, "inconclusive"),
        (1.01, 1.05, AT_MOST, "fail"),
        (0.90, 0.96, MEETS, "pass"),
        (1.04, 1.10, MEETS, "pass"),
        (0.97, 1.03, MEETS, "pass"),
        (0.90, 0.94, MEETS, "fail"),
        (1.06, 1.10, MEETS, "fail"),
        (0.50, 0.90, AT_MOST, "inconclusive"),  # too wide, though all on the right side
        (0.50, 0.90, AT_LEAST, "inconclusive"),
        (0.90, 1.10, MEETS, "inconclusive"),
        (0.10, 0.12, Target(high=0.25), "inconclusive"),  # narrow, but not for so small a ratio
        (0.10, 0.105, Target(high=0.25), "pass"),
    ],
)
def test_a_verdict_looks_at_the_whole_interval(low, high, target, expected):
    samples = tuple(np.repeat([low, high], 2))  # its median's interval reaches from end to end
    found = ratio(measure(samples, (1.0,) * 4))
    assert (found.low, found.high) == pytest.approx((low, high))
    assert verdict(measure(samples, (1.0,) * 4, target)) == expected


def test_one_run_concludes_nothing_and_a_size_needs_no_interval():
    assert verdict(measure((0.5,), (1.0,), AT_MOST)) == "inconclusive"
    assert verdict(measure((0.5,), (1.0,), AT_MOST, sampled=False)) == "pass"
    assert verdict(measure((1.5,), (1.0,), AT_MOST, sampled=False)) == "fail"
    assert verdict(measure((0.5, 0.5), (1.0, 1.0))) == ""


# ---- the table ----


def test_the_table_of_several_files(tmp_path):
    samples = tuple(np.linspace(0.97, 0.99, 10))
    first = a_race(measure(samples, (1.0,) * 10, AT_MOST, note="how it was taken"))
    other = BUILDS.model_copy(update={"features": ("CPU : AVX2 = 1", "CPU : AVX = 1")})
    second = a_race(
        measure((2e3, 2e3), (1e3, 1e3), AT_LEAST, unit="tokens/s"),
        measure((30.0,), (9000.0,), Target(high=0.05), sampled=False, section="disk", unit="MB"),
        measure((1.0, 1.0), (1.0, 1.0), MEETS, note="how it was taken"),
        model="rotated",
        builds=other,
    )
    paths = [tmp_path / "a.json", tmp_path / "b.json"]
    for path, one in zip(paths, (first, second), strict=True):
        path.write_text(one.model_dump_json())
    lines = race.render(*paths).splitlines()
    assert len(lines[0].split("|")) == len(lines[1].split("|")) == 9
    assert lines[2].startswith("| tiny | a measure | 0.98 s | 1 s | 0.980 [0.97")
    assert lines[2].endswith("| ≤ 1 | pass |")
    assert (
        lines[3] == "| rotated | a measure | 2,000 tokens/s | 1,000 tokens/s | 2.000 [2.000, 2.000] | ≥ 0.95 | pass |"
    )
    assert lines[4] == "| rotated | a measure | 30 MB | 9,000 MB | 0.0033 | ≤ 0.05 | pass |"
    assert lines[5].endswith("| 1.000 [1.000, 1.000] | interval meets [0.95, 1.05] | pass |")
    said = "\n".join(lines[6:])
    assert said.count("a processor, 2 cores, 8 GiB, Linux 6") == said.count("how it was taken") == 1
    assert "compiler are the same" in said and "compiler are NOT the same" in said
    assert race.render(paths[0]) == race.table([first])


def test_pairs_of_several_files_count_together(tmp_path):
    paths = [tmp_path / "a.json", tmp_path / "b.json", tmp_path / "c.json"]
    races = (
        a_race(measure((1.0, 2.0), (1.0, 1.0)), measure((9.0,), (3.0,), name="disk", sampled=False)),
        a_race(measure((3.0,), (1.0,)), measure((9.0,), (3.0,), name="disk", sampled=False), load_average=2.0),
        a_race(measure((7.0,), (1.0,)), model="another"),
    )
    for path, one in zip(paths, races, strict=True):
        path.write_text(one.model_dump_json())
    first, other = race.pooled([race.load(p) for p in paths])
    assert [(m.ours, m.theirs) for m in first.measures] == [((1.0, 2.0, 3.0), (1.0, 1.0, 1.0)), ((9.0,), (3.0,))]
    assert first.load_average == 2.0
    assert other.measures[0].ours == (7.0,)


# ---- processes ----


def test_time_and_processor_time_include_what_a_process_waited_for(tmp_path):
    work = "t = time.process_time()\nwhile time.process_time() - t < 0.4: pass"
    script = f"import subprocess, sys, time; subprocess.run([sys.executable, '-c', 'import time\\n' + {work!r}])"
    cost = bench_run.timed([sys.executable, "-c", script + "; time.sleep(0.3); print('done')"], tmp_path / "log")
    assert cost.cpu_s > 0.4
    assert cost.wall_s > 0.7
    assert cost.printed == "done\n"


def test_a_failed_process_ends_the_race_with_its_last_words(tmp_path):
    command = [sys.executable, "-c", "import sys; print('no such luck'); sys.exit(3)"]
    with pytest.raises(SystemExit, match=r"(?s)failed with 3:.*no such luck"):
        bench_run.timed(command, tmp_path / "log")
    assert bench_run.timed(command, tmp_path / "log", allowed=(0, 3)).printed == "no such luck\n"


def test_the_peak_of_a_folder_outlives_its_files(tmp_path):
    with bench_run.DiskPeak(tmp_path) as peak:
        (tmp_path / "in").mkdir()
        (tmp_path / "in" / "file").write_bytes(os.urandom(3_000_000))
        time.sleep(5 * bench_run.SAMPLE_S)
        (tmp_path / "in" / "file").unlink()
    assert 3_000_000 <= peak.bytes < 3_100_000


def test_every_second_pair_runs_the_other_way_round():
    order: list[str] = []

    def runner(name: str):
        def go():
            order.append(name)
            return bench_run.Cost(len(order), 0, name)

        return go

    pairs = bench_run.alternating(3, runner("ours"), runner("theirs"))
    assert order == ["ours", "theirs", "theirs", "ours", "ours", "theirs"]
    assert [(a.printed, b.printed) for a, b in pairs] == [("ours", "theirs")] * 3
    assert [(a.wall_s, b.wall_s) for a, b in pairs] == [(1, 2), (4, 3), (5, 6)]


def test_a_wrong_section_or_folder_is_refused(tmp_path, capsys):
    for arguments in (["--only", "ppl,size"], ["--tools", str(tmp_path)]):
        with pytest.raises(SystemExit):
            bench_screen.parse(arguments)
        assert "unknown ['size']" in (said := capsys.readouterr().err) or "no llama-perplexity there" in said


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(not (TOOLS / "llama-bench").is_file(), reason=f"no llama-bench in {TOOLS} (build_llama_tools.sh)")
def test_a_race_over_a_tiny_model(tiny_model, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("".join(f"The {i}th fox jumps over the lazy dog and looks at it. " for i in range(300)))
    work = tmp_path / "not" / "made-yet"
    options = bench_screen.parse(
        f"--tools {TOOLS} --model {tiny_model} --text {text} --windows 2 --pairs 2 --variants Q8_0,Q4_0 "
        f"--repetitions 3 --early-windows 4 --early-runs 2 --work {work}".split()
    )
    found = bench_screen.race(options)
    assert [m.section for m in found.measures] == ["ppl", "ppl", "kl", "kl", "disk", "early", "disk", "speed", "speed"]
    assert all(min(*m.ours, *m.theirs) > 0 for m in found.measures)
    assert [len(m.ours) for m in found.measures] == [2, 2, 2, 2, 1, 2, 1, 2, 2]
    assert "AVX" in found.builds.features[0] or "NEON" in found.builds.features[0]
    early = found.measures[5]
    assert "NOT run on the whole text" in early.note and early.theirs[0] == pytest.approx(
        2 * found.measures[2].theirs[0]
    )
    path = tmp_path / "race.json"
    path.write_text(found.model_dump_json())
    assert len(race.render(path).splitlines()) == 2 + len(found.measures) + 1 + 3 + 4
    assert not list(work.iterdir())
