"""Mistakes in a slice's file in words: `FILE:LINE: field: what is wrong (got VALUE); what to do`."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from quantcurve.errors import RecipeError, printable
from quantcurve.recipe_errors import field_of
from quantcurve.slices.items import Check, ExpectedCall, Item, Kind, Message
from quantcurve.text_files import Record

CHARACTERS_SHOWN = 80


def mistake(record: Record, field: str | None, what: str, step: str, *got: Any) -> RecipeError:
    """An error in a line.

    Args:
        record: the line.
        field: of the line; None where the whole line is wrong.
        what: is wrong with it.
        step: what to do.
        got: the value, where there is one to show.
    """
    named = "" if field is None else f" {_one_line(field_of([field])) or repr(field)}:"
    value = f" (got {shown(got[0])})" if got else ""
    return RecipeError(f"{record.path}:{record.number}:{named} {what}{value}; {step}")


def item_class(kind: Kind) -> type[BaseModel]:
    """The class of a kind's items."""
    classes: tuple[type[BaseModel], ...] = get_args(get_args(Item)[0])
    return next(c for c in classes if c.model_fields["kind"].default == kind)


def explained(record: Record, kind: Kind, error: ValidationError) -> RecipeError:
    """Why a line is no item of a kind, a line of text for each mistake; a list is not blamed for its entries.

    Args:
        record: the line, whose row is an object.
        kind: of the item.
        error: from its validation.
    """
    details = error.errors(include_url=False)
    places = [detail["loc"] for detail in details]
    leaves = [d for d in details if not any(d["loc"] == p[: len(d["loc"])] and d["loc"] != p for p in places)]
    return RecipeError("\n".join(str(_explained(record, item_class(kind), detail)) for detail in leaves))


def near(name: str, names: Iterable[str]) -> str:
    """The nearest of some names, in any case; empty where none is near."""
    folded = {other.casefold(): other for other in names}
    found = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.6)
    return folded[found[0]] if found else ""


def listed(names: Iterable[str]) -> str:
    """Names of columns as messages have them."""
    return _one_line(printable(", ".join(names), 400)) or "nothing"


def shown(value: Any) -> str:
    """A value as JSON, short."""
    return printable(json.dumps(value, ensure_ascii=False, default=str), CHARACTERS_SHOWN)


def _one_line(text: str) -> str:
    return text.replace("\n", "\\n")


def _explained(record: Record, kind: type[BaseModel], detail: ErrorDetails) -> RecipeError:
    place, row = detail["loc"], record.row
    if not place:  # of the whole item: the type says of which field
        field = detail["type"]
        return mistake(record, field, detail["msg"], "correct it", *([row[field]] if field in row else []))
    field = field_of(place)
    if detail["type"] == "missing":
        there = row if len(place) == 1 else detail["input"]
        unknown = [name for name in there if name not in _names(place, kind)]
        similar = near(str(place[-1]), unknown)
        step = f"rename {listed([similar])}" if similar else f"add it; there is: {listed(there)}"
        return mistake(record, field, "required field is missing", step)
    if detail["type"] == "extra_forbidden":
        return mistake(record, field, "unknown field", _known(place, kind), detail["input"])
    return mistake(record, field, _what(detail), _step(detail, kind), detail["input"])


def _known(place: tuple[int | str, ...], kind: type[BaseModel]) -> str:
    names = _names(place, kind)
    similar = near(str(place[-1]), names)
    if similar:
        return f"did you mean {similar}?"
    return f"remove it; the fields are: {', '.join(names)}" + (
        "; for rows of a public set, name its format in the recipe" if len(place) == 1 else ""
    )


def _names(place: tuple[int | str, ...], kind: type[BaseModel]) -> list[str]:
    """Fields of the object that a place is in, as files have them."""
    owner: type[BaseModel]
    match place:
        case ("messages", _, _):
            owner = Message
        case ("calls", _, _):
            owner = ExpectedCall
        case ("checks", _, _):
            owner = Check
        case _:
            owner = kind
    return [field.alias or name for name, field in owner.model_fields.items()]


def _what(detail: ErrorDetails) -> str:
    context = detail.get("ctx", {})
    match detail["type"]:
        case "too_short":
            return f"has {context['actual_length']} entries, and {context['min_length']} is the least"
        case "string_too_short":
            return "is empty"
        case _:
            return detail["msg"][0].lower() + detail["msg"][1:]


def _step(detail: ErrorDetails, kind: type[BaseModel]) -> str:
    match detail["type"]:
        case "int_type" | "int_from_float":
            step = "write a whole number, without quotes"
        case "float_type":
            step = "write a number, without quotes"
        case "bool_type":
            step = "write true or false, without quotes"
        case "string_type":
            step = "write a text, in quotes"
        case "tuple_type":
            step = "write a list, in []"
        case "dict_type" | "model_type":
            step = "write an object, in {}"
        case "string_too_short":
            step = "write it or leave it out"
        case _:
            step = "correct it"
    place = detail["loc"]
    field = (
        next((f for n, f in kind.model_fields.items() if place[0] in {n, f.alias}), None) if len(place) == 1 else None
    )
    return f"{step} ({field.description})" if field and field.description else step
