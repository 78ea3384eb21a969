"""Judges the answers of a slice: by its kind's own rule, by running the program, or by the user's function.

A user's judge is `def judge(item, answer)`: it gets the item's fields as a dictionary and the answer's text, and gives
True or False.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from quantcurve import validation_loading
from quantcurve.errors import QuantcurveError, RecipeError, printable
from quantcurve.recipe_slices import SliceEntry
from quantcurve.slices import judges
from quantcurve.slices.asks import Asked
from quantcurve.slices.items import CodeItem, Item, Judgement, RefusalItem
from quantcurve.slices.refusal_judge import refuses
from quantcurve.task_records import AnswerRecord

VERSION = 2
"""Part of store keys: bump it where a built-in judge says otherwise."""

Judge = Callable[[Sequence[Asked], Sequence[AnswerRecord]], Sequence[Judgement]]


def judge_of(entry: SliceEntry, base: Path) -> tuple[Judge, str]:
    """A slice's judge, and what determines what it says.

    Args:
        entry: of the recipe.
        base: folder of the recipe.

    Raises:
        RecipeError: the user's function is not there, or takes other arguments.
    """
    if entry.judge is None:
        return built_in, f"built-in {VERSION}"
    function: Any = validation_loading.load(entry.judge, base)
    return partial(_by_user, entry, function), validation_loading.source_hash(entry.judge, base)


def built_in(asked: Sequence[Asked], answers: Sequence[AnswerRecord]) -> list[Judgement]:
    """By each item's kind; programs are run in the sandbox, or skipped where there is none."""
    found: dict[int, Judgement] = {}
    code = [i for i, one in enumerate(asked) if isinstance(one.item, CodeItem)]
    found.update(zip(code, _programs([(asked[i].item, answers[i].text) for i in code]), strict=True))
    for i, (one, answer) in enumerate(zip(asked, answers, strict=True)):
        if i not in found:
            found[i] = judges.judge(one.item, answer.text)
    return [_with_refusal(asked[i].item, answers[i].text, found[i]) for i in range(len(asked))]


def _with_refusal(item: Item, answer: str, judged: Judgement) -> Judgement:
    """Whether an answer refuses is asked of every kind; of refusals, what is right says it, whoever judged."""
    if judged.skipped:
        return judged
    refused = judged.right != item.safe if isinstance(item, RefusalItem) else refuses(answer)
    return judged.model_copy(update={"refused": refused})


def _programs(answers: Sequence[tuple[Item, str]]) -> list[Judgement]:
    if not answers:
        return []
    from quantcurve import sandbox  # not yet loaded where nothing is run

    if reason := sandbox.unavailable():
        return [Judgement(right=False, skipped=reason) for _ in answers]
    programs = [program(item, text) for item, text in answers if isinstance(item, CodeItem)]
    limits = sandbox.Limits()
    ended = sandbox.run_all(programs, limits, marker=True)
    return [
        Judgement(right=one.ok, well_formed=compiles(text), why="" if one.ok else one.why or one.how)
        for one, text in zip(ended, programs, strict=True)
    ]


def program(item: CodeItem, answer: str) -> str:
    """What is run: what stands before the answer, the answer, its tests."""
    return f"{item.prefix}{answer}\n{item.tests}\n"


def compiles(text: str) -> bool:
    """Whether it is a Python program."""
    try:
        compile(text, "answer", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError):
        return False
    return True


def _by_user(
    entry: SliceEntry, function: Callable[[Any, str], Any], asked: Sequence[Asked], answers: Sequence[AnswerRecord]
) -> list[Judgement]:
    return [
        _with_refusal(one.item, answer.text, _one_by_user(entry, function, one.item, answer.text))
        for one, answer in zip(asked, answers, strict=True)
    ]


def _one_by_user(entry: SliceEntry, function: Callable[[Any, str], Any], item: Item, answer: str) -> Judgement:
    where = f"slice {entry.name}, item {item.id}: judge {entry.judge}"
    try:
        said = function(item.model_dump(mode="json", by_alias=True), answer)
    except QuantcurveError:
        raise
    except Exception as error:  # the user's code may raise anything
        reason = printable(str(error).strip().partition("\n")[0], 160)
        hint = "its item is the line's fields, a dictionary, and its answer any text"
        raise RecipeError(f"{where} raised {type(error).__name__}: {reason}; {hint}") from error
    if not isinstance(said, bool):
        raise RecipeError(f"{where} gave {printable(repr(said), 60)}; it must give True or False")
    return Judgement(right=said)
