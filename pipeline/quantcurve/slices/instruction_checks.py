"""Instructions that a program can check: those of IFEval (Zhou et al. 2023, "Instruction-Following Evaluation for Large
Language Models"), by their public names and with the arguments of its data, strictly (the answer as it is).

They say what lm-evaluation-harness's classes say (tasks/ifeval), but for

- keywords, section names and other texts, which are themselves here and regular expressions there;
- number_sentences, which counts by sentence_split.py, not by nltk's Punkt;
- capital_word_frequency, which splits words by a pattern of its own, as nltk's word tokenizer does it;
- english_capital and english_lowercase, which take for English what has nine of ten letters from A to Z, and do not ask
  langdetect, which takes many a short text for another language;
- a letter for letter_frequency that is none of A to Z, in place of which a random one is looked for there.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

from pydantic import ConfigDict, ValidationError, validate_call

from quantcurve.errors import RecipeError, printable
from quantcurve.slices import instruction_functions as ask
from quantcurve.slices.items import Check


class Instruction(NamedTuple):
    """What an instruction's name stands for."""

    name: str
    follows: Callable[..., bool]
    """Of an answer and the arguments of a check."""


INSTRUCTIONS = (
    Instruction("keywords:existence", ask.existence),
    Instruction("keywords:frequency", ask.frequency),
    Instruction("keywords:forbidden_words", ask.forbidden_words),
    Instruction("keywords:letter_frequency", ask.letter_frequency),
    Instruction(ask.RESPONSE_LANGUAGE, ask.response_language),
    Instruction("length_constraints:number_sentences", ask.number_sentences),
    Instruction("length_constraints:number_paragraphs", ask.number_paragraphs),
    Instruction("length_constraints:number_words", ask.number_words),
    Instruction("length_constraints:nth_paragraph_first_word", ask.nth_paragraph_first_word),
    Instruction("detectable_content:number_placeholders", ask.number_placeholders),
    Instruction("detectable_content:postscript", ask.postscript),
    Instruction("detectable_format:number_bullet_lists", ask.number_bullet_lists),
    Instruction("detectable_format:constrained_response", ask.constrained_response),
    Instruction("detectable_format:number_highlighted_sections", ask.number_highlighted_sections),
    Instruction("detectable_format:multiple_sections", ask.multiple_sections),
    Instruction("detectable_format:json_format", ask.json_format),
    Instruction("detectable_format:title", ask.title),
    Instruction("combination:two_responses", ask.two_responses),
    Instruction("combination:repeat_prompt", ask.repeat_prompt),
    Instruction("startend:end_checker", ask.end_checker),
    Instruction("startend:quotation", ask.quotation),
    Instruction("change_case:capital_word_frequency", ask.capital_word_frequency),
    Instruction("change_case:english_capital", ask.english_capital),
    Instruction("change_case:english_lowercase", ask.english_lowercase),
    Instruction("punctuation:no_comma", ask.no_comma),
)


def follows(check: Check, answer: str, where: str = "") -> bool:
    """Whether an answer follows an instruction; an empty one follows none.

    Args:
        check: with arguments that are null taken for absent, as public copies of the data have them.
        answer: of a model.
        where: what has the check, for messages.

    Raises:
        RecipeError: there is no such instruction, or its arguments are wrong.
        PrerequisiteError: it is not supported on this machine; `not_supported` says so before.
    """
    function = _validated(_named(check, where).name)
    arguments = {name: value for name, value in check.arguments.items() if value is not None}
    try:
        right = function(answer, **arguments)
    except ValidationError as error:
        first = error.errors()[0]
        name, value = (
            ".".join(map(str, first["loc"])),
            "" if "missing" in first["type"] else f" (got {first['input']!r:.80})",
        )
        raise RecipeError(
            f"{where}: {check.name}: argument {printable(name, 60)}: {first['msg']}{printable(value)}; IFEval's data "
            "shows the arguments of each instruction"
        ) from error
    return right and bool(answer.strip())


def not_supported(check: Check) -> str:
    """Why an instruction cannot be checked on this machine; empty where it can."""
    if check.name != ask.RESPONSE_LANGUAGE:
        return ""
    try:
        import langdetect  # type: ignore[import-not-found, unused-ignore]  # noqa: F401
    except ImportError:
        return f"{ask.RESPONSE_LANGUAGE} is not supported without langdetect (pip install langdetect)"
    return ""


def _named(check: Check, where: str) -> Instruction:
    for instruction in INSTRUCTIONS:
        if instruction.name == check.name:
            return instruction
    import difflib

    (near,) = difflib.get_close_matches(check.name, [i.name for i in INSTRUCTIONS], n=1, cutoff=0)
    raise RecipeError(f"{where}: no instruction is called {printable(check.name, 80)!r}; did you mean {near}?")


@cache
def _validated(name: str) -> Callable[..., bool]:
    (found,) = (i.follows for i in INSTRUCTIONS if i.name == name)
    return validate_call(config=ConfigDict(strict=True))(found)
