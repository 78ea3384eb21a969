"""What a calibration set covers, as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quantcurve.calibration import CalibrationResult, StratumCoverage
from quantcurve.errors import printable

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

LANGUAGES_SHOWN = 30


def coverage(result: CalibrationResult) -> RenderableType:
    """Strata with wanted and reached shares, languages, lengths, control tokens; then notes and warnings."""
    from rich.console import Group
    from rich.text import Text

    lines = [_line("languages", _languages(result)), _line("item lengths", _lengths(result))]
    lines.append(_line("control tokens", _special_tokens(result)))
    lines += [_line("note", Text(note)) for note in result.notes]
    lines += [_line("warning", Text(warning), "yellow") for warning in result.warnings]
    if unseen := [s.name for s in result.strata if not s.tokens]:
        lines.append(_line("not seen", Text(", ".join(unseen))))
    elif not result.warnings:
        lines.append(_line("complete", Text("every stratum is seen"), "green"))
    return Group(_strata(result), _aligned(lines))


def _strata(result: CalibrationResult) -> Table:
    from rich.table import Table
    from rich.text import Text

    size = f"{result.windows} windows of {result.window_tokens} tokens"
    table = Table(title=Text(f"Calibration set, mix {result.mix}: {size}"), title_justify="left")
    table.add_column("stratum", overflow="fold")
    for name in ("wanted", "reached", "tokens", "items", "left out"):
        table.add_column(name, justify="right" if name != "left out" else "left")
    for stratum in result.strata:
        table.add_row(
            stratum.name,
            _percent(stratum.wanted_share) if stratum.wanted_share else "spread",
            _percent(stratum.reached_share),
            f"{stratum.tokens:,}",
            f"{stratum.used} of {stratum.offered}",
            _left_out(stratum),
        )
    return table


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _left_out(stratum: StratumCoverage) -> str:
    counts = (
        (stratum.duplicates, "same"),
        (stratum.near_duplicates, "nearly the same"),
        (stratum.overlapping, "held out"),
        (stratum.refused, "refused"),
    )
    return ", ".join(f"{count} {what}" for count, what in counts if count)


def _languages(result: CalibrationResult) -> RenderableType:
    from rich.text import Text

    total = sum(language.tokens for language in result.languages)
    shown = [f"{c.language} {_percent(c.tokens / total)}" for c in result.languages[:LANGUAGES_SHOWN]]
    if len(result.languages) > LANGUAGES_SHOWN:
        shown.append(f"and {len(result.languages) - LANGUAGES_SHOWN} more")
    return Text(", ".join(shown))


def _lengths(result: CalibrationResult) -> RenderableType:
    from rich.text import Text

    found = result.lengths
    middle = f"half of them {found.lower_quartile:,} to {found.upper_quartile:,}, median {found.median:,}"
    return Text(f"{found.shortest:,} to {found.longest:,} tokens, {middle}")


def _special_tokens(result: CalibrationResult) -> RenderableType:
    from rich.text import Text

    return Text(
        ", ".join(f"{printable(t.text, 40)} {t.count:,} times" for t in result.special_tokens) or "none in the set"
    )


def _line(label: str, content: RenderableType, style: str = "") -> tuple[RenderableType, RenderableType]:
    from rich.text import Text

    return Text(label, style), content


def _aligned(lines: list[tuple[RenderableType, RenderableType]]) -> Table:
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for label, content in lines:
        table.add_row(label, content)
    return table
