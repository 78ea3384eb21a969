"""A recipe's mistakes in words: `FILE:LINE: field: what is wrong (got VALUE); did you mean NAME?`."""

from __future__ import annotations

import difflib
import io
import typing
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from quantcurve.errors import RecipeError, printable

MISTAKES_SHOWN = 30
MOST_CHARACTERS = 1_000_000
"""Of a recipe with its aliases written out: few lines of them can stand for more than any memory holds."""
MOST_LEVELS = 50


def unreadable(path: Path, error: OSError | UnicodeDecodeError) -> str:
    """Why a recipe could not be read."""
    if isinstance(error, UnicodeDecodeError):
        line = error.object.count(b"\n", 0, error.start) + 1
        return f"{path}:{line}: the recipe is not UTF-8 text (byte {error.start}); save it as UTF-8"
    near = ""
    if path.parent.is_dir():
        names = [p.name for p in path.parent.iterdir() if p.suffix in {".yaml", ".yml"}]
        near = _suggest(path.name, names)
    return f"{path}: the recipe cannot be read ({error.strerror}){near}"


def parse(path: Path, text: str) -> Any:
    """A recipe's mapping, with line numbers.

    Raises:
        RecipeError: no YAML, or no mapping.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, ReusedAnchorWarning

    try:
        _check_events(path, text)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ReusedAnchorWarning)  # legal YAML
            data = YAML(typ="rt").load(io.StringIO(text))
    except RecipeError:
        raise
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        problem = (error.problem or str(error)).strip()
        raise RecipeError(f"{path}:{line}: not valid YAML: {printable(problem)}") from error
    except Exception as error:  # ruamel's constructors raise whatever a strange scalar leads to
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise RecipeError(f"{path}:1: not valid YAML: {printable(reason)}") from error
    if not isinstance(data, dict):
        raise RecipeError(f"{path}:1: a recipe is a mapping of keys (got {_show(data)}); see `quantcurve schema`")
    return data


def _check_events(path: Path, text: str) -> None:
    """Refuse what valid YAML may hold and no recipe needs: tags (!!python/object), aliases that stand for endless
    values, and deep nesting."""
    from ruamel.yaml import YAML
    from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, ScalarEvent

    sizes: dict[str, int] = {}
    """Characters that each anchor stands for."""
    levels: list[tuple[str | None, int]] = [(None, 0)]
    """Anchor of each collection that is open, and the characters before it."""
    size = 0
    for event in YAML(typ="rt").parse(io.StringIO(text)):
        problem = None
        if isinstance(event, AliasEvent):
            problem = None if event.anchor in sizes else f"the alias *{printable(event.anchor)} has no anchor before it"
            size += sizes.get(event.anchor, 0)
        elif isinstance(event, ScalarEvent):
            size += len(event.value) + 1
            sizes[event.anchor] = len(event.value) + 1
        elif isinstance(event, CollectionStartEvent):
            levels.append((event.anchor, size))
            size += 1
        elif isinstance(event, CollectionEndEvent):
            anchor, before = levels.pop()
            sizes[anchor or ""] = size - before
        if tag := getattr(event, "tag", None):
            problem = f"the tag {printable(str(tag))} says how to read a value; a recipe has none, leave it out"
        if len(levels) > MOST_LEVELS:
            problem = f"nested in more than {MOST_LEVELS} levels; a recipe needs few"
        if size > MOST_CHARACTERS:
            problem = f"more than {MOST_CHARACTERS:,} characters, aliases written out; a recipe needs few"
        if problem:
            raise RecipeError(f"{path}:{event.start_mark.line + 1}: {problem}")


def explain_all(path: Path, data: Any, details: list[ErrorDetails], kind: type[BaseModel]) -> list[str]:
    """One line for each mistake in a record of a kind, in the file's order; a list is not blamed for its items."""
    places = [detail["loc"] for detail in details]
    leaves = [d for d in details if not any(d["loc"] == p[: len(d["loc"])] and d["loc"] != p for p in places)]
    leaves.sort(key=lambda d: line_of(data, d["loc"]))
    more = [f"and {len(leaves) - MISTAKES_SHOWN} more"] if len(leaves) > MISTAKES_SHOWN else []
    return [_explain(path, data, d, kind) for d in leaves[:MISTAKES_SHOWN]] + more


def _explain(path: Path, data: Any, detail: ErrorDetails, kind: type[BaseModel]) -> str:
    location = _written(data, [part for part in detail["loc"] if part not in {"function-after", "nullable"}])
    field = field_of(location) or "recipe"
    line = line_of(data, location)
    what, candidates = _what(detail, location, kind)
    value = detail["input"]
    got = "" if detail["type"] == "missing" else f" (got {_show(value)})"
    wrong_name = str(location[-1]) if detail["type"] == "extra_forbidden" and location else _show(value).strip("'")
    return f"{path}:{line}: {field}: {what}{got}{_suggest(wrong_name, candidates)}"


def _written(data: Any, location: list[int | str]) -> list[int | str]:
    """A location without what stands for a text written in place of a mapping."""
    here = data
    for i, part in enumerate(location):
        if isinstance(here, str):
            return location[:i]
        try:
            here = here[part]
        except (KeyError, IndexError, TypeError):
            break
    return location


def _what(detail: ErrorDetails, location: Sequence[int | str], kind: type[BaseModel]) -> tuple[str, list[str]]:
    context = detail.get("ctx", {})
    if detail["type"] == "extra_forbidden":
        return "unknown key", _keys_at(location[:-1], kind)
    if detail["type"] == "missing":
        return "required key is missing", []
    if detail["type"] == "literal_error":
        expected = str(context["expected"])
        return f"must be one of {expected}", [part.strip(" '") for part in expected.replace(" or ", ", ").split(",")]
    message = detail["msg"]
    return message[0].lower() + message[1:], list(context.get("candidates", []))


def _keys_at(location: Sequence[int | str], kind: type[BaseModel]) -> list[str]:
    """Names of the keys that a place in the recipe may have."""
    here: Any = kind
    for part in location:
        if isinstance(part, str) and isinstance(here, type) and issubclass(here, BaseModel):
            here = _model_in(here.model_fields[part].annotation) if part in here.model_fields else None
    return list(here.model_fields) if here is not None else []


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((m for arg in typing.get_args(annotation) if (m := _model_in(arg))), None)


def line_of(data: Any, location: Sequence[int | str]) -> int:
    """Line of the deepest part of a location that the file has, counted from 1."""
    line = 0
    here: Any = data
    for part in location:
        try:
            place = here.lc  # ruamel's record of lines and columns
            line = place.key(part)[0] if isinstance(part, str) else place.item(part)[0]
            here = here[part]
        except (KeyError, IndexError, TypeError, AttributeError):
            break
    return line + 1


def field_of(location: Sequence[int | str]) -> str:
    """A location as messages name it."""
    return printable(".".join(str(part) for part in location))


def _show(value: Any) -> str:
    try:
        text = repr(value) if isinstance(value, str) else str(value)
    except ValueError:  # Python does not write out integers of thousands of digits
        return "a number of thousands of digits"
    return text if len(text) <= 80 else text[:77] + "..."


def _suggest(name: str, candidates: Sequence[str]) -> str:
    folded = {c.casefold(): c for c in candidates}
    near = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.5)
    return f"; did you mean {folded[near[0]]}?" if near else ""
