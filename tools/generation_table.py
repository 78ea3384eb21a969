"""What bench_generation.py has measured, and its tables."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from quantcurve.records import Frozen, MachineFacts
from quantcurve.task_records import NoiseFloor
from race import Measure, ratio, verdict


class Parity(Frozen):
    """A task through our adapter and through lm-eval's hf backend, document by document."""

    task: str
    documents: int
    floor: NoiseFloor
    """Ours against itself, one by one and in batches."""
    continuations: int
    largest_difference_nats: float
    median_difference_nats: float
    answers: int
    margins_where_different: tuple[float, ...]
    """Of answers that are another text: between our two likeliest tokens where they part, logits."""
    scores_different: int
    """Documents with other values of a metric."""
    beyond_noise: int
    """Of documents with another score or another text: those where ours hangs on more than twice the noise floor."""
    scores: tuple[tuple[str, str, float, float], ...]
    """Metric, filter, our mean, theirs."""


class MachineRun(Frozen):
    """What one machine measured."""

    machine: MachineFacts
    threads: int
    load_average: float | None
    """Before the first run; None: not noted."""
    races: tuple[tuple[str, Measure], ...] = ()
    parity: tuple[Parity, ...] = ()


class GenBench(Frozen):
    """All of it."""

    runs: tuple[MachineRun, ...] = ()

    def on(self, machine: MachineFacts) -> MachineRun | None:
        """What this machine has measured."""
        return next((run for run in self.runs if run.machine == machine), None)

    def with_run(self, run: MachineRun) -> GenBench:
        """The same with what a machine has measured now."""
        by_machine = {one.machine.model_dump_json(): one for one in (*self.runs, run)}
        return GenBench(runs=tuple(by_machine.values()))


def table(found: GenBench) -> str:
    """Markdown, machine by machine."""
    return "\n".join(_table(run) for run in found.runs)


def _table(found: MachineRun) -> str:
    facts = found.machine
    races = [
        "| SmolLM2-135M | quantcurve | other | Ratio [95 % interval] | Target | Verdict |",
        "|---|--:|--:|--:|---|---|",
        *(_row(measure) for _, measure in found.races),
        "",
    ]
    parities = [
        "| Task | Documents | Score: ours | hf | Another score | Beyond noise | Noise floor | Against hf |",
        "|---|--:|--:|--:|--:|--:|---|---|",
        *(line for parity in found.parity for line in _parity(parity)),
        "",
    ]
    load = "" if found.load_average is None else f"; load average before the first run {found.load_average:.2f}"
    where = f"On {facts.processor}, {facts.logical_cores} cores (F16 reference, {found.threads} threads{load}):"
    return "\n".join([where, "", *races, *(parities if found.parity else ())])


def _row(measure: Measure) -> str:
    value = ratio(measure)
    ours, theirs = (f"{np.median(side):,.4g} {measure.unit}" for side in (measure.ours, measure.theirs))
    target = measure.target.words() if measure.target else ""
    interval = f"{value.value:.2f} [{value.low:.2f}, {value.high:.2f}]"
    return f"| {measure.name} | {ours} | {theirs} | {interval} | {target} | {verdict(measure)} |"


def _parity(parity: Parity) -> Iterator[str]:
    floor = parity.floor
    if parity.answers:
        noise = (
            f"{floor.answers_changed} of {floor.answers} answers change, margins by "
            f"{floor.largest_difference_logits:.2g} logits at most"
        )
        parted = parity.margins_where_different
        at = f", where our margin is {parted[-1]:.2g} logits at most" if parted else ""
        other = f"{len(parted)} of {parity.answers} answers differ{at}"
    else:
        noise = f"{floor.largest_difference_nats:.2g} nats at most, {floor.metrics_changed} scores change"
        other = (
            f"{parity.largest_difference_nats:.2g} nats at most, median {parity.median_difference_nats:.2g}, of "
            f"{parity.continuations}"
        )
    for name, filtered, ours, theirs in parity.scores:
        label = name if filtered in {"none", "all"} else f"{name} ({filtered})"
        yield (
            f"| {parity.task} {label} | {parity.documents} | {ours:.3f} | {theirs:.3f} | {parity.scores_different} "
            f"| {parity.beyond_noise} | {noise} | {other} |"
        )
