"""Reading a run's results.json, whatever somebody made of it: every way in which it can be wrong has its sentence."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from quantcurve import __version__
from quantcurve.encoder_results import EncoderResult
from quantcurve.errors import RecipeError, printable
from quantcurve.report.misfits import first_misfit
from quantcurve.results import SCHEMA_VERSION, RunResult

RESULTS, RECIPE, TABLE, PAGE = "results.json", "recipe.yaml", "table.md", "report.html"
LARGEST_BYTES = 2**28
"""Of a results file; the largest known have a few MiB."""
MOST_NAMED = 3
"""Runs that are named where a folder of runs was given for a run."""

_LAST_TOKEN = re.compile(r"[\w.+\\-]*\s*")
"""A number, a word or an escape that may be cut off, at the end of a file."""

Migration = Callable[[dict[str, Any]], dict[str, Any]]
"""The JSON of one schema version to that of the next, `schema_version` included."""
MIGRATIONS: Mapping[int, Migration] = {}
"""By the version that they start from."""


def load(path: Path) -> RunResult:
    """Read a language model's run from its folder or its results.json.

    Raises:
        RecipeError: as `load_any`, or it is an encoder's.
    """
    found = load_any(path)
    if isinstance(found, EncoderResult):
        raise RecipeError(
            f"{path}: the run of an embedding model, which this command is not for: its table is {TABLE} there, and "
            "`quantcurve explain` shows what accuracy control did"
        )
    return found


def load_any(path: Path) -> RunResult | EncoderResult:
    """Read a run, of a language model or an encoder.

    Raises:
        RecipeError: it is not there, is damaged or something else, was written by a newer quantcurve, or by one so old
            that nothing here brings it up to date.
    """
    file = path / RESULTS if path.is_dir() else path
    try:
        data = contents(file, file)
    except FileNotFoundError as error:
        raise RecipeError(_absent(path, file)) from error
    return parse(data, file)


def contents(file: Path, named: Path) -> bytes:
    """All bytes of a results file.

    Args:
        file: to be read.
        named: what messages call it.

    Raises:
        FileNotFoundError: it is not there.
        RecipeError: it cannot be read, or is too large to be one.
    """
    try:
        with file.open("rb") as opened:
            data = opened.read(LARGEST_BYTES + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise RecipeError(f"{named}: no results: it cannot be read ({error.strerror})") from error
    if len(data) > LARGEST_BYTES:
        raise RecipeError(
            f"{named}: larger than {LARGEST_BYTES // 2**20} MiB, which no results of quantcurve are; name a run's "
            f"folder or its {RESULTS}"
        )
    return data


def parse(data: bytes, file: Path, migrations: Mapping[int, Migration] = MIGRATIONS) -> RunResult | EncoderResult:
    """The record in the bytes of a results file.

    Args:
        data: all of the file.
        file: where they are from, for messages.
        migrations: from older schema versions, by version.

    Raises:
        RecipeError: as `load_any`.
    """
    record = _brought_up(_object(data, file), file, migrations)
    kind = EncoderResult if record.get("kind") == "encoder" else RunResult
    try:
        return kind.model_validate(record)
    except ValidationError as error:
        raise RecipeError(f"{file}: {_unfit(error, record)}\n  {_again(file)}") from error


def _absent(path: Path, file: Path) -> str:
    if not path.is_dir():
        return f"{path}: no results: there is no such file or folder; `quantcurve run RECIPE` writes them"
    if runs := sorted(found.parent for found in path.glob(f"*/{RESULTS}")):
        named = ", ".join(str(run) for run in runs[:MOST_NAMED]) + (", ..." if len(runs) > MOST_NAMED else "")
        return f"{path}: no results, but the runs {named} are in it; name one of these"
    return f"{path}: a folder without {RESULTS}: no run's, or of one that has not finished\n  {_again(file)}"


def _object(data: bytes, file: Path) -> dict[str, Any]:
    """The JSON object in a file that has the marks of results."""
    try:
        text = data.decode("utf-8-sig")
        found = json.loads(text)
    except UnicodeDecodeError as error:
        raise RecipeError(_no_text(error, file)) from error
    except json.JSONDecodeError as error:
        raise RecipeError(f"{file}: {_damage(error, len(data))}\n  {_again(file)}") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, or thousands of brackets
        raise RecipeError(f"{file}: JSON, but no results of quantcurve: {error}") from error
    lacks = [key for key in ("schema_version", "name") if key not in found] if isinstance(found, dict) else []
    if not isinstance(found, dict) or lacks:
        why = f"it has no {' and no '.join(lacks)}" if lacks else f"it is {_kind(found)}, not an object"
        raise RecipeError(f"{file}: JSON, but no results of quantcurve: {why}; name a run's folder or its {RESULTS}")
    return found


def _no_text(error: UnicodeDecodeError, file: Path) -> str:
    if error.reason == "unexpected end of data":
        return f"{file}: damaged: cut off after byte {len(error.object):,}, in a character\n  {_again(file)}"
    return (
        f"{file}: no results of quantcurve, or damaged ones: byte {error.start + 1:,} is "
        f"0x{error.object[error.start]:02x}, and that is no text in UTF-8\n  {_again(file)}"
    )


def _damage(error: json.JSONDecodeError, size_bytes: int) -> str:
    if not error.doc.strip():
        return "damaged: the file is empty"
    in_last = error.pos > 0 and _LAST_TOKEN.fullmatch(error.doc, error.pos)
    if in_last or error.msg.startswith("Unterminated string"):
        last = error.doc.count("\n") + 1
        return f"damaged: cut off in line {last:,}, after byte {size_bytes:,}"
    at = f"line {error.lineno:,}, column {error.colno:,}"
    return f"damaged, or no results of quantcurve: {at} is no JSON ({error.msg})"


def _kind(value: object) -> str:
    names = {list: "a list", str: "a string", bool: "true or false", int: "a number", float: "a number"}
    return names.get(type(value), "null")


def _brought_up(record: dict[str, Any], file: Path, migrations: Mapping[int, Migration]) -> dict[str, Any]:
    """The record as this quantcurve writes it, from any schema version that it knows."""
    version = record["schema_version"]
    if isinstance(version, bool) or not isinstance(version, int):
        raise RecipeError(
            f"{file}: JSON, but no results of quantcurve: its schema_version is {_shown(version)}, no whole number"
        )
    said = f"schema version {_shown(version)}"
    if version > SCHEMA_VERSION:
        raise RecipeError(
            f"{file}: written by a newer quantcurve ({said}; this one reads {SCHEMA_VERSION}): update quantcurve"
        )
    for step in range(version, SCHEMA_VERSION):
        if step not in migrations:
            raise RecipeError(f"{file}: of {said}, and this quantcurve reads {SCHEMA_VERSION}\n  {_again(file)}")
        record = migrations[step](record)
    return record


def _unfit(error: ValidationError, record: dict[str, Any]) -> str:
    first, more = first_misfit(error, record)
    others = f", and {more} more field{'s' * (more > 1)}" if more else ""
    by = record.get("quantcurve_version")
    wrote = f"; quantcurve {_shown(by)} wrote it, this is {__version__}" if isinstance(by, str) else ""
    wrote = wrote if by != __version__ else ""
    return f"not what results of schema version {SCHEMA_VERSION} are: {first}{others}{wrote}"


def _again(file: Path) -> str:
    """The command that makes a results file anew."""
    recipe, folder = file.with_name(RECIPE), shlex.quote(str(file.parent))
    if recipe.is_file():
        named = shlex.quote(str(recipe))
        return f"make it again, from the store where that has the steps: quantcurve run {named} --out {folder}"
    return f"name a run's folder or its {RESULTS}, or make it again: quantcurve run RECIPE --out {folder}"


def _shown(value: object) -> str:
    return printable(value if isinstance(value, str) else json.dumps(value), 60)
