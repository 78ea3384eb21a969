"""Kills runs with kill -9 at random moments and compares what the next run gives with an undisturbed one.

Usage: python tools/fault_campaign.py [--kills 30] [--seed 0] [--recipe FILE] [--work FOLDER]

A third of the kills hit an engine's process, the others the run itself; half of them come at a random time, half at a
random progress line, so that short stages are hit too. Kills come in pairs: the first on a fresh cache, the second on
what the first left. After each, the run is repeated to its end: results.json must be the undisturbed one's but for
timings, and no process, temporary file, mark or damaged artifact may be left. Exit code 1 on any difference.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import psutil

from quantcurve.session import STAGES
from quantcurve.store import Store

TIMINGS = {"speed", "stages", "log", "on_front", "dominated_by", "warnings"}
"""Fields of results.json that hold or follow from measured times, or name a log."""
PATIENCE_S = 120.0
DEATH_S = 5.0
RECIPE = """\
name: campaign
model: {source: tiny.gguf}
texts:
  - {name: chat, source: "embedded:chat"}
  - {name: code, source: "embedded:code"}
windows: {tokens: 64, limit: 12}
variants: {gguf: [Q8_0, {type: Q3_K_M, imatrix: true}, {type: Q8_0, kv: q4_0}]}
calibration: {tokens: 1024, window_tokens: 64}
kv_cache: {long_context_tokens: 128, short_windows: 8, long_windows: 2}
engine: {batch_tokens: 512}
benchmark: {prompt_tokens: 16, decode_tokens: 4, repetitions: 3}
"""


class Undisturbed(NamedTuple):
    """What a run gives that nobody kills."""

    results: object
    exit_code: int
    seconds: float
    lines: int


class Kill(NamedTuple):
    """One kill and what the next run made of it."""

    stage: str
    victim: str
    resumed: int
    wrong: list[str]


class Run:
    """A `quantcurve run` in a process of its own, its progress read line by line."""

    def __init__(self, recipe: Path, work: Path) -> None:
        """Start it, with cache and results under `work`."""
        self.stage, self.lines = "start", 0
        self._changed = threading.Condition()
        command = [sys.executable, "-m", "quantcurve.cli", "run", str(recipe), "-v", "--out", str(work / "out")]
        self.process = subprocess.Popen(
            [*command, "--threads", "1"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "QUANTCURVE_CACHE": str(work / "cache")},
        )
        self.said: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait(self) -> int:
        """Its exit code."""
        code = self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        return code

    def wait_for_line(self, number: int) -> None:
        """Return when so many progress lines were printed, or the run has ended."""
        with self._changed:
            self._changed.wait_for(lambda: self.lines >= number or self.process.poll() is not None, PATIENCE_S)

    def _read(self) -> None:
        assert self.process.stderr
        with self.process.stderr:
            for line in self.process.stderr:
                self.said.append(line)
                stage, colon, _ = line.partition(": ")
                with self._changed:
                    if colon and stage in STAGES:
                        self.stage, self.lines = stage, self.lines + 1
                    self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()


def comparable(value: object) -> object:
    """A record without what differs from run to run."""
    if isinstance(value, dict):
        return {k: comparable(v) for k, v in value.items() if k not in TIMINGS}
    return [comparable(v) for v in value] if isinstance(value, list) else value


def results(work: Path) -> object:
    """The comparable part of results.json."""
    return comparable(json.loads((work / "out" / "results.json").read_text()))


def resumed_steps(work: Path) -> int:
    """Steps that the last run found in the store."""
    stages = json.loads((work / "out" / "results.json").read_text())["stages"]
    return sum(stage["cached"] for stage in stages)


def undisturbed(recipe: Path, work: Path) -> Undisturbed:
    """Run once to the end (a first run warms the disk up)."""
    for name in ("first", "second"):
        started = time.monotonic()
        run = Run(recipe, work / name)
        code = run.wait()
        if code not in (0, 1) or not (work / name / "out" / "results.json").exists():
            raise SystemExit(f"the undisturbed run ended with exit code {code}:\n{''.join(run.said)}")
    if results(work / "first") != results(work / "second"):
        raise SystemExit("two undisturbed runs differ: nothing can be compared")
    return Undisturbed(results(work / "second"), code, time.monotonic() - started, run.lines)


def kill_once(recipe: Path, work: Path, expected: Undisturbed, dice: random.Random) -> tuple[str, str]:
    """Start a run and kill it or one of its engines; gives the stage and who was killed."""
    moment, line = dice.uniform(0, expected.seconds), dice.randint(1, expected.lines)
    by_time, engine, delay = dice.random() < 0.5, dice.random() < 1 / 3, dice.uniform(0, 0.05)
    run = Run(recipe, work)
    if by_time:
        time.sleep(moment)
    else:
        run.wait_for_line(line)
        time.sleep(delay)
    stage = run.stage
    victim = _kill(run, engine, dice)
    run.wait()
    return stage, victim


def _kill(run: Run, engine: bool, dice: random.Random) -> str:
    try:
        children = psutil.Process(run.process.pid).children(recursive=True)
        if engine and children:
            dice.choice(children).kill()
            return "engine"
    except psutil.NoSuchProcess:
        pass
    if run.process.poll() is not None:
        return "too late"
    run.process.kill()
    return "run"


def left_processes(cache: Path) -> list[str]:
    """Processes that still work on a cache."""
    left = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("QUANTCURVE_CACHE") == str(cache) and process.status() != psutil.STATUS_ZOMBIE:
                left.append(f"process {process.pid} {' '.join(process.cmdline()[-4:])} is left")
        except psutil.Error:
            continue
    return left


def left_files(work: Path) -> list[str]:
    """Temporary files that a finished run must not leave."""
    cache = work / "cache"
    found = [*(cache / "tmp").glob("*"), *(cache / "running").glob("*"), *(work / "out").glob(".*")]
    found += [p for p in (cache / "hashes").glob("*") if not p.name.isalnum()]
    return [f"{p.relative_to(work)} is left" for p in found]


def finish(recipe: Path, work: Path, expected: Undisturbed) -> list[str]:
    """Run to the end after a kill; gives what is wrong."""
    deadline = time.monotonic() + DEATH_S
    while (wrong := left_processes(work / "cache")) and time.monotonic() < deadline:
        time.sleep(0.05)
    run = Run(recipe, work)
    if (code := run.wait()) != expected.exit_code:
        wrong.append(f"exit code {code}: {''.join(run.said[-5:])}")
    elif results(work) != expected.results:
        wrong.append("results.json differs")
    damaged = [f"{d.stage}/{d.key}: {d.what}" for d in Store(work / "cache").verify()]
    return wrong + left_files(work) + left_processes(work / "cache") + damaged


def campaign(recipe: Path, work: Path, kills: int, seed: int) -> list[Kill]:
    """All kills, one after the other."""
    dice = random.Random(seed)
    expected = undisturbed(recipe, work / "undisturbed")
    sys.stderr.write(f"undisturbed: {expected.seconds:.1f} s, {expected.lines} progress lines\n")
    done: list[Kill] = []
    current, before = work / "current", work / "before"
    for i in range(kills):
        shutil.rmtree(current, ignore_errors=True)
        if i % 2:
            shutil.copytree(before, current)
        stage, victim = kill_once(recipe, current, expected, dice)
        if i % 2 == 0:
            shutil.rmtree(before, ignore_errors=True)
            shutil.copytree(current, before) if current.exists() else before.mkdir()
        wrong = finish(recipe, current, expected)
        done.append(Kill(stage, victim, resumed_steps(current) if not wrong else 0, wrong))
        sys.stderr.write(f"kill {i + 1}: {victim} in {stage}: {'; '.join(wrong) or 'identical'}\n")
        if wrong:
            shutil.copytree(current, work / f"wrong-{i + 1}", dirs_exist_ok=True)
    return done


def table(done: list[Kill], seed: int) -> str:
    """What happened, by the stage that was hit."""
    by_stage: dict[str, list[Kill]] = defaultdict(list)
    for kill in done:
        by_stage[kill.stage].append(kill)
    lines = [f"{'stage':<12}{'kills':>6}{'run':>5}{'engine':>8}{'too late':>10}{'resumed steps':>15}{'identical':>11}"]
    for stage, kills in by_stage.items():
        victims = [k.victim for k in kills]
        lines.append(
            f"{stage:<12}{len(kills):>6}{victims.count('run'):>5}{victims.count('engine'):>8}"
            f"{victims.count('too late'):>10}{sum(k.resumed for k in kills):>15}{sum(not k.wrong for k in kills):>11}"
        )
    identical = sum(not k.wrong for k in done)
    return "\n".join([*lines, f"seed {seed}: identical {identical} of {len(done)}"])


def main() -> None:
    """Run a campaign and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--recipe", type=Path, help="a recipe of a few seconds  [default: a tiny random model's]")
    parser.add_argument("--work", type=Path, help="folder that is kept  [default: a temporary one]")
    options = parser.parse_args()
    work = options.work or Path(tempfile.mkdtemp(prefix="quantcurve-faults-"))
    work.mkdir(parents=True, exist_ok=True)
    recipe = options.recipe
    if recipe is None:
        sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
        from tiny import write_tiny_llama

        write_tiny_llama(work / "tiny.gguf")
        recipe = work / "recipe.yaml"
        recipe.write_text(RECIPE)
    done = campaign(recipe, work, options.kills, options.seed)
    print(table(done, options.seed))
    failed = any(k.wrong for k in done)
    if options.work is None and not failed:
        shutil.rmtree(work)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
