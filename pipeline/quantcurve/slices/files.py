"""Items of a slice from a JSONL file: the user's own, with the fields of items.py, or rows of a public set."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, NamedTuple, cast, get_args

from pydantic import ValidationError

from quantcurve.errors import RecipeError
from quantcurve.recipe_errors import MOST_LEVELS
from quantcurve.slices import formats
from quantcurve.slices.errors import explained, item_class, mistake, near
from quantcurve.slices.items import ChoiceItem, Item, Kind
from quantcurve.slices.sound import check
from quantcurve.text_files import Record

FEWEST = 2
"""Items of a slice: of fewer no interval can be given."""
MISTAKES_SHOWN = 5
"""Lines with mistakes."""
KINDS: tuple[Kind, ...] = get_args(Kind)


class _Found(NamedTuple):
    record: Record
    item: Item


def read(path: Path, kind: Kind | None, format: str | None, limit: int | None, seed: int) -> tuple[Item, ...]:  # noqa: A002
    """Items of a file, one a line, in the file's order; blank lines are skipped. An item without an id gets the number
    of its line.

    Of equal questions in a public set the first is kept; in a file of the user's they are an error.

    Args:
        path: a JSONL file in UTF-8, with a byte order mark or without.
        kind: of all items; None where the lines or the format say it.
        format: of a public set, one of formats.NAMES; None where the lines have the fields of items.py.
        limit: most items, drawn at random from all of the file; a smaller draw of the same seed is part of a larger.
            None: all items.
        seed: of the draw, and of the order of choices where a format says so.

    Raises:
        RecipeError: the file cannot be read, or is wrong; one line of text for each mistake.
        PrerequisiteError: an item has a schema, and jsonschema is not installed.
    """
    if limit is not None and limit < FEWEST:
        raise RecipeError(f"{path}: limit: {limit} items are too few for an interval; ask for {FEWEST} or more")
    if format is not None:
        _require_kind(path, kind, format)
    found, mistakes = list[_Found](), list[str]()
    for number, line in lines(path):
        record = Record(path, number, line)
        try:
            record = record._replace(row=row(record))
            item = _own(record, kind) if format is None else formats.item(format, record, seed)
            check(record, item)
            found.append(_Found(record, item if item.id else item.model_copy(update={"id": str(number)})))
        except RecipeError as error:
            mistakes.append(str(error))
    kept = _without_repeats(found) if format is not None else found
    mistakes += _clashes(kept)
    if mistakes:
        raise of_mistakes(mistakes)
    require_enough(path, [one.record.number for one in found], len(kept))
    return _drawn([one.item for one in kept], limit, seed)


def _require_kind(path: Path, kind: Kind | None, name: str) -> None:
    has = formats.kind_of(name, str(path))
    if kind not in {None, has}:
        raise RecipeError(f"{path}: kind: format {name} has items of kind {has} (got {kind!r}); leave kind out")


def of_mistakes(mistakes: Sequence[str]) -> RecipeError:
    """One error of some mistakes, a line of text each; of many the first."""
    more = [f"and {len(mistakes) - MISTAKES_SHOWN} lines more"] if len(mistakes) > MISTAKES_SHOWN else []
    return RecipeError("\n".join([*mistakes[:MISTAKES_SHOWN], *more]))


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines that are not blank, with their numbers from 1.

    Raises:
        RecipeError: the file cannot be read, or is no text in UTF-8.
    """
    try:
        if path.is_char_device() or path.is_fifo():  # which may never end
            raise RecipeError(f"{path}: is no file; name a JSONL file")
        with path.open("rb") as file:
            raw = file.read(4096)
            if b"\0" not in raw:
                raw += file.read()
    except FileNotFoundError as error:
        raise RecipeError(f"{path}: there is no such file; {_similar(path)}") from error
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    if b"\0" in raw:
        line = raw.count(b"\n", 0, raw.index(b"\0")) + 1
        raise RecipeError(f"{path}:{line}: a zero byte: binary, or UTF-16; name a JSONL file, saved as UTF-8")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise RecipeError(
            f"{path}:{line}: not UTF-8 text (got byte 0x{error.object[error.start]:02x}); name a JSONL file that is "
            "not packed, saved as UTF-8"
        ) from error
    return ((number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip())


def _similar(path: Path) -> str:
    try:
        similar = near(path.name, [other.name for other in path.parent.iterdir()])
    except OSError:
        similar = ""
    return f"did you mean {similar}?" if similar else "check the path"


def row(record: Record) -> dict[str, Any]:
    """A line's object, in which every value is finite, UTF-8 and not too deep.

    Raises:
        RecipeError: it is none.
    """
    try:
        found = json.loads(record.row, object_pairs_hook=partial(_unique, record))
    except json.JSONDecodeError as error:
        step = "write one JSON object a line, on one line"
        raise mistake(record, None, f"not valid JSON: {error.msg}, column {error.colno}", step, record.row) from error
    except RecursionError as error:
        raise mistake(record, None, "nested too deeply", "flatten it") from error
    except ValueError as error:  # Python reads no integers of thousands of digits
        raise mistake(record, None, "a number of thousands of digits", "write a shorter one") from error
    if not isinstance(found, dict):
        raise mistake(record, None, "an item is an object with fields", "write one object in {} a line", found)
    for field, value in found.items():
        _require_plain(record, field, value)
    return found


def _unique(record: Record, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict[str, Any]()
    for name, value in pairs:
        if name in found:
            raise mistake(record, name, "stands twice in an object", "remove one of them", value)
        found[name] = value
    return found


def _require_plain(record: Record, field: str, value: Any) -> None:
    level = [value]
    for _ in range(MOST_LEVELS):
        inner = [list(v.values()) if isinstance(v, dict) else v for v in level if isinstance(v, dict | list)]
        level = [entry for entries in inner for entry in entries]
    if level:
        raise mistake(record, field, f"nested in more than {MOST_LEVELS} levels", "flatten it")
    try:
        json.dumps([field, value], ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError as error:
        raise mistake(record, field, "half a surrogate pair", "remove it", ascii(value)) from error
    except ValueError as error:
        step = "write a finite number, or leave the field out"
        raise mistake(record, field, "NaN or infinite, which JSON does not have", step, value) from error


def _own(record: Record, kind: Kind | None) -> Item:
    fields = record.row
    there = fields.get("kind", kind)
    if there is None:
        step = f"write it in the recipe or in every line, one of {', '.join(KINDS)}"
        public = ", ".join(formats.NAMES)
        raise mistake(record, "kind", "required field is missing", f"{step}; or name a public set's format ({public})")
    if there not in KINDS:
        similar = near(str(there), KINDS)
        step = f"did you mean {similar}?" if similar else "correct it"
        raise mistake(record, "kind", f"must be one of {', '.join(KINDS)}", step, there)
    if kind is not None and there != kind:
        raise mistake(record, "kind", f"the recipe says {kind}", "a slice has items of one kind: part the file", there)
    own = cast(Kind, there)
    try:
        item = cast(Item, item_class(own).model_validate_json(json.dumps({**fields, "kind": own}), strict=True))
    except ValidationError as error:
        raise explained(record, own, error) from error
    for place, choice in enumerate(item.choices if isinstance(item, ChoiceItem) else ()):
        if choice in fields["choices"][:place]:
            raise mistake(record, f"choices.{place}", "stands there twice", "write choices that differ", choice)
    return item


def _without_repeats(found: Sequence[_Found]) -> list[_Found]:
    """The first of each of the questions."""
    first = dict[object, _Found]()
    for one in found:
        first.setdefault(_asked(one.item), one)
    return list(first.values())


def _clashes(found: Sequence[_Found]) -> list[str]:
    """What is wrong with items that stand in one file."""
    mistakes = list[str]()
    ids, asked = dict[str, int](), dict[object, int]()
    for record, item in found:
        before = ids.setdefault(item.id, record.number)
        if item.kind != found[0].item.kind:
            what = f"is not that of line {found[0].record.number}, {found[0].item.kind}"
            step = "a slice has items of one kind: part the file"
            mistakes.append(str(mistake(record, "kind", what, step, item.kind)))
        if before != record.number:
            numbered = "; an item without one has its line's number" if item.id == str(record.number) else ""
            what = f"line {before} has the same{numbered}"
            mistakes.append(str(mistake(record, "id", what, "give every item an id of its own", item.id)))
        before = asked.setdefault(_asked(item), record.number)
        if before != record.number:
            field = "messages" if item.messages else "prompt"
            what = f"line {before} asks the same"
            mistakes.append(str(mistake(record, field, what, "remove one of the two", record.row.get(field))))
    return mistakes


def _asked(item: Item) -> tuple[object, ...]:
    """What a model is given."""
    return item.prompt, item.messages, getattr(item, "choices", ())


def require_enough(path: Path, numbers: Sequence[int], kept: int) -> None:
    """Refuse a file of too few items.

    Args:
        path: of the file.
        numbers: of its lines.
        kept: how many of them do not repeat another.

    Raises:
        RecipeError: it has none, or one.
    """
    if not numbers:
        raise RecipeError(f"{path}:1: the file is empty; write one item a line, as a JSON object")
    if kept < FEWEST:
        repeats = f" ({len(numbers) - kept} lines repeat it)" if len(numbers) > kept else ""
        raise RecipeError(
            f"{path}:{numbers[-1]}: one item is too few for an interval{repeats}; add items: {FEWEST} at "
            "least, and a hundred or more for a narrow one"
        )


def _drawn(items: Sequence[Item], limit: int | None, seed: int) -> tuple[Item, ...]:
    if limit is None or limit >= len(items):
        return tuple(items)
    order = Random(f"sample {seed}").sample(range(len(items)), len(items))
    return tuple(items[place] for place in sorted(order[:limit]))
