"""What the page says of one run, as tables and sentences; the template only lays it out."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from itertools import takewhile
from typing import Literal, NamedTuple

from quantcurve.estimates import Estimate, Figure, Missing
from quantcurve.page.curve import contract_word, point_id, worst_slice
from quantcurve.page.method import Settings, hashes, machine, settings, stages
from quantcurve.page.tables import Cell, PageTable
from quantcurve.pick import pick
from quantcurve.pick_records import Limits, Mitigation
from quantcurve.recipe_openvino import FLOOR
from quantcurve.report import words
from quantcurve.report.behaviour_tables import behaviour_matrices, confidence_matrices, reliability_matrices
from quantcurve.report.by_text import KL, RATIO, TOP1, by_text
from quantcurve.report.choice import MOST_MITIGATIONS
from quantcurve.report.matrices import task_and_latency_matrices
from quantcurve.report.matrix import Matrix, MatrixRow
from quantcurve.report.notes import CONTRACT, Section, sections
from quantcurve.report.perplexity_tasks import perplexity_matrix, perplexity_tasks
from quantcurve.report.rows import COLUMNS, Column, Row, legend, rows
from quantcurve.report.slice_tables import FULL, slice_matrices
from quantcurve.results import RunResult, VariantResult
from quantcurve.scorecard_records import FailingItem
from quantcurve.verdicts import Decision

WIDE = 6
"""Columns above which a table by variant is turned, so that variants are its rows."""
DECISIONS: tuple[Decision | Literal["not evaluated"], ...] = ("pass", "undecided", "fail", "not evaluated")
AFTER = 3
"""Columns that the worst slice stands behind."""
BEFORE_TABLES = (CONTRACT,)
"""Sections that stand at the page's top."""


class TradeOffRow(NamedTuple):
    """The reference or a variant in the table that can be sorted and filtered."""

    id: str
    """Of its point in the curve; empty of the reference."""
    lane: str
    name: str
    marks: str
    screen: str
    contract: str
    cells: tuple[Cell, ...]


class TradeOff(NamedTuple):
    """That table."""

    columns: tuple[str, ...]
    rows: tuple[TradeOffRow, ...]
    has_contract: bool
    legend: str


class Try(NamedTuple):
    """Something to try, as recipe lines."""

    what: str
    why: str
    lines: str


class Verdict(NamedTuple):
    """What a reader takes home."""

    name: str
    """Of the variant to ship; empty: none is."""
    headline: str
    caveat: str
    """What the reference is, where that favours variants."""
    command: str
    """That deploys it."""
    counts: str
    """Variants by the contract's verdict; empty where there is no contract."""
    why: str
    runners_up: tuple[tuple[str, str], ...]
    """Name, and what it would cost."""
    tries: tuple[Try, ...]
    """Where none is: cheapest first."""
    contract: tuple[str, ...]


class Lost(NamedTuple):
    """A failing item with both answers, cut where they begin to differ."""

    variant: str
    slice: str
    item: str
    why: str
    same: str
    """Beginning that both answers share."""
    reference: str
    """The rest of the reference's answer."""
    found: str
    """The rest of the variant's."""
    first_divergent_token: int | None


class RunContent(NamedTuple):
    """One run."""

    place: int
    name: str
    folder: str
    verdict: Verdict
    table: TradeOff
    texts: tuple[PageTable, ...]
    slices: tuple[PageTable, ...]
    behaviour: tuple[PageTable, ...]
    reliability: tuple[PageTable, ...]
    perplexity: PageTable | None
    tasks_and_latency: tuple[PageTable, ...]
    failing: tuple[Lost, ...]
    sections: tuple[Section, ...]
    machine: tuple[tuple[str, str], ...]
    settings: tuple[Settings, ...]
    hashes: PageTable
    stages: PageTable
    recipe: str


def content(run: RunResult, index: int, folder: str) -> RunContent:
    """Everything about a run that the page shows.

    Args:
        run: the record.
        index: of the run on the page.
        folder: where it was read from, as the user named it.
    """
    found = sections(run)
    compared = perplexity_tasks(run)
    return RunContent(
        place=index,
        name=words.plain(run.name),
        folder=folder,
        verdict=_verdict(run, found, folder),
        table=_trade_off(run, index),
        texts=tuple(_table(m) for measure in (KL, RATIO, TOP1) if (m := by_text(run, measure))),
        slices=tuple(map(_table, slice_matrices(run, FULL))),
        behaviour=tuple(map(_table, (*behaviour_matrices(run), *confidence_matrices(run)))),
        reliability=tuple(map(_table, reliability_matrices(run))),
        perplexity=_table(perplexity_matrix(compared)) if compared else None,
        tasks_and_latency=tuple(map(_table, task_and_latency_matrices(run))),
        failing=tuple(_lost(v, item) for v in run.variants if v.scorecard for item in v.scorecard.failing),
        sections=tuple(s for s in found if s.heading not in BEFORE_TABLES),
        machine=tuple(machine(run)),
        settings=tuple(settings(run)),
        hashes=hashes(run),
        stages=stages(run),
        recipe=run.recipe_text,
    )


def _verdict(run: RunResult, found: Sequence[Section], folder: str) -> Verdict:
    choice = pick(run, Limits())
    name = words.plain(choice.name or "")
    measured = [v for v in run.variants if v.status == "measured"]
    if name:
        headline = f"Ship {name}."
    elif measured:
        headline = "No variant can be shipped as it is."
    else:
        headline = "No variant was measured."
    nearest = next((one.why for one in choice.rejected if one.name == choice.nearest_miss), "")
    why = f"{choice.why}. Nearest miss: {choice.nearest_miss}: {nearest}" if nearest else choice.why
    return Verdict(
        name=name,
        headline=headline,
        caveat=words.plain(choice.provenance) if run.reference.provenance.kind == "dequantised" else "",
        counts=_counts(run),
        command=shlex.join(["quantcurve", "deploy", folder, name, "--to", f"deployed/{name}"]) if name else "",
        why=words.plain(_sentence(why)),
        runners_up=tuple((words.plain(one.name), words.plain(one.sentence)) for one in choice.runners_up),
        tries=tuple(_try(one) for one in choice.mitigations[:MOST_MITIGATIONS]),
        contract=next((s.sentences for s in found if s.heading == CONTRACT), ()),
    )


def _try(one: Mitigation) -> Try:
    lines = f"# under {one.under}\n{one.recipe_lines}"
    lines += f"\n# under {one.also.under}\n{one.also.lines}" if one.also else ""
    return Try(
        words.plain(f"{one.what}{f' for {one.variant}' if one.variant else ''}: {one.cost}"),
        words.plain(one.why),
        lines,
    )


def _counts(run: RunResult) -> str:
    found = Counter(v.scorecard.verdict.decision for v in run.variants if v.scorecard)
    told = [f"{count} {decision}" for decision in DECISIONS if (count := found[decision])]
    return f"By the contract: {', '.join(told)}." if told else ""


def _sentence(text: str) -> str:
    text = f"{text[:1].upper()}{text[1:]}" if text[:1].islower() and not text.startswith("llama") else text
    return text if text.endswith(".") else f"{text}."


def _trade_off(run: RunResult, index: int) -> TradeOff:
    """The columns that a terminal shows first stand first, and behind the third of them the worst slice."""
    every = rows(run)
    filled = [c for c in COLUMNS if any(c.compact(row) != "-" for row in every)]
    shown = sorted(filled, key=lambda column: column.rank)
    by_name = {words.plain(v.name): v for v in run.variants}
    names = [words.plain(v.name) for v in run.variants]
    slices = any(v.scorecard and v.scorecard.slices for v in run.variants)
    made = []
    for row in every:
        variant = by_name.get(row.name) if row.verdict != "reference" else None
        cells = [_column(c, row) for c in shown]
        if slices:
            cells.insert(AFTER, _bounds(worst_slice(variant.scorecard if variant else None)))
        made.append(_row(row, variant, names, index, tuple(cells)))
    titles = [c.full_title for c in shown]
    if slices:
        titles.insert(AFTER, "worst slice (points lost)")
    contract = any(v.scorecard for v in run.variants)
    return TradeOff(tuple(titles), tuple(made), contract, legend(run))


def _row(
    row: Row, variant: VariantResult | None, names: Sequence[str], index: int, cells: tuple[Cell, ...]
) -> TradeOffRow:
    return TradeOffRow(
        id=point_id(index, row.name, names) if variant and variant.name != FLOOR else "",
        lane="" if variant is None else variant.engine if variant.name != FLOOR else "engine floor",
        name=row.name,
        marks=row.marks,
        screen=row.verdict,
        contract=contract_word(variant.scorecard) if variant else "",
        cells=cells,
    )


def _column(column: Column, row: Row) -> Cell:
    """With its bounds where the terminal has the interval too."""
    cell = column.cell(row)
    if isinstance(cell, Estimate) and row.name == FLOOR:
        return Cell(f"{cell.value * column.scale:.3g}", cell.value * column.scale)
    if isinstance(cell, Estimate):
        told = words.bounds if column.with_interval else words.alone
        return Cell(told(cell, column.scale), cell.value * column.scale)
    return _cell(cell)


def _cell(cell: Figure | str, scale: float = 1.0) -> Cell:
    if isinstance(cell, Missing):
        return Cell("-")
    if isinstance(cell, Estimate):
        return Cell(words.spread(cell, scale), cell.value * scale)
    try:
        return Cell(cell, float(cell.replace(",", "")))
    except ValueError:
        return Cell(cell)


def _table(matrix: Matrix) -> PageTable:
    """A matrix, turned where it has many variants as columns."""
    if matrix.corner == "text" and len(matrix.columns) > WIDE:
        by_column = zip(*(row.cells for row in matrix.rows), strict=True)
        turned = tuple(MatrixRow(name, tuple(cells)) for name, cells in zip(matrix.columns, by_column, strict=True))
        matrix = matrix._replace(corner="variant", columns=tuple(row.name for row in matrix.rows), rows=turned)
    made = tuple((row.name, tuple(_bounds(cell) for cell in row.cells)) for row in matrix.rows)
    return PageTable(matrix.heading, matrix.corner, matrix.columns, made, matrix.below)


def _bounds(cell: Figure | str) -> Cell:
    return _cell(cell) if not isinstance(cell, Estimate) else Cell(words.bounds(cell), cell.value)


def _lost(variant: VariantResult, item: FailingItem) -> Lost:
    alike = (a == b for a, b in zip(item.reference, item.variant, strict=False))
    shared = sum(1 for _ in takewhile(bool, alike))
    return Lost(
        variant=words.plain(variant.name),
        slice=words.plain(item.slice),
        item=words.plain(item.item),
        why=words.plain(item.why),
        same=item.reference[:shared],
        reference=item.reference[shared:],
        found=item.variant[shared:],
        first_divergent_token=item.first_divergent_token,
    )
