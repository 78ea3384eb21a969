"""Calls of functions in a model's answer, in the forms in which models write them.

- JSON, bare, within text, or in a fence of Markdown: an object with name (or function) and arguments (or parameters),
  arguments also as a text of JSON; lists of such objects; OpenAI's {"function": {...}} and {"tool_calls": [...]};
- <tool_call>...</tool_call> (Hermes, Qwen), of which the last may lack its end;
- [TOOL_CALLS] before a list of such objects, or before name[ARGS]{...} (Mistral);
- <|python_tag|> before JSON or Python (Llama 3);
- Python, as the whole answer or a whole fence: f(a=1), one a line, with ; or in a list; keywords and literals only.
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

from pydantic import JsonValue

from quantcurve.slices.json_answers import refuse

_TAGGED = re.compile(r"<tool_call>(.*?)(?:</tool_call>|\Z)", re.DOTALL)
_FENCED = re.compile(r"^[^\S\n]*```[^\n`]*\n(.*?)(?:^[^\S\n]*```|\Z)", re.DOTALL | re.MULTILINE)
_ENDS = ("<|eom_id|>", "<|eot_id|>", "<|im_end|>", "<|end_of_text|>", "</s>")
_WITH_ARGS = re.compile(r"\s*(?:\[TOOL_CALLS\])?\s*([\w.-]+)\s*(?:\[ARGS\])?\s*(?=\{)")
_BETWEEN = re.compile(r"[\s,;]*")
_OBJECT = re.compile(r"\{\s*\"")
_CUT_JSON = re.compile(r"\s*\[?\s*\{\s*\"(?:name|function|tool_calls|type\"\s*:\s*\"function)\"")
_CUT_PYTHON = re.compile(r"\s*\[?\s*([A-Za-z_][\w.]*)\s*\(")
_MOST_STARTS = 200
"""Objects in a text that are tried as calls."""
_MOST_PYTHON = 20_000
"""Characters that are read as Python."""
_NOT_GIVEN = object()
_DECODER = json.JSONDecoder(parse_constant=refuse)


class Call(NamedTuple):
    """A call as the model wrote it."""

    name: str
    arguments: dict[str, Any] | None
    """None: not readable as values by name."""


class Calls(NamedTuple):
    """What an answer calls."""

    calls: tuple[Call, ...]
    broken: bool
    """Something in it looks like a call, and cannot be read."""


def parse(answer: str, names: Collection[str]) -> Calls:
    """The calls of an answer; none of text that has none.

    Args:
        answer: of the model.
        names: of the functions that there are, by which what is not marked as a call is known for one.
    """
    text = answer.strip()
    while text.endswith(_ENDS):
        text = next(text.removesuffix(end) for end in _ENDS if text.endswith(end)).rstrip()
    if "<tool_call>" in text:
        return _together([_marked(block, names) for block in _TAGGED.findall(text)])
    for mark in ("[TOOL_CALLS]", "<|python_tag|>"):
        if mark in text:
            rest = text[text.index(mark) + len(mark) :]
            return _with_args(rest) or _marked(rest.replace("<|python_tag|>", ";"), names)
    if (whole := _read(text, names)) is not None:
        return whole
    blocks = _FENCED.findall(text)
    fenced = [found for block in blocks if (found := _read(block, names) or _cut(block, names)) is not None]
    if any(found.calls or found.broken for found in fenced):
        return _together(fenced)
    within, end = _within(text)
    return Calls(tuple(within), _cut(text[end:], names) is not None)


def _together(parts: list[Calls]) -> Calls:
    return Calls(tuple(call for part in parts for call in part.calls), any(part.broken for part in parts))


def _marked(text: str, names: Collection[str]) -> Calls:
    """Of a text that is marked as calls."""
    found = _read(text.strip(), names)
    fenced = _FENCED.findall(text) if found is None else []
    if fenced:
        found = _read(fenced[0].strip(), names)
    return found if found is not None and (found.calls or text.strip() == "[]") else Calls((), True)


def _read(text: str, names: Collection[str]) -> Calls | None:
    """Of a text that is nothing but calls; None if it is something else."""
    text = text.strip()
    values = _json_values(text)
    if values is not None:
        calls = [_from_json(value, names) for value in _flat(values)]
        if any(call is not None for call in calls):
            return Calls(tuple(call for call in calls if call is not None), None in calls)
        return Calls((), False) if values == [[]] else None
    python = _from_python(text, names)
    if python is not None:
        return Calls(tuple(python), False)
    return None


def _cut(text: str, names: Collection[str]) -> Calls | None:
    """A call that cannot be read, such as one that has no end; None if the text begins otherwise."""
    text = text.lstrip(" \t\r\n,;")
    python = _CUT_PYTHON.match(text)
    unclosed = python is not None and python[1] in names and text.count("(") > text.count(")")
    return Calls((), True) if unclosed or (_CUT_JSON.match(text) and not _begins_whole(text)) else None


def _begins_whole(text: str) -> bool:
    try:
        _DECODER.raw_decode(text)
    except (ValueError, RecursionError):
        return False
    return True


def _with_args(text: str) -> Calls | None:
    """Mistral's newer form, name[ARGS]{...}; None where it is another."""
    calls, place = list[Call](), 0
    while start := _WITH_ARGS.match(text, place):
        try:
            value, place = _DECODER.raw_decode(text, start.end())
        except (ValueError, RecursionError):
            return Calls(tuple(calls), True)
        calls.append(Call(start[1], value))
    return Calls(tuple(calls), bool(text[place:].strip())) if calls else None


def _json_values(text: str) -> list[Any] | None:
    """JSON values with white space, commas or semicolons between; None if it is not that."""
    values, place = [], 0
    while place < len(text):
        try:
            value, place = _DECODER.raw_decode(text, place)
        except (ValueError, RecursionError):
            return None
        values.append(value)
        if (between := _BETWEEN.match(text, place)) is not None:
            place = between.end()
    return values or None


def _flat(values: list[Any]) -> Iterator[Any]:
    for value in values:
        inner = value.get("tool_calls") if isinstance(value, dict) else value
        yield from inner if isinstance(inner, list) else [value]


def _from_json(value: Any, names: Collection[str]) -> Call | None:
    """A call from its object; None if the object is none. Without arguments it is one if it names a function."""
    if not isinstance(value, dict):
        return None
    if isinstance(value.get("function"), dict):
        value = value["function"]
    name = value.get("name", value.get("function"))
    if not isinstance(name, str):
        return None
    given = next((value[key] for key in ("arguments", "parameters", "args") if key in value), _NOT_GIVEN)
    if isinstance(given, dict) and isinstance(given.get("properties"), dict) and "type" in given:
        return None  # the description of a function, repeated
    if given is _NOT_GIVEN:
        return Call(name, {}) if name in names else None
    return Call(name, _arguments(given))


def _arguments(given: Any) -> dict[str, JsonValue] | None:
    if isinstance(given, str):
        try:
            given = json.loads(given, parse_constant=refuse) if given.strip() else {}
        except (ValueError, RecursionError):
            return None
    if given is None:
        return {}
    return given if isinstance(given, dict) else None


def _within(text: str) -> tuple[list[Call], int]:
    """Objects with name and arguments that stand in a text, and where the last of them ends."""
    calls, place, end = list[Call](), 0, 0
    for _ in range(_MOST_STARTS):
        start = _OBJECT.search(text, place)
        if start is None:
            break
        try:
            value, place = _DECODER.raw_decode(text, start.start())
        except (ValueError, RecursionError):
            place = start.start() + 1
            continue
        found = [call for one in _flat([value]) if (call := _from_json(one, ())) is not None]
        calls, end = calls + found, place if found else end
    return calls, end


def _from_python(text: str, names: Collection[str]) -> list[Call] | None:
    """Calls from Python; None if the text is something else, such as a program."""
    if "(" not in text or len(text) > _MOST_PYTHON:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            statements = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    nodes = list[ast.expr]()
    for statement in statements:
        if not isinstance(statement, ast.Expr):
            return None
        value = statement.value
        nodes += value.elts if isinstance(value, ast.List | ast.Tuple) else [value]
    calls = [_from_node(node, names) for node in nodes]
    return [call for call in calls if call is not None] if calls and None not in calls else None


def _from_node(node: ast.expr, names: Collection[str]) -> Call | None:
    if not isinstance(node, ast.Call):
        return None
    parts, function = list[str](), node.func
    while isinstance(function, ast.Attribute):
        parts.append(function.attr)
        function = function.value
    if not isinstance(function, ast.Name):
        return None
    name = ".".join([function.id, *reversed(parts)])
    if node.args or any(k.arg is None for k in node.keywords):
        return Call(name, None) if name in names else None
    try:
        return Call(name, {str(k.arg): _as_json(ast.literal_eval(k.value)) for k in node.keywords})
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return Call(name, None)


def _as_json(value: Any) -> JsonValue:
    """A Python literal as JSON has it, tuples as lists.

    Raises:
        ValueError: JSON has no such value.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_as_json(one) for one in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _as_json(one) for key, one in value.items()}
    raise ValueError(type(value).__name__)
