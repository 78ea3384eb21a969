"""The slice of tools: requests that one listed function serves, two calls serve, or no listed function does."""

from __future__ import annotations

import json
from collections.abc import Sequence
from random import Random
from typing import Any, Literal, NamedTuple

from quantcurve.slices.items import ExpectedCall, Message, ToolItem
from quantcurve.slices.makers_functions import FUNCTIONS, Function
from quantcurve.slices.makers_parts import Part, combination, combinations

SYSTEM = (
    "You can use these functions:\n{}\n\n"
    "If functions are needed for the request, answer with JSON only and nothing else: "
    '{{"name": "function name", "arguments": {{"parameter": value}}}} for one call, or a list of such objects for '
    "several calls. If no function fits the request, say in a plain sentence that you cannot do it, and write no JSON."
)
FEW, MANY = 2, 6
"""Functions that are listed."""
APART = 7
"""Places between two functions that are asked for at once."""
CLOSE = (("create_event", "set_alarm", "start_timer"), ("send_message", "call_contact"))
"""Functions that one could use for each other's requests if the right one is not listed."""


def parts() -> list[Part]:
    """A part for each function and kind of request."""
    return [
        Part(f"{kind}-{function.name}", combinations(_over(function, kind)), _Asked(function, kind))
        for function in FUNCTIONS
        for kind in KINDS
    ]


Kind = Literal["one-of-few", "one-of-many", "two", "none"]
KINDS: tuple[Kind, ...] = ("one-of-few", "one-of-many", "two", "none")


class _Asked(NamedTuple):
    function: Function
    kind: Kind

    def __call__(self, index: int, chance: Random) -> ToolItem:
        values = combination(index, _over(self.function, self.kind))
        length = len(self.function.over)
        request, call = _request(self.function, values[: length + 1])
        if self.kind == "two":
            other = _other(self.function)
            more, second = _request(other, values[length + 1 :])
            request = f"{request} And one thing more: {more}"
            return self._item(request, [call, second], _listed([self.function, other], MANY, chance))
        if self.kind == "none":
            close = {name for names in CLOSE if self.function.name in names for name in names}
            strangers = [f for f in FUNCTIONS if f is not self.function and f.name not in close]
            return self._item(request, [], chance.sample(strangers, MANY - 2))
        most = FEW if self.kind == "one-of-few" else MANY
        return self._item(request, [call], _listed([self.function], most, chance))

    def _item(self, request: str, calls: Sequence[ExpectedCall], functions: Sequence[Function]) -> ToolItem:
        tools = tuple(function.described() for function in functions)
        system = SYSTEM.format("\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools))
        return ToolItem(
            messages=(Message(role="system", content=system), Message(role="user", content=request)),
            tools=tools,
            calls=tuple(calls),
            group=self.kind,
        )


def _other(function: Function) -> Function:
    return FUNCTIONS[(FUNCTIONS.index(function) + APART) % len(FUNCTIONS)]


def _over(function: Function, kind: Kind) -> list[Sequence[Any]]:
    """Values of the request, the way to ask behind them; for two calls, of both."""
    over = [*function.over, function.requests]
    if kind == "two":
        other = _other(function)
        over += [*other.over, other.requests]
    return over


def _request(function: Function, values: Sequence[Any]) -> tuple[str, ExpectedCall]:
    *taken, way = values
    return way.format(*taken), function.call(taken)


def _listed(needed: list[Function], most: int, chance: Random) -> list[Function]:
    others = [function for function in FUNCTIONS if function not in needed]
    functions = [*needed, *chance.sample(others, most - len(needed))]
    chance.shuffle(functions)
    return functions
