"""The slice of code: functions to complete, with examples in the docstring and asserts behind them.

What is expected of a function is computed by quantcurve's own implementation of it.
"""

from __future__ import annotations

from random import Random
from typing import Any, NamedTuple

from quantcurve.slices.items import CodeItem
from quantcurve.slices.makers_code_lists import LISTS
from quantcurve.slices.makers_code_numbers import NUMBERS
from quantcurve.slices.makers_code_parts import Function
from quantcurve.slices.makers_code_texts import TEXTS
from quantcurve.slices.makers_parts import Part, combination, combinations

FUNCTIONS = LISTS + TEXTS + NUMBERS
STOP = ("\ndef", "\nclass", "\nif __name__", "\nprint", "\n#", "\nassert", "\n>>>", "\n```")
EXAMPLES = 2
TESTS = 8
"""Calls that a completion must get right, besides the examples, if there are so many."""
DRAWS = 80


class Call(NamedTuple):
    """A call and what it gives, as Python writes them."""

    arguments: str
    result: str


def parts() -> list[Part]:
    """A part for each function."""
    return [Part(f.name.replace("{}", "n"), combinations(f.over), _Completed(f)) for f in FUNCTIONS]


class _Completed(NamedTuple):
    function: Function

    def __call__(self, index: int, chance: Random) -> CodeItem:
        settings = combination(index, self.function.over)
        name = self.function.name.format(*(s if isinstance(s, int) else s.name for s in settings))
        calls = _calls(self.function, [s if isinstance(s, int) else s.value for s in settings], chance)
        prompt = _head(self.function, name, [s if isinstance(s, int) else s.said for s in settings], calls[:EXAMPLES])
        return CodeItem(
            prompt=prompt,
            prefix=prompt,
            tests="\n" + "".join(f"assert {name}({call.arguments}) == {call.result}\n" for call in calls),
            group=self.function.subject,
            stop=STOP,
        )


def _head(function: Function, name: str, said: list[Any], examples: list[Call]) -> str:
    lines = [f"def {name}({function.arguments}) -> {function.returns}:", f'    """{function.says.format(*said)}', ""]
    for call in examples:
        lines += [f"    >>> {name}({call.arguments})", f"    {call.result}"]
    return "\n".join([*lines, '    """', ""])


def _calls(function: Function, settings: list[Any], chance: Random) -> list[Call]:
    """Of different arguments; first those with a result that no call before has. One gives something else than its
    argument, if any does, so that a program that returns that is wrong."""
    calls = _drawn(function, settings, chance)
    first = list({call.result: call for call in reversed(calls)}.values())[::-1]
    rest = [call for call in calls if call not in first]
    chosen = (first[: EXAMPLES + TESTS // 2] + rest + first[EXAMPLES + TESTS // 2 :])[: EXAMPLES + TESTS]
    others = [call for call in calls if call.result != call.arguments]
    if others and all(call.result == call.arguments for call in chosen):
        chosen[-1] = others[0]
    return chosen


def _drawn(function: Function, settings: list[Any], chance: Random) -> list[Call]:
    found = {repr(arguments): arguments for arguments in (function.draw(chance) for _ in range(DRAWS))}
    return [
        Call(", ".join(map(repr, arguments)), repr(function.reference(*settings, *arguments)))
        for arguments in found.values()
    ]
