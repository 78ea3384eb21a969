"""Whether calls are those expected, by the rules of BFCL (Patil et al., the Berkeley Function Calling Leaderboard,
bfcl_eval/eval_checker/ast_eval/ast_checker.py, for Python).

A value is right that is among the allowed, of the same type; an integer is right where the allowed is a float, and a
float where it is an integer only if the function declares a float. Texts are compared without case, spaces and the
characters , . / - _ * ^ , with ' as ". Objects among the allowed have allowed values for each key. An argument, or a
key, may be left out that has an empty text among its allowed values. Names are the same with _ for a period.

Beyond BFCL: an integer is right for a float also within lists and objects, objects may be nested, and calls are matched
with what is expected in the best way, where BFCL takes the first that fits.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from pydantic import JsonValue

from quantcurve.errors import RecipeError, printable
from quantcurve.slices.items import ExpectedCall
from quantcurve.slices.tool_calls import Call

_DROPPED = re.compile(r"[ ,./\-_*^]")
_FLOATS = frozenset({"float", "number", "double"})


class Tool(NamedTuple):
    """A function that may be called."""

    name: str
    properties: dict[str, Any]
    """JSON Schema of each argument."""
    required: tuple[str, ...]


def tools(descriptions: Iterable[dict[str, JsonValue]], where: str) -> tuple[Tool, ...]:
    """Functions from their descriptions, as OpenAI's API has them, or without the outer {"type": "function"}.

    Raises:
        RecipeError: a description has no name, or parameters that are no JSON Schema of an object.
    """
    return tuple(_tool(description, f"{where}: tool {i}") for i, description in enumerate(descriptions, 1))


def find(name: str, known: Sequence[Tool]) -> Tool | None:
    """The function of a name, in which _ may stand for a period."""
    return next((tool for tool in known if _plain(tool.name) == _plain(name)), None)


def is_callable(call: Call, known: Sequence[Tool]) -> bool:
    """Whether a call can be read, and names a function that there is, with its required arguments."""
    tool = find(call.name, known)
    return tool is not None and call.arguments is not None and all(name in call.arguments for name in tool.required)


def all_match(calls: Sequence[Call], expected: Sequence[ExpectedCall], known: Sequence[Tool], where: str) -> bool:
    """Whether calls are those expected, each once, in any order.

    Raises:
        RecipeError: a function that is expected is not described.
    """
    described = [find(call.name, known) for call in expected]
    for call, tool in zip(expected, described, strict=True):
        if tool is None:
            there = ", ".join(printable(t.name, 60) for t in known)
            raise RecipeError(f"{where}: calls: no tool is called {printable(call.name, 60)!r}; there are: {there}")
    if len(calls) != len(expected):
        return False
    import numpy as np
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import maximum_bipartite_matching

    right = np.array(
        [[_matches(c, e, t) for c in calls] for e, t in zip(expected, described, strict=True) if t], np.int32
    )
    return bool((maximum_bipartite_matching(csr_array(right), "column") >= 0).all())


def _tool(description: dict[str, JsonValue], where: str) -> Tool:
    function = description.get("function", description)
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(function, dict) or not isinstance(name, str) or not name:
        raise RecipeError(f"{where} has no name; describe functions as OpenAI's API has them")
    parameters = function.get("parameters") or {}
    properties = parameters.get("properties") or {} if isinstance(parameters, dict) else None
    required = parameters.get("required") or [] if isinstance(parameters, dict) else None
    if not isinstance(properties, dict) or not isinstance(required, list):
        raise RecipeError(f"{where} ({printable(name, 60)}): parameters are no JSON Schema of an object")
    return Tool(name, properties, tuple(str(one) for one in required))


def _plain(name: str) -> str:
    return name.replace(".", "_")


def _matches(call: Call, expected: ExpectedCall, tool: Tool) -> bool:
    given = call.arguments
    if given is None or _plain(call.name) != _plain(expected.name) or any(name not in given for name in tool.required):
        return False
    return _all_allowed(given, expected.arguments, tool.properties)


def _all_allowed(given: dict[str, Any], allowed: dict[str, Any], declared: dict[str, Any]) -> bool:
    if not given.keys() <= allowed.keys():
        return False
    for name, options in allowed.items():
        values = options if isinstance(options, list | tuple) else [options]
        if name not in given and "" not in values:
            return False
        if name in given and not any(_same(given[name], value, declared.get(name)) for value in values):
            return False
    return True


def _same(value: Any, allowed: Any, declared: Any) -> bool:
    schema = declared if isinstance(declared, dict) else {}
    if isinstance(value, bool) or isinstance(allowed, bool):
        return value is allowed
    if isinstance(value, str) and isinstance(allowed, str):
        return _standard(value) == _standard(allowed)
    if isinstance(value, float) and isinstance(allowed, int):
        return value == allowed and _may_be_float(schema)
    if isinstance(value, list) and isinstance(allowed, list):
        return len(value) == len(allowed) and all(
            _same(a, b, schema.get("items")) for a, b in zip(value, allowed, strict=True)
        )
    if isinstance(value, dict) and isinstance(allowed, dict):
        properties = schema.get("properties")
        return _all_allowed(value, allowed, properties if isinstance(properties, dict) else {})
    return bool(value == allowed)


def _may_be_float(schema: dict[str, Any]) -> bool:
    kinds = schema.get("type", "float")
    return any(kind in _FLOATS for kind in map(str, kinds if isinstance(kinds, list) else [kinds]))


def _standard(text: str) -> str:
    return _DROPPED.sub("", text).lower().replace("'", '"')
