"""What `serve` shows and what it gives out: the runs below a folder, and those of their files that are named here.

Nothing outside the folder is ever read, wherever a request or a symbolic link leads.
"""

from __future__ import annotations

import os
import re
import shlex
import stat
import threading
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, unquote_to_bytes

from quantcurve.encoder_results import EncoderResult
from quantcurve.errors import RecipeError, printable
from quantcurve.records import Frozen
from quantcurve.report import loading
from quantcurve.report.loading import RECIPE, RESULTS, TABLE
from quantcurve.results import RunResult

DEPTH = 3
"""Levels of folders below the served one in which runs are looked for."""
PAGE = "report.html"
MOST_CHARACTERS = 600
"""Of what is said of a results file that cannot be read."""
PLAIN_POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox"
PICTURE_POLICY = f"style-src 'unsafe-inline'; img-src data:; {PLAIN_POLICY}"
PAGE_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; font-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox allow-scripts allow-downloads"
)
"""A page runs its own scripts, but reads nothing else of this server and reaches nothing outside."""
LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
_CONTROL = re.compile(r"[\x00-\x1f\x7f\\]")


class Served(NamedTuple):
    """A folder that is served."""

    named: Path
    """As the user named it."""
    folder: Path
    """Without symbolic links."""


class FileKind(NamedTuple):
    """How a file of a run is given out."""

    content_type: str
    policy: str
    """Content security policy."""


KINDS = {
    PAGE: FileKind("text/html; charset=utf-8", PAGE_POLICY),
    RESULTS: FileKind("application/json", PLAIN_POLICY),
    TABLE: FileKind("text/plain; charset=utf-8", PLAIN_POLICY),
    "curve.svg": FileKind("image/svg+xml", PICTURE_POLICY),
    "curve.png": FileKind("image/png", PICTURE_POLICY),
    RECIPE: FileKind("text/plain; charset=utf-8", PLAIN_POLICY),
}
"""All that is given out, by name."""


class ServedFile(NamedTuple):
    """A file that may be given out."""

    path: Path
    """Without symbolic links."""
    kind: FileKind


class Listing(NamedTuple):
    """The list of runs was asked for."""


class MovedTo(NamedTuple):
    """A run's address lacks its last slash."""

    location: str
    """Path of a URL."""


class NotThere(NamedTuple):
    """Nothing to give out."""

    why: str
    suspicious: bool = False
    """Whether it led outside the folder, which is logged."""


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
    has_page: bool = False


def served(folder: Path) -> Served:
    """The folder to be served.

    Raises:
        RecipeError: it is none, or cannot be read.
    """
    try:
        resolved = folder.resolve(strict=True)
        os.scandir(resolved).close()
    except OSError as error:
        raise RecipeError(
            f"{folder}: runs cannot be served from there ({error.strerror}); name a folder with runs: quantcurve serve "
            "FOLDER (`quantcurve run RECIPE` writes them to runs/NAME)"
        ) from error
    return Served(folder, resolved)


def answered_host(header: str | None, bound: str) -> bool:
    """Whether a request's Host header names this server: a page whose name was bound to 127.0.0.1 must not read it.

    Args:
        header: as it was sent, with or without a port.
        bound: what a loopback server was bound to.
    """
    name = re.sub(r":\d*$", "", (header or "").strip().lower())
    own = f"[{bound.lower()}]" if ":" in bound else bound.lower()
    return name in LOOPBACK | {own}


def answer(of: Served, target: str) -> Listing | ServedFile | MovedTo | NotThere:
    """What a request is for.

    Args:
        of: the folder.
        target: of the request as it was sent: path and query, percent-encoded.
    """
    path = os.fsdecode(unquote_to_bytes(re.split(r"[?#]", target, maxsplit=1)[0]))
    if not path.startswith("/") or _CONTROL.search(path):
        return NotThere("no such address", suspicious=True)
    if path == "/":
        return Listing()
    parts = path[1:].split("/")
    if {".", ".."} & set(parts):
        return NotThere("an address that leads out of the folder", suspicious=True)
    name = parts[-1] or PAGE
    run = parts[:-1] if name in KINDS else parts
    if "" in run or len(run) > DEPTH:
        return NotThere("no such address")
    results = _file(of, run, RESULTS)
    if isinstance(results, NotThere):
        return results
    if name not in KINDS:
        return MovedTo(f"/{_quoted('/'.join(run))}/")
    found = _file(of, run, name)
    if name == PAGE and isinstance(found, NotThere) and not found.suspicious:
        command = f"quantcurve report {shlex.quote(str(of.named.joinpath(*run)))}"
        return NotThere(f"this run has no page yet; this command writes it: {printable(command)}")
    return found


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
        blank = RunRow(path=printable(path), base=f"/{_quoted(path)}/" if run else "/")
        found = _file(of, run, RESULTS)
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
        return row.model_copy(update={"has_page": isinstance(_file(of, run, PAGE), ServedFile)})


def _file(of: Served, run: Sequence[str], name: str) -> ServedFile | NotThere:
    """A file of a run, if that is where it seems to be, inside the folder."""
    if any(part.startswith(".") for part in run):
        return NotThere("hidden folders are not served")
    try:
        path = of.folder.joinpath(*run, name).resolve(strict=True)
        regular = stat.S_ISREG(path.stat().st_mode)
    except (OSError, RuntimeError, ValueError):  # not there; a loop of links; a name that no file can have
        return NotThere("there is no such run" if name == RESULTS else f"this run has no {name}")
    if not path.is_relative_to(of.folder):
        return NotThere(f"{name} leads out of the folder that is served", suspicious=True)
    return ServedFile(path, KINDS[name]) if regular else NotThere(f"{name} is no file")


def _runs(folder: Path, at: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Parts of the paths of runs; links to folders are not followed."""
    try:
        with os.scandir(folder.joinpath(*at)) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
            if any(entry.name == RESULTS and not entry.is_dir() for entry in found):
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


def _grouped(decided: list[tuple[str, str]]) -> tuple[Verdicts, ...]:
    decisions = dict.fromkeys(decision for _, decision in decided)
    return tuple(
        Verdicts(decision=decision, variants=tuple(name for name, own in decided if own == decision))
        for decision in decisions
    )


def _quoted(path: str) -> str:
    return quote(os.fsencode(path))
