"""What bench_accuracy_control.py has measured, and its table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import t as student

from quantcurve.estimates import Estimate, Figure
from quantcurve.records import Frozen, MachineFacts

NNCF_MINUTES = 40.0
"""That NNCF may take in a cell."""


class Side(Frozen):
    """What one side came to for a budget."""

    seconds: float
    operations: int
    groups: int
    search_drop: float
    drop: Figure
    """On held-out items, as deployed."""
    reached: bool


class Budget(Frozen):
    """One budget of a cell."""

    share: float
    """Of what W8A8 loses."""
    max_drop: float
    ours: Side
    nncf: Side | None
    """None: it did not reach the budget in the time that it was given."""
    nncf_longer: Side | None = None
    """What it came to in a longer run at another time, whose seconds are compared to nothing."""

    @property
    def theirs(self) -> Side | None:
        """What NNCF restores for it, however long that took."""
        return self.nncf or self.nncf_longer


class Cell(Frozen):
    """One model and one seed."""

    smooth_quant: bool
    seed: int
    quantise_s: float
    """Of nncf.quantize, when the fast way was measured."""
    nncf_quantise_s: float | None = None
    """Of the same when NNCF's way was measured, if that was at another time: their ratio tells how fast the machine was
    then."""
    plain_drop: Figure
    groups: int
    nncf_seconds: float
    nncf_minutes: float = NNCF_MINUTES
    """That NNCF could take."""
    nncf_rankings: int
    rank_correlation: float | None
    """Spearman's, of both sides' scores of single groups, ties by mean ranks."""
    groups_compared: int
    all_restored_difference: float
    """Largest over items, of the switchable graph with everything restored from the float reference; nats per token."""
    none_restored_difference: float
    """Mean over items, of its values with nothing restored less those of the compiled int8 model."""
    budgets: tuple[Budget, ...]
    machine: MachineFacts | None = None
    """Where both sides were measured, if that is not where the file was begun."""

    @property
    def scale(self) -> float:
        """By which NNCF's times are multiplied before they are compared."""
        return self.quantise_s / self.nncf_quantise_s if self.nncf_quantise_s else 1.0

    def ratio(self, budget: Budget) -> float:
        """Wall time of the fast way over NNCF's, or over what NNCF has taken without reaching the budget."""
        return budget.ours.seconds / (self.scale * (budget.nncf.seconds if budget.nncf else self.nncf_seconds))


class Agreement(Frozen):
    """How well single groups' scores agree; Spearman's correlations, None where one side is all ties."""

    smooth_quant: bool
    seed: int
    groups: int
    items: int
    spearman: float | None
    """Of the switched graph with NNCF's models in float32 arithmetic."""
    spearman_with_ties: float | None
    """Where effects whose 95 % interval has 0 in it count as none."""
    told_apart: int
    """Groups whose effect has not, in NNCF's models."""
    nncf_with_itself: float | None
    """Of NNCF's models in float32 with the same as deployed."""
    nncf_with_itself_with_ties: float | None


class Bench(Frozen):
    """All cells."""

    machine: MachineFacts
    cells: tuple[Cell, ...] = ()
    agreements: tuple[Agreement, ...] = ()


def table(bench: Bench) -> str:
    """Markdown."""
    lines = [
        "| SmoothQuant | Seed | Budget, nats | Restored operations: fast | NNCF | Wall time, s: fast | NNCF | Ratio "
        "| Held-out drop: fast | NNCF |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for cell in bench.cells:
        lines += [_row(cell, budget) for budget in cell.budgets]
    return "\n".join((*lines, "", *summary(bench))) + "\n"


def _row(cell: Cell, budget: Budget) -> str:
    ours, theirs, ratio = budget.ours, budget.theirs, cell.ratio(budget)
    name, about = "on" if cell.smooth_quant else "off", "≈ " if cell.nncf_quantise_s else ""
    longer = "\\*" if budget.nncf is None else ""
    operations, drop = (f"{theirs.operations}{longer}", _said(theirs)) if theirs else ("not reached", "")
    time, quotient = (
        (f"{about}{cell.scale * budget.nncf.seconds:.0f}", f"{ratio:.2f}")
        if budget.nncf
        else (f"> {about}{cell.scale * cell.nncf_seconds:.0f}", f"< {ratio:.2f}")
    )
    return (
        f"| {name} | {cell.seed} | {budget.max_drop:.3f} ({100 * budget.share:.0f} %) | {ours.operations} "
        f"| {operations} | {ours.seconds:.0f} | {time} | {quotient} | {_said(ours)} | {drop} |"
    )


def _said(side: Side) -> str:
    drop = side.drop
    return f"{drop.value:.3f} [{drop.low:.3f}, {drop.high:.3f}]" if isinstance(drop, Estimate) else drop.missing


def summary(bench: Bench) -> list[str]:
    """Sentences: the ratio of wall times with its interval over cells and budgets, the excess of operations, and how
    well the two sides' scores agree."""
    pairs = [(b.ours, b.theirs) for cell in bench.cells for b in cell.budgets if b.theirs]
    logs = np.log([cell.ratio(b) for cell in bench.cells for b in cell.budgets if b.nncf])
    if len(logs) < 2:
        return []
    half = student.ppf(0.975, len(logs) - 1) * logs.std(ddof=1) / np.sqrt(len(logs))
    middle, low, high = np.exp([logs.mean(), logs.mean() - half, logs.mean() + half])
    excess = np.median([ours.operations / theirs.operations - 1 for ours, theirs in pairs])
    whole = max(cell.all_restored_difference for cell in bench.cells)
    none = ", ".join(f"{cell.none_restored_difference:+.3f}" for cell in bench.cells)
    return [
        f"Wall time of the fast way over NNCF's: {middle:.2f} [{low:.2f}, {high:.2f}], geometric mean of {len(logs)} "
        f"budgets, {max(np.exp(logs)):.2f} at most{_not_reached(bench)}. Median excess of restored operations "
        f"{100 * excess:+.0f} % ({len(pairs)} budgets).",
        *_longer(bench),
        *_times_apart(bench),
        "",
        f"Of the fast way's time, {_range([c.quantise_s for c in bench.cells])} s are nncf.quantize itself, which both "
        f"need. NNCF ranked {_range([c.nncf_rankings for c in bench.cells])} times in a cell: again whenever the loss "
        "grew with a group that it restored.",
        "",
        f"The switchable graph differs from the float reference by {whole:.1g} nats per token at most where everything "
        f"is restored, and from the int8 model, as deployed, by {none} on the mean where nothing is.",
        *(line for found in bench.agreements for line in ("", _agreement(found))),
    ]


def _not_reached(bench: Bench) -> str:
    missed = [(cell.nncf_minutes, cell.ratio(b)) for cell in bench.cells for b in cell.budgets if b.nncf is None]
    if not missed:
        return ""
    minutes, ratios = zip(*missed, strict=True)
    return f"; NNCF did not reach {len(missed)} more in {_range(minutes)} minutes (ratio below {max(ratios):.2f})"


def _longer(bench: Bench) -> list[str]:
    if not any(b.nncf is None and b.nncf_longer for cell in bench.cells for b in cell.budgets):
        return []
    return [
        "",
        "\\*: NNCF was stopped before it had reached the budget; what it restores is of a run of up to 40 minutes at "
        "another time, whose seconds are compared to nothing.",
    ]


def _times_apart(bench: Bench) -> list[str]:
    cells = [(c.nncf_quantise_s, c.quantise_s) for c in bench.cells if c.nncf_quantise_s]
    if not cells:
        return []
    pairs = ", ".join(f"{then:.0f} and {now:.0f} s" for then, now in cells)
    return [
        "",
        "≈: both sides were not measured one after the other, and NNCF's seconds are scaled by what nncf.quantize took "
        f"with each ({pairs}).",
    ]


def machines(bench: Bench) -> str:
    """The processors, the cells that ran on each, and the cores."""
    by_processor: dict[str, list[str]] = {}
    for cell in bench.cells:
        where = cell.machine or bench.machine
        name = f"{where.processor}, {where.logical_cores} cores"
        by_processor.setdefault(name, []).append(f"seed {cell.seed} {'on' if cell.smooth_quant else 'off'}")
    parts = [f"{name} ({', '.join(cells)})" for name, cells in by_processor.items()]
    return f"On {' and '.join(parts) if len(parts) > 1 else next(iter(by_processor))}."


def _range(values: Sequence[float]) -> str:
    low, high = f"{min(values):.0f}", f"{max(values):.0f}"
    return low if low == high else f"{low} to {high}"


def _agreement(found: Agreement) -> str:
    return (
        f"SmoothQuant {'on' if found.smooth_quant else 'off'}, {found.groups} groups restored one at a time, "
        f"{found.items} items: Spearman's correlation of the switched graph's scores with those of NNCF's models in "
        f"float32 is {_rho(found.spearman)}, with effects that cannot be told from 0 as ties "
        f"{_rho(found.spearman_with_ties)} ({found.told_apart} can); NNCF's models in float32 and as deployed agree "
        f"to {_rho(found.nncf_with_itself)}, with ties {_rho(found.nncf_with_itself_with_ties)}."
    )


def _rho(value: float | None) -> str:
    return "undefined (all are ties)" if value is None else f"{value:.2f}"
