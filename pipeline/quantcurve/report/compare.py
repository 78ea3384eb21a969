"""What changed between runs, in words and as a table."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from quantcurve.compare_records import (
    NONE,
    BytesChange,
    Comparison,
    FailedVariant,
    FigureChange,
    FigureName,
    RunChange,
    VariantChange,
    WordChange,
)
from quantcurve.estimates import Missing
from quantcurve.report import words

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

HASH = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{52}\b")
MOST_CHARACTERS = 300
"""Of a setting."""
STYLES = {"rose": "yellow", "fell": "yellow", "another": "yellow"}


class _Shown(NamedTuple):
    """How a figure is shown."""

    unit: str
    scale: float = 1.0
    of_change: str = ""
    """Unit of a difference; empty: the figure's."""


class _Row(NamedTuple):
    """A row of the table."""

    figure: str
    before: str
    after: str
    change: str
    told: str


FIGURES: dict[FigureName, _Shown] = {
    "KL mean": _Shown("nats"),
    "PPL ratio": _Shown(""),
    "top-1": _Shown("%", 100.0, "points"),
    "decode": _Shown("t/s"),
    "prefill": _Shown("t/s"),
    "TTFT": _Shown("ms", 1000.0),
}


def comparison(found: Comparison) -> Iterator[RenderableType]:
    """For each run against the base: what has to be known first, settings, inputs, variants, figures."""
    from rich.text import Text

    for run in found.runs:
        yield Text(words.plain(f"{run.run} against {found.base}"), style="bold")
        yield from (Text(words.plain(sentence), style="bold yellow") for sentence in run.first)
        yield from (Text(line) for line in (*_settings(run), *_inputs(run)))
        yield from _recipe(run)
        yield from (Text(line) for line in _came_and_went(run))
        yield Text("")
        if any(_changed(variant) for variant in run.variants):
            yield _table(run.variants)
            yield Text("")
        yield from (Text(line) for line in _the_same(run.variants))
        yield Text("")
    yield Text(found.rule)


def _settings(run: RunChange) -> Iterator[str]:
    if not run.settings:
        yield "Machine, versions, workload and engines' settings: the same."
    yield from (f"{_arrow(one)}" for one in run.settings)


def _inputs(run: RunChange) -> Iterator[str]:
    reference = run.reference
    yield _arrow(reference) if reference.changed else f"reference: the same, {_short(reference.before)}"
    if not run.texts:
        yield "Evaluation texts: the same."
    yield from (f"text {_arrow(one)}" for one in run.texts)


def _recipe(run: RunChange) -> Iterator[Text]:
    from rich.text import Text

    if not run.recipe.lines:
        yield Text("Recipe: the same.")
        return
    yield Text("Recipe:")
    for line in run.recipe.lines:
        yield Text(f"  {_printable(line)}", style={"-": "red", "+": "green"}.get(line[:1], ""))
    if run.recipe.left_out:
        yield Text(f"  ... {run.recipe.left_out} more lines")


def _came_and_went(run: RunChange) -> Iterator[str]:
    for said, names in (
        ("Only in this run", run.came),
        ("Only in the base", run.went),
        ("Failed in both", run.fails_in_both),
    ):
        if names:
            yield f"{said}: {words.listed([words.plain(name) for name in names])}."
    yield from _failures("failed only in this run", run.fails_now)
    yield from _failures("failed only in the base", run.works_now)


def _failures(said: str, variants: Sequence[FailedVariant]) -> Iterator[str]:
    yield from (words.plain(f"{variant.name} {said}: {variant.why}") for variant in variants)


def _table(variants: Sequence[VariantChange]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    for title in ("variant", "figure", "base", "this run", "change", ""):
        made.add_column(title, overflow="fold")
    for variant in variants:
        name = words.plain(variant.name)
        for row in _changed(variant):
            *cells, told = row
            made.add_row(Text(name), *map(Text, cells), Text(told, style=STYLES.get(told, "")))
            name = ""
    return made


def _changed(variant: VariantChange) -> list[_Row]:
    """What is not the same to the last digit."""
    rows = [_bytes(one) for one in variant.bytes if one.told != "same"]
    if variant.same_file is False:
        rows.insert(0, _Row("file", "", "", "", "another"))
    rows += [_figure(one) for one in variant.figures if one.told != "same" and not _never_measured(one)]
    return rows + [_Row(one.what, one.before, one.after, "", "another") for one in variant.verdicts if one.changed]


def _the_same(variants: Sequence[VariantChange]) -> Iterator[str]:
    """What did not change, variants with the same to tell together."""
    names: dict[str, list[str]] = {}
    for variant in variants:
        for said in _unchanged(variant):
            names.setdefault(said, []).append(variant.name)
    yield from (words.plain(f"{words.listed(own)}: {said}.") for said, own in names.items())


def _unchanged(variant: VariantChange) -> Iterator[str]:
    same = ["file"] if variant.same_file else []
    same += [one.figure for one in variant.bytes if one.told == "same"]
    same += [one.figure for one in variant.figures if one.told == "same"]
    same += [f"{one.what} ({one.before})" for one in variant.verdicts if not one.changed and one.before != NONE]
    yield f"the same {', '.join(same)}" if same else "nothing is the same"
    if never := [one.figure for one in variant.figures if _never_measured(one)]:
        yield f"{', '.join(never)} measured in neither run"


def _never_measured(one: FigureChange) -> bool:
    return isinstance(one.before, Missing) and isinstance(one.after, Missing)


def _figure(one: FigureChange) -> _Row:
    shown = FIGURES[one.figure]
    before, after = (words.bounds(figure, shown.scale) for figure in (one.before, one.after))
    if isinstance(one.change, Missing):
        change = one.change.missing
    elif one.by == "ratio":
        change = f"{words.bounds(one.change)} times"
    else:
        unit = shown.of_change or shown.unit
        change = f"{'+' if one.change.value > 0 else ''}{words.bounds(one.change, shown.scale, unit)}"
    return _Row(f"{one.figure} {shown.unit}".strip(), before, after, words.plain(change), one.told)


def _bytes(one: BytesChange) -> _Row:
    before, after = (x.missing if isinstance(x, Missing) else words.mib(x) for x in (one.before, one.after))
    change = ""
    if isinstance(one.before, int) and isinstance(one.after, int) and one.before:
        change = f"{100 * (one.after / one.before - 1):+.2f} %"
        change += "; measured once in each run" if one.told == "not judged" else ""
    return _Row(one.figure, words.plain(before), words.plain(after), change, one.told)


def _arrow(one: WordChange) -> str:
    return f"{words.plain(one.what)}: {_short(one.before)} -> {_short(one.after)}"


def _short(text: str) -> str:
    shown = HASH.sub(r"\1...", words.plain(text))
    return shown if len(shown) <= MOST_CHARACTERS else f"{shown[:MOST_CHARACTERS]}..."


def _printable(line: str) -> str:
    """A line of a recipe with its indentation."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
