"""What `serve` gives out: of the runs below a folder those files that are named here.

Nothing outside the folder is ever read, wherever a request or a symbolic link leads.
"""

from __future__ import annotations

import os
import re
import shlex
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, unquote_to_bytes

from quantcurve.errors import RecipeError, printable
from quantcurve.report.loading import PAGE, RECIPE, RESULTS, TABLE

DEPTH = 3
"""Levels of folders below the served one in which runs are looked for."""
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
    results = file_of(of, run, RESULTS)
    if isinstance(results, NotThere):
        return results
    if name not in KINDS:
        return MovedTo(f"/{quoted('/'.join(run))}/")
    found = file_of(of, run, name)
    if name == PAGE and isinstance(found, NotThere) and not found.suspicious:
        command = f"quantcurve report {shlex.quote(str(of.named.joinpath(*run)))}"
        return NotThere(f"this run has no page yet; this command writes it: {printable(command)}")
    return found


def file_of(of: Served, run: Sequence[str], name: str) -> ServedFile | NotThere:
    """A file of a run, if that is where it seems to be, inside the folder.

    Args:
        of: the folder.
        run: names of the folders from there down to the run's.
        name: one of `KINDS`.
    """
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


def quoted(path: str) -> str:
    """A path as part of a URL."""
    return quote(os.fsencode(path))
