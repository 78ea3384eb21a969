"""A recipe's mistakes in words: `FILE:LINE: field: what is wrong (got VALUE); did you mean NAME?`."""

from __future__ import annotations

import difflib
import io
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from quantcurve.errors import RecipeError


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
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        data = YAML(typ="rt").load(io.StringIO(text))
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        problem = (error.problem or str(error)).strip()
        raise RecipeError(f"{path}:{line}: not valid YAML: {problem}") from error
    except (YAMLError, ValueError, RecursionError) as error:
        raise RecipeError(f"{path}:1: not valid YAML: {str(error).strip().splitlines()[0]}") from error
    if not isinstance(data, dict):
        raise RecipeError(f"{path}:1: a recipe is a mapping of keys (got {_show(data)}); see `quantcurve schema`")
    return data


def explain_all(path: Path, data: Any, details: list[ErrorDetails], kind: type[BaseModel]) -> list[str]:
    """One line for each mistake in a record of a kind, in the file's order; a list is not blamed for its items."""
    places = [detail["loc"] for detail in details]
    leaves = [d for d in details if not any(d["loc"] == p[: len(d["loc"])] and d["loc"] != p for p in places)]
    return [_explain(path, data, d, kind) for d in sorted(leaves, key=lambda d: line_of(data, d["loc"]))]


def _explain(path: Path, data: Any, detail: ErrorDetails, kind: type[BaseModel]) -> str:
    location = _written(data, [part for part in detail["loc"] if part not in {"function-after", "nullable"}])
    field = ".".join(str(part) for part in location) or "recipe"
    line = line_of(data, location)
    what, candidates = _what(detail, location, kind)
    value = detail["input"]
    got = "" if detail["type"] == "missing" else f" (got {_show(value)})"
    wrong_name = str(location[-1]) if detail["type"] == "extra_forbidden" and location else str(value)
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


def _show(value: Any) -> str:
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _suggest(name: str, candidates: Sequence[str]) -> str:
    folded = {c.casefold(): c for c in candidates}
    near = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.5)
    return f"; did you mean {folded[near[0]]}?" if near else ""
