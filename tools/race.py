"""What bench_screen.py measured: records, ratios with intervals, verdicts, and the table of them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quantcurve.records import Frozen, MachineFacts

RESAMPLES = 10_000
LEVEL = 0.95
WIDEST = 0.05
"""Half-width of an interval, as a share of its ratio, above which nothing is concluded."""

Verdict = Literal["pass", "fail", "inconclusive", ""]


class Target(Frozen):
    """What a ratio ours/theirs has to be. `inside`: the whole interval within the limits; `meets`: some of it."""

    low: float | None = None
    high: float | None = None
    rule: Literal["inside", "meets"] = "inside"

    def words(self) -> str:
        """As the table shows it."""
        if self.rule == "meets":
            return f"interval meets [{self.low:g}, {self.high:g}]"
        return f"≥ {self.low:g}" if self.high is None else f"≤ {self.high:g}"


class Measure(Frozen):
    """One thing that both sides did, with every raw sample in the order it was taken."""

    section: Literal["ppl", "kl", "early", "disk", "speed", "ov", "gen"]
    name: str
    unit: str
    ours: tuple[float, ...]
    theirs: tuple[float, ...]
    """With `paired`, theirs[i] ran next to ours[i]."""
    paired: bool = True
    sampled: bool = True
    """False: an exact figure that has no interval (a file's size)."""
    target: Target | None = None
    note: str = ""


class Builds(Frozen):
    """The two builds of llama.cpp, as far as it can be seen from outside."""

    bindings: str
    """Version of llama-cpp-python."""
    tools: str
    """What llama-bench --version says."""
    features: tuple[str, str]
    """llama_print_system_info of ours and of theirs."""
    compilers: tuple[str, str]

    @property
    def alike(self) -> bool:
        """Whether the visible compile flags and the compiler are the same."""
        return self.features[0] == self.features[1] and self.compilers[0] == self.compilers[1]


class Race(Frozen):
    """One model's measurements; what --json writes."""

    model: str
    threads: int
    windows: int
    text: str
    """Name of the text and the start of its hash."""
    machine: MachineFacts
    load_average: float
    """Of the last minute, before the first run; a busy machine makes ratios worthless."""
    builds: Builds | None
    """None where both sides are the same libraries."""
    measures: tuple[Measure, ...]


class Ratio(NamedTuple):
    """Ours/theirs with its bootstrap interval; both ends are the value where there is none."""

    value: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        """As a share of the value."""
        return (self.high - self.low) / 2 / self.value


def ratio(measure: Measure, seed: int = 0) -> Ratio:
    """Median of the pairs' ratios, or ratio of the medians of samples that are not paired.

    The interval is the percentile bootstrap's (Efron & Tibshirani 1993, chapter 13): whole pairs are drawn anew, or
    the samples of each side.
    """
    ours, theirs = np.array(measure.ours), np.array(measure.theirs)
    if not measure.sampled or len(ours) < 2:
        value = float(np.median(ours) / np.median(theirs))
        return Ratio(value, value, value)
    random = np.random.default_rng(seed)
    if measure.paired:
        ratios = ours / theirs
        value, drawn = np.median(ratios), _medians(ratios, random)
    else:
        value, drawn = np.median(ours) / np.median(theirs), _medians(ours, random) / _medians(theirs, random)
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Ratio(float(value), float(low), float(high))


def _medians(samples: NDArray[np.float64], random: np.random.Generator) -> NDArray[np.float64]:
    return np.median(random.choice(samples, (RESAMPLES, len(samples))), axis=1)


def verdict(measure: Measure) -> Verdict:
    """`pass` if the interval keeps to the target, `fail` if none of it does; else `inconclusive`, and always where
    it is wider than WIDEST or rests on one run."""
    if measure.target is None:
        return ""
    found, target = ratio(measure), measure.target
    if measure.sampled and (len(measure.ours) < 2 or found.half_width > WIDEST):
        return "inconclusive"
    low = -np.inf if target.low is None else target.low
    high = np.inf if target.high is None else target.high
    apart = found.high < low or found.low > high
    if apart:
        return "fail"
    inside = low <= found.low and found.high <= high
    return "pass" if inside or target.rule == "meets" else "inconclusive"


def load(path: Path) -> Race:
    """Read what --json wrote."""
    return Race.model_validate_json(Path(path).read_text(encoding="utf-8"))


def render(*paths: Path) -> str:
    """One Markdown table of one or more --json files, and under it what was compared and where; pairs of the same
    measure in several files count together."""
    return table(pooled([load(p) for p in paths]))


def pooled(races: list[Race]) -> list[Race]:
    """One record for each model, machine and build, with the pairs of all files; the highest load average is kept."""
    found: dict[tuple[str, str, str], Race] = {}
    for race in races:
        key = (race.model, race.machine.model_dump_json(), race.builds.model_dump_json() if race.builds else "")
        before = found.get(key)
        if before is None:
            found[key] = race
            continue
        load_average = max(before.load_average, race.load_average)
        measures = _pooled_measures([*before.measures, *race.measures])
        found[key] = before.model_copy(update={"measures": measures, "load_average": load_average})
    return list(found.values())


def _pooled_measures(measures: list[Measure]) -> tuple[Measure, ...]:
    found: dict[tuple[str, str, str], Measure] = {}
    for measure in measures:
        key = (measure.section, measure.name, measure.unit)
        if (before := found.get(key)) and measure.sampled:
            sides = {"ours": before.ours + measure.ours, "theirs": before.theirs + measure.theirs}
            found[key] = before.model_copy(update=sides)
        else:
            found[key] = measure
    return tuple(found.values())


def table(races: list[Race]) -> str:
    """The Markdown table, machine and builds, and the measures' notes."""
    other = "llama.cpp's tools" if any(race.builds for race in races) else "loop"
    lines = [
        f"| Model | Measure | quantcurve | {other} | Ratio [95 % interval] | Target | Verdict |",
        "|---|---|--:|--:|--:|---|---|",
    ]
    lines += [_row(race, measure) for race in races for measure in race.measures]
    notes = dict.fromkeys(m.note for race in races for m in race.measures if m.note)
    said = dict.fromkeys(line for race in races for line in _conditions(race))
    return "\n".join([*lines, "", *(f"- {line}" for line in (*said, *notes))]) + "\n"


def _row(race: Race, measure: Measure) -> str:
    found = ratio(measure)
    interval = f" [{found.low:.3f}, {found.high:.3f}]" if measure.sampled and len(measure.ours) > 1 else ""
    ours, theirs = (f"{np.median(side):,.4g} {measure.unit}" for side in (measure.ours, measure.theirs))
    target = measure.target.words() if measure.target else ""
    value = f"{found.value:.3f}" if found.value >= 0.1 else f"{found.value:.2g}"
    cells = (race.model, measure.name, ours, theirs, value + interval, target, verdict(measure))
    return f"| {' | '.join(cells)} |"


def _conditions(race: Race) -> list[str]:
    machine = race.machine
    runs = max(len(m.ours) for m in race.measures)
    return [
        f"{machine.processor}, {machine.logical_cores} cores, {machine.memory_bytes / 2**30:.0f} GiB, "
        f"{machine.system}; load average before the first run {race.load_average:.2f}",
        f"{race.model}: {race.threads} threads on each side, windows of 512 tokens of {race.text}, up to {runs} pairs "
        "of runs in alternating order; ratios are quantcurve's figure over the other's, medians over pairs",
        *(_built(race.builds) if race.builds else ()),
    ]


def _built(builds: Builds) -> list[str]:
    same = "the same" if builds.alike else "NOT the same"
    return [
        f"llama-cpp-python {builds.bindings} against the tools built from its own source ({builds.tools}), batches of "
        f"2048 and 512 on both sides: CPU features and compiler are {same} ({builds.compilers[0]})"
    ]
