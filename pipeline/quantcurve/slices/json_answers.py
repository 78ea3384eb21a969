"""JSON that a model answered: reading it strictly, checking it by a schema, comparing it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NoReturn

from pydantic import JsonValue

from quantcurve.errors import PrerequisiteError, RecipeError, printable

FENCES = frozenset({"```", "```json", "```JSON"})
DEEP = 50
"""Levels of a value from which it, not its schema, is blamed where checking it needs too many."""


def read(text: str) -> Any:
    """The value of a JSON text (RFC 8259: no NaN, no infinity), without one fence of Markdown around it.

    Raises:
        ValueError: it is no JSON, or nested deeper than Python reads.
    """
    try:
        return json.loads(unfenced(text), parse_constant=refuse)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def unfenced(text: str) -> str:
    """What stands in the one fence of Markdown that is the whole text; a text that is none as it is."""
    opening, _, rest = text.strip().partition("\n")
    return rest[:-3].rstrip() if opening.rstrip() in FENCES and rest.endswith("```") else text


def refuse(constant: str) -> NoReturn:
    """NaN and Infinity, which Python reads and JSON does not have.

    Raises:
        ValueError: always.
    """
    raise ValueError(constant)


def validator(schema: dict[str, Any] | bool, where: str) -> Any:
    """Checks values by a JSON Schema and fetches nothing.

    Args:
        schema: as JSON.
        where: what has it, for messages.

    Raises:
        PrerequisiteError: jsonschema is not installed.
        RecipeError: it is no JSON Schema.
    """
    try:
        from jsonschema import SchemaError  # type: ignore[import-untyped, unused-ignore]
        from jsonschema.validators import validator_for  # type: ignore[import-untyped, unused-ignore]
        from referencing import Registry
    except ImportError as error:
        raise PrerequisiteError(
            f"{where} has a schema, and checking it needs jsonschema", "pip install jsonschema"
        ) from error
    try:
        kind: Any = validator_for(schema)
        kind.check_schema(schema)
    except (SchemaError, TypeError) as error:  # the latter of a $schema that is no text
        said = error.message if isinstance(error, SchemaError) else str(error)
        raise RecipeError(f"{where}: schema is no JSON Schema: {printable(said, 160)}") from error
    return kind(schema, registry=Registry())


def fits(value: Any, checker: Any, where: str) -> bool:
    """Whether a value fits a schema.

    Args:
        value: from `read`.
        checker: from `validator`.
        where: what has the schema, for messages.

    Raises:
        RecipeError: the schema cannot be applied: a reference that leads nowhere, a pattern that is none.
    """
    try:
        return bool(checker.is_valid(value))
    except ArithmeticError:  # of a number that no float holds
        return False
    except Exception as error:
        if isinstance(error, RecursionError) and _is_deep(value):
            return False
        reason = printable(str(error).partition("\n")[0], 160)
        raise RecipeError(f"{where}: schema cannot be applied: {reason}") from error


def same(value: Any, expected: JsonValue) -> bool:
    """Whether two JSON values are equal: 1 is 1.0, as JSON has numbers of one kind, and true is not 1."""
    if isinstance(value, bool) or isinstance(expected, bool):
        return value is expected
    if isinstance(value, dict) and isinstance(expected, dict):
        return value.keys() == expected.keys() and all(same(value[k], expected[k]) for k in expected)
    if isinstance(value, list) and isinstance(expected, list):
        return len(value) == len(expected) and all(map(same, value, expected))
    return bool(value == expected)


def _is_deep(value: Any) -> bool:
    level: Sequence[Any] = [value]
    for _ in range(DEEP):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return bool(level)
