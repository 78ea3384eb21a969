"""The runs below a folder as `serve` lists them."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from quantcurve.encoder_results import EncoderResult
from quantcurve.errors import RecipeError, printable
from quantcurve.records import Frozen
from quantcurve.report import loading
from quantcurve.report.loading import PAGE, RESULTS, TABLE
from quantcurve.results import RunResult
from quantcurve.serving import DEPTH, NotThere, Served, ServedFile, file_of, quoted

MOST_CHARACTERS = 600
"""Of what is said of a results file that cannot be read."""


class Verdicts(Frozen):
    """Variants of one verdict."""

    decision: str
    variants: tuple[str, ...]


class RunRow(Frozen):
    """A run as it is listed."""

    path: str
    """Below the served folder, with slashes; empty for that folder itself."""
    base: str
    """Path of the URL that its files are below."""
    when: datetime | None = None
    """Of results.json, local time with its zone."""
    error: str = ""
    """Why nothing else is known of it."""
    name: str = ""
    model: str = ""
    machine: str = ""
    measured: int = 0
    failed: int = 0
    judged_by: str = ""
    """The contract or the screen; empty: neither."""
    verdicts: tuple[Verdicts, ...] = ()
    page: str = PAGE
    """Name of the file to look at; of an encoder's run its table."""
    has_page: bool = False


def run_rows(of: Served, known: KnownRuns) -> tuple[RunRow, ...]:
    """Every run in a folder and down to `DEPTH` levels below it, the newest first; hidden folders are left out.

    Args:
        of: the folder.
        known: what was read before.
    """
    rows = [known.row(of, run) for run in _runs(of.folder, ())]
    return tuple(sorted(rows, key=lambda row: (-(row.when.timestamp() if row.when else 0.0), row.path)))


class KnownRuns:
    """Rows of results files that did not change since they were read; for several threads."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, ...], tuple[tuple[int, int, int], RunRow]] = {}
        self._lock = threading.Lock()

    def row(self, of: Served, run: tuple[str, ...]) -> RunRow:
        """The row of a run, read only if its results file is another than before.

        Args:
            of: the folder.
            run: names of the folders from there down to the run's.
        """
        path = "/".join(run)
        blank = RunRow(path=printable(path), base=f"/{quoted(path)}/" if run else "/")
        found = file_of(of, run, RESULTS)
        if isinstance(found, NotThere):
            return blank.model_copy(update={"error": found.why})
        try:
            status = found.path.stat()
            mark = status.st_mtime_ns, status.st_size, status.st_ino
            with self._lock:
                before = self._rows.get(run)
            row = before[1] if before and before[0] == mark else _read(found.path, of.named.joinpath(*run), blank)
        except OSError as error:
            return blank.model_copy(update={"error": f"{RESULTS}: {error.strerror}"})
        with self._lock:
            self._rows[run] = mark, row
        return row.model_copy(update={"has_page": isinstance(file_of(of, run, row.page), ServedFile)})


def _runs(folder: Path, at: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Parts of the paths of runs; links to folders are not followed."""
    try:
        with os.scandir(folder.joinpath(*at)) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
            if any(entry.name == RESULTS and not entry.is_dir(follow_symlinks=False) for entry in found):
                yield at
            below = [e.name for e in found if not e.name.startswith(".") and e.is_dir(follow_symlinks=False)]
    except OSError:  # gone, or not ours to read
        return
    if len(at) < DEPTH:
        for name in below:
            yield from _runs(folder, (*at, name))


def _read(file: Path, named: Path, blank: RunRow) -> RunRow:
    when = datetime.fromtimestamp(file.stat().st_mtime).astimezone()
    try:
        run = loading.parse(loading.contents(file, named / RESULTS), named / RESULTS)
    except RecipeError as error:
        return blank.model_copy(update={"when": when, "error": printable(str(error), MOST_CHARACTERS)})
    judged_by, verdicts = _encoder_verdicts(run) if isinstance(run, EncoderResult) else _verdicts(run)
    return blank.model_copy(
        update={
            "when": when,
            "name": run.name,
            "model": run.model if isinstance(run, EncoderResult) else run.reference.source,
            "machine": f"{run.machine.processor}, {run.machine.logical_cores} cores, {run.machine.system}",
            "measured": sum(v.status == "measured" for v in run.variants),
            "failed": sum(v.status == "failed" for v in run.variants),
            "page": TABLE if isinstance(run, EncoderResult) else PAGE,
            "judged_by": judged_by,
            "verdicts": verdicts,
        }
    )


def _verdicts(run: RunResult) -> tuple[str, tuple[Verdicts, ...]]:
    """The contract's; the screen's where there is no contract."""
    if contract := [(v.name, v.scorecard.verdict.decision) for v in run.variants if v.scorecard]:
        return "contract", _grouped(contract)
    screened = [(v.name, v.verdict.decision.replace("_", " ")) for v in run.variants if v.verdict]
    return ("screen" if screened else ""), _grouped(screened)


def _encoder_verdicts(run: EncoderResult) -> tuple[str, tuple[Verdicts, ...]]:
    contract = [(v.name, v.verdict.decision) for v in run.variants if v.verdict]
    return ("contract" if contract else ""), _grouped(contract)


def _grouped(decided: Sequence[tuple[str, str]]) -> tuple[Verdicts, ...]:
    decisions = dict.fromkeys(decision for _, decision in decided)
    return tuple(
        Verdicts(decision=decision, variants=tuple(name for name, own in decided if own == decision))
        for decision in decisions
    )
