"""Files with texts, local or from the hub: plain text, or records in JSONL, JSON and Parquet."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from quantcurve.errors import PrerequisiteError, RecipeError
from quantcurve.recipe_text import Text


class Record(NamedTuple):
    """One record of a file."""

    path: Path
    number: int
    """Its line in JSONL, else its place; from 1."""
    row: Any


def read(text: Text, base: Path) -> str | list[Record]:
    """Content of a plain text file, or the records of another one.

    Args:
        text: the recipe's entry; its source is a file or hf:OWNER/NAME[@REVISION]#FILE.
        base: folder that relative paths start from.

    Raises:
        RecipeError: it cannot be read.
        PrerequisiteError: a package or the hub is missing.
    """
    scheme, _, rest = text.source.partition(":")
    path = _download(text.name, rest) if scheme == "hf" else _local(text, base)
    return _read_file(text, path)


def value_at(text: Text, record: Record) -> Any:
    """What a record has at the text's field, dots for nesting.

    Raises:
        RecipeError: there is no such field.
    """
    assert text.field
    here = record.row
    for part in text.field.split("."):
        if not isinstance(here, dict) or part not in here:
            keys = ", ".join(here) if isinstance(here, dict) else type(here).__name__
            where = f"{record.path}:{record.number}"
            raise RecipeError(f"text {text.name}: {where}: no field {text.field!r} (there is: {keys})")
        here = here[part]
    return here


def text_at(text: Text, record: Record) -> str:
    """The same where it must be a text.

    Raises:
        RecipeError: there is no such field, or it is something else.
    """
    here = value_at(text, record)
    if not isinstance(here, str):
        where = f"{record.path}:{record.number}"
        raise RecipeError(f"text {text.name}: {where}: field {text.field!r} is no text but {here!r:.60}")
    return here


def without_field(text: Text, records: Sequence[Record]) -> str:
    """Message for records without a field to read."""
    path = records[0].path if records else text.source
    return f"text {text.name}: {path} has records; name the one with the text, for example `field: text`"


def _download(name: str, rest: str) -> Path:
    from quantcurve.sources import download_file

    repository, _, file = rest.partition("#")
    if not file:
        raise RecipeError(f"text {name}: 'hf:{rest}' names no file; write hf:OWNER/NAME[@REVISION]#FILE")
    return download_file(repository, file, repo_type="dataset")


def _local(text: Text, base: Path) -> Path:
    try:
        return base / Path(text.source).expanduser()
    except RuntimeError as error:  # ~ without a home
        raise RecipeError(f"text {text.name}: {text.source}: {error} Write the path out") from error


def _read_file(text: Text, path: Path) -> str | list[Record]:
    try:
        if path.is_char_device() or path.is_fifo():  # which may never end
            raise RecipeError(f"text {text.name}: {path} is no file; name a text file or one with records")
        if path.suffix in {".jsonl", ".ndjson"}:
            return _records(path, _json_lines(path))
        if path.suffix == ".json":
            return _records(path, _numbered(json.loads(path.read_text(encoding="utf-8"))))
        if path.suffix == ".parquet":
            return _records(path, _numbered(_parquet_rows(text.name, path)))
        if text.field:
            raise RecipeError(f"text {text.name}: field {text.field!r} is for records; {path} is plain text")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise RecipeError(f"text {text.name}: {path} cannot be read ({error.strerror}); check the path") from error
    except UnicodeDecodeError as error:
        raise RecipeError(f"text {text.name}: {path} is not UTF-8 (byte {error.start}); convert it") from error
    except json.JSONDecodeError as error:
        raise RecipeError(f"text {text.name}: {path}:{error.lineno}: not valid JSON: {error.msg}") from error
    except RecursionError as error:
        raise RecipeError(f"text {text.name}: {path}: JSON nested too deeply; flatten it") from error


def _records(path: Path, rows: Iterable[tuple[int, Any]]) -> list[Record]:
    return [Record(path, number, row) for number, row in rows]


def _json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except json.JSONDecodeError as error:
                raise json.JSONDecodeError(error.msg, "\n" * (number - 1) + line, number - 1 + error.pos) from error


def _numbered(rows: Any) -> Iterator[tuple[int, Any]]:
    return enumerate(rows if isinstance(rows, list) else [rows], 1)


def _parquet_rows(name: str, path: Path) -> list[Any]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise PrerequisiteError(
            f"{path}: reading Parquet needs pyarrow", "pip install 'quantcurve[parquet]'"
        ) from error
    try:
        rows: list[Any] = parquet.read_table(path).to_pylist()
    except ArrowException as error:
        raise RecipeError(f"text {name}: {path} cannot be read as Parquet: {error}") from error
    return rows
