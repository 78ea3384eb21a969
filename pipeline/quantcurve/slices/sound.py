"""What an item needs beyond its fields' types, so that it can be judged: said before a model is asked."""

from __future__ import annotations

from quantcurve.slices.errors import listed, mistake, near
from quantcurve.slices.instruction_checks import follows, not_supported
from quantcurve.slices.items import InstructionItem, Item, JsonItem, ToolItem
from quantcurve.slices.json_answers import validator
from quantcurve.slices.tool_match import find, tools
from quantcurve.text_files import Record


def check(record: Record, item: Item) -> None:
    """Refuse an item that no answer can be judged by.

    Raises:
        RecipeError: a schema that is none, an instruction that is unknown or has wrong arguments, a tool without a
            name, a call of a function that is not among the tools, an argument for which no value is right.
        PrerequisiteError: jsonschema is not installed.
    """
    where = f"{record.path}:{record.number}"
    if isinstance(item, JsonItem) and item.schema_ is not None:
        validator(item.schema_, where)
    if isinstance(item, InstructionItem):
        for one in item.checks:
            if not not_supported(one):
                follows(one, "text", f"{where}: checks")
    if isinstance(item, ToolItem):
        _check_calls(record, item, where)


def _check_calls(record: Record, item: ToolItem, where: str) -> None:
    known = tools(item.tools, where)
    for place, call in enumerate(item.calls):
        if find(call.name, known) is None:
            names = [tool.name for tool in known]
            similar = near(call.name, names)
            step = f"did you mean {similar}?" if similar else "correct it"
            what = f"no tool is called so (there is: {listed(names)})"
            raise mistake(record, f"calls.{place}.name", what, step, call.name)
        for argument, values in call.arguments.items():
            if not values:
                field = f"calls.{place}.arguments.{argument}"
                raise mistake(record, field, "no value is right", "list the values that are", [])
