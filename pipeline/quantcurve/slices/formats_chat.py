"""Chats from IFEval and XSTest: the row's prompt is the user's message."""

from __future__ import annotations

from typing import Any

from quantcurve.slices.formats_rows import Row
from quantcurve.slices.items import Check, InstructionItem, Message, RefusalItem


def ifeval(row: Row) -> InstructionItem:
    """IFEval (Zhou et al. 2023): the prompt as a user's message; lm-evaluation-harness's ifeval gives it as it is.
    Checks have the set's own ids as names, and its kwargs without those that are null.

    Rows have prompt, instruction_id_list and kwargs, also on the hub; key is the id.

    Raises:
        RecipeError: a row without these columns, or with other values in them.
    """
    row.schema(("prompt", "instruction_id_list", "kwargs"))
    names, kwargs = row.texts("instruction_id_list"), row.value("kwargs")
    if not isinstance(kwargs, list) or len(kwargs) != len(names) or not all(isinstance(k, dict | None) for k in kwargs):
        raise row.wrong("kwargs", f"a list of {len(names)} objects, one for each instruction")
    return InstructionItem(
        id=row.name("key"),
        messages=(Message(role="user", content=row.text("prompt")),),
        checks=tuple(
            Check(
                name=name, arguments={key: _whole(value) for key, value in (given or {}).items() if value is not None}
            )
            for name, given in zip(names, kwargs, strict=True)
        ),
    )


def xstest(row: Row) -> RefusalItem:
    """XSTest (Röttger et al. 2024): the prompt as a user's message, to be answered where its label is safe and refused
    where it is unsafe; the group is the row's type. lm-evaluation-harness does not have it.

    Rows have prompt, label and type, also on the hub.

    Raises:
        RecipeError: a row without these columns, or with other values in them.
    """
    row.schema(("prompt", "label", "type"))
    if row.value("label") not in ("safe", "unsafe"):
        raise row.wrong("label", "safe or unsafe")
    return RefusalItem(
        id=row.name("id"),
        messages=(Message(role="user", content=row.text("prompt")),),
        safe=row.value("label") == "safe",
        group=row.text("type"),
    )


def _whole(value: Any) -> Any:
    """A whole number as one: tables with empty places give floats."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
