"""Function calls from the Berkeley Function Calling Leaderboard (Patil et al. 2025), of one turn and in Python."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from pydantic import JsonValue

from quantcurve.slices.errors import listed, mistake
from quantcurve.slices.formats_rows import Row
from quantcurve.slices.items import ExpectedCall, Message, ToolItem
from quantcurve.slices.makers_tools import SYSTEM

ROLES = ("system", "user", "assistant", "tool")


def bfcl(row: Row) -> ToolItem:
    """BFCL's categories of one turn: simple, multiple, parallel, parallel_multiple, irrelevance, and their live ones.

    lm-evaluation-harness does not have them. The system message is that of quantcurve's own slice of tools: the
    functions with JSON Schema's types, and JSON as the form of an answer; a system message of the row stands behind it
    (as BFCL does it). The row's other messages follow.

    Rows have id, question (one turn), function, and, but for irrelevance, ground_truth, which BFCL keeps in files of
    its own (possible_answer) by id. It gives the values that are right for each argument, and within objects for each
    key, as tool_match.py reads them; an argument for which it has none is to be an empty list.

    Raises:
        RecipeError: a row without these columns, or with other values in them.
    """
    row.schema(("id", "question", "function"))
    name = row.name("id")
    none = "irrelevance" in name
    if not none and not row.has("ground_truth"):
        step = "join it by id from the file of the same name in BFCL's possible_answer"
        raise mistake(row.record, "ground_truth", f"missing in the row, which has: {listed(row.record.row)}", step)
    tools = tuple(_tool(row, function) for function in _objects(row, "function"))
    system = SYSTEM.format("\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools))
    return ToolItem(
        id=name,
        messages=_messages(row, system),
        tools=tools,
        calls=() if none else tuple(_call(row, call) for call in _objects(row, "ground_truth")),
        group=re.sub(r"_\d.*$", "", name),
    )


def _messages(row: Row, system: str) -> tuple[Message, ...]:
    turns = row.value("question")
    if not isinstance(turns, list) or len(turns) != 1 or not isinstance(turns[0], list) or not turns[0]:
        raise row.wrong(
            "question", "one turn: a list in a list, with messages; questions of more turns are not supported"
        )
    messages = list[Message]()
    for turn in turns[0]:
        role, content = (turn.get("role"), turn.get("content")) if isinstance(turn, dict) else (None, None)
        if role not in ROLES or not isinstance(content, str):
            raise row.wrong("question", "messages, with a role and a content")
        messages.append(Message(role=role, content=content))
    if messages[0].role == "system":
        system = f"{system}\n\n{messages.pop(0).content}"
    return (Message(role="system", content=system), *messages)


def _objects(row: Row, column: str) -> Sequence[dict[str, Any]]:
    found = row.value(column)
    if not isinstance(found, list) or not found or not all(isinstance(entry, dict) and entry for entry in found):
        raise row.wrong(column, "a list of objects")
    return found


def _tool(row: Row, function: dict[str, Any]) -> dict[str, JsonValue]:
    if not isinstance(function.get("name"), str) or not isinstance(function.get("parameters"), dict):
        raise row.wrong("function", "functions with name and parameters")
    return {"type": "function", "function": {**function, "parameters": _schema(row, function["parameters"])}}


def _schema(row: Row, schema: Any) -> Any:
    """A schema with JSON Schema's types, also in the schemas that are part of it, and nowhere else."""
    if not isinstance(schema, dict):
        return schema
    found = dict(schema)
    kind = found.pop("type", "any")
    if kind != "any":  # which JSON Schema says by no type
        found = {"type": _type(row, kind), **found}
    if isinstance(found.get("properties"), dict):
        found["properties"] = {name: _schema(row, inner) for name, inner in found["properties"].items()}
    for part in ("items", "additionalProperties"):
        if part in found:
            found[part] = _schema(row, found[part])
    return found


def _type(row: Row, name: Any) -> str:
    """JSON Schema's name of a type."""
    match name:
        case "dict" | "object":
            return "object"
        case "float" | "double" | "number":
            return "number"
        case "list" | "tuple" | "array":
            return "array"
        case "string" | "integer" | "boolean":
            return str(name)
        case _:
            what = "a type that BFCL's Python categories do not have"
            raise mistake(row.record, "function", what, "leave rows of other languages out", name)


def _call(row: Row, call: dict[str, Any]) -> ExpectedCall:
    if len(call) != 1 or not isinstance(arguments := next(iter(call.values())), dict):
        raise row.wrong("ground_truth", "objects with the name of a function and its arguments")
    (name,) = call
    return ExpectedCall(name=name, arguments={key: _values(row, right) for key, right in arguments.items()})


def _values(row: Row, right: Any) -> tuple[JsonValue, ...]:
    if not isinstance(right, list):
        raise row.wrong("ground_truth", "for each argument a list of values that are right")
    return tuple(right) or ([],)
