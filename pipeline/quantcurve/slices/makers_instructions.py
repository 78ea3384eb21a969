"""The slice of instructions: short texts to write, under one to three instructions of IFEval (Zhou et al. 2023,
"Instruction-Following Evaluation for Large Language Models"), with IFEval's names and arguments.

Left out are instructions that only a language or sentence detector can check, except for case.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from random import Random
from typing import Any, NamedTuple

from pydantic import JsonValue

from quantcurve.slices.items import Check, InstructionItem, Message
from quantcurve.slices.makers_parts import Part, combination, listed

TASKS = listed("""
Write a short note to a neighbour about a lost cat; Describe a rainy day in a small town; Explain why people keep dogs;
Tell a story about a lighthouse; Describe how to make a cup of tea; Write a review of a small restaurant; Explain how a
bicycle works; Write a letter to a friend who moved away; Describe a walk through a forest; Give advice to someone who
starts a new job; Explain why trees are useful; Write a speech for a birthday; Describe your favourite season; Write an
advertisement for a used bicycle; Explain what a library is for; Tell a story about two brothers and a boat; Describe a
market in the morning; Write a message to a landlord about a broken heater; Explain how to keep a plant alive; Describe
a train journey at night; Write about the advantages of walking to work; Explain how bread is made; Tell a story about
a clock that runs backwards; Describe a beach in winter; Write an invitation to a garden party; Explain why sleep
matters; Describe an old house on a hill; Write a thank-you note to a teacher; Explain how to prepare for an exam; Tell
a story about a bird that cannot sing; Describe a kitchen in the evening; Write about a hobby that calms people;
Explain how rain forms; Write a farewell to colleagues; Describe a mountain village; Explain why bees are important;
Tell a story about a forgotten key; Write an announcement of a street festival; Describe the sound of a storm; Explain
how to save money; Write a note about a found umbrella; Describe a museum visit; Explain how to learn a song by heart;
Tell a story about a baker who wakes up late; Write about the moon; Describe a snowy morning; Explain how to clean a
window; Write a complaint about a noisy street; Describe a river from its source to the sea; Explain how to make
friends in a new city
""")
KEYWORDS = listed(
    "garden; winter; silver; music; window; bridge; coffee; summer; paper; friend; river; yellow; market; quiet; "
    "mirror; candle"
)
FORBIDDEN = listed("very; good; nice; really; people; because; always; thing; many; small; great; big")
ENDINGS = listed(
    "That is all.; Thank you for reading.; See you soon.; And so it ends.; Take care of yourself.; This is the end."
)
FIRST_WORDS = listed("today; yesterday; finally; perhaps; often; once; later; nobody")
FEWER, MORE = "less than", "at least"


def _next(word: str, apart: int, words: Sequence[str]) -> str:
    return words[(words.index(word) + apart) % len(words)]


class Instruction(NamedTuple):
    """An instruction with all the ways to set it."""

    name: str
    """IFEval's."""
    over: tuple[Sequence[Any], ...]
    """Values of each argument of `make`."""
    make: Callable[..., tuple[str, dict[str, JsonValue]]]
    """The sentence and IFEval's arguments."""


INSTRUCTIONS = (
    Instruction(
        "length_constraints:number_words",
        ((20, 30, 40, 50, 60, 80, 100),),
        lambda n: (f"Use at least {n} words.", {"relation": MORE, "num_words": n}),
    ),
    Instruction(
        "length_constraints:number_words",
        ((30, 40, 50, 60, 80),),
        lambda n: (f"Use less than {n} words.", {"relation": FEWER, "num_words": n}),
    ),
    Instruction("change_case:english_lowercase", (), lambda: ("Write in English and in lowercase letters only.", {})),
    Instruction("change_case:english_capital", (), lambda: ("Write in English and in capital letters only.", {})),
    Instruction("punctuation:no_comma", (), lambda: ("Do not use any commas.", {})),
    Instruction("startend:quotation", (), lambda: ("Wrap your entire response in double quotation marks.", {})),
    Instruction(
        "startend:end_checker",
        (ENDINGS,),
        lambda end: (f"End your response with exactly this sentence and nothing after it: {end}", {"end_phrase": end}),
    ),
    Instruction(
        "detectable_format:number_bullet_lists",
        (range(2, 7),),
        lambda n: (
            f"Include exactly {n} bullet points, each on a line of its own that begins with '* '.",
            {"num_bullets": n},
        ),
    ),
    Instruction(
        "detectable_format:number_highlighted_sections",
        (range(2, 5),),
        lambda n: (
            f"Highlight at least {n} phrases with asterisks, like *this phrase*.",
            {"num_highlights": n},
        ),
    ),
    Instruction(
        "detectable_format:title",
        (),
        lambda: ("Give it a title in double angular brackets, like <<title>>.", {}),
    ),
    Instruction(
        "detectable_format:multiple_sections",
        (range(2, 5), ("Section", "SECTION")),
        lambda n, word: (
            f"Divide it into {n} sections, each under a line such as '{word} 1'.",
            {"section_spliter": word, "num_sections": n},
        ),
    ),
    Instruction(
        "length_constraints:number_paragraphs",
        (range(2, 5),),
        lambda n: (
            f"Write exactly {n} paragraphs and separate them with a line that has only *** in it.",
            {"num_paragraphs": n},
        ),
    ),
    Instruction(
        "length_constraints:nth_paragraph_first_word",
        (range(2, 5), range(1, 3), FIRST_WORDS),
        lambda n, nth, word: (
            f"Write exactly {n} paragraphs, separated by one blank line. "
            f"Paragraph {nth} begins with the word '{word}'.",
            {"num_paragraphs": n, "nth_paragraph": nth, "first_word": word},
        ),
    ),
    Instruction(
        "keywords:existence",
        (KEYWORDS, range(1, 4)),
        lambda word, apart: (
            f"Use the words '{word}' and '{_next(word, apart, KEYWORDS)}'.",
            {"keywords": [word, _next(word, apart, KEYWORDS)]},
        ),
    ),
    Instruction(
        "keywords:frequency",
        (KEYWORDS, range(2, 5)),
        lambda word, n: (
            f"Use the word '{word}' at least {n} times.",
            {"keyword": word, "frequency": n, "relation": MORE},
        ),
    ),
    Instruction(
        "keywords:forbidden_words",
        (FORBIDDEN, range(1, 4)),
        lambda word, apart: (
            f"Do not use the words '{word}' and '{_next(word, apart, FORBIDDEN)}'.",
            {"forbidden_words": [word, _next(word, apart, FORBIDDEN)]},
        ),
    ),
    Instruction(
        "keywords:letter_frequency",
        ("qzjxkvwyb", range(2, 7)),
        lambda letter, n: (
            f"Use the letter '{letter}' at least {n} times.",
            {"letter": letter, "let_frequency": n, "let_relation": MORE},
        ),
    ),
    Instruction(
        "detectable_content:postscript",
        (("P.S.", "P.P.S"),),
        lambda marker: (f"Add a postscript at the end that begins with {marker}", {"postscript_marker": marker}),
    ),
    Instruction(
        "detectable_content:number_placeholders",
        (range(1, 5),),
        lambda n: (
            f"Use at least {n} placeholders in square brackets, such as [name].",
            {"num_placeholders": n},
        ),
    ),
)
LOWER, CAPITAL = "change_case:english_lowercase", "change_case:english_capital"
PARAGRAPHS = ("length_constraints:number_paragraphs", "length_constraints:nth_paragraph_first_word")
LISTS = ("detectable_format:number_bullet_lists", "detectable_format:number_highlighted_sections")
SECTIONS, POSTSCRIPT = "detectable_format:multiple_sections", "detectable_content:postscript"
END, QUOTATION = "startend:end_checker", "startend:quotation"
APART = (
    {"length_constraints:number_words"},
    {LOWER, CAPITAL, SECTIONS},
    {LOWER, CAPITAL, POSTSCRIPT},
    {LOWER, CAPITAL, END},
    {*PARAGRAPHS, *LISTS, SECTIONS},
    {END, QUOTATION, POSTSCRIPT},
    {QUOTATION, "detectable_format:title"},
)
"""Of each of these sets an item has one instruction at most: they contradict one another, or are hard to tell apart."""


def parts() -> list[Part]:
    """A part for each number of instructions."""
    return [
        Part(f"{word}-instruction{'s' * (count > 1)}", len(TASKS) * len(together), _Instructed(together))
        for count, word in ((1, "one"), (2, "two"), (3, "three"))
        for together in ([group for group in combinations(INSTRUCTIONS, count) if _compatible(group)],)
    ]


class _Instructed(NamedTuple):
    groups: Sequence[tuple[Instruction, ...]]

    def __call__(self, index: int, chance: Random) -> InstructionItem:
        task, group = combination(index, (TASKS, self.groups))
        said, checks = [f"{task}."], []
        for instruction in group:
            sentence, arguments = instruction.make(*(chance.choice(values) for values in instruction.over))
            said.append(sentence)
            checks.append(Check(name=instruction.name, arguments=arguments))
        return InstructionItem(
            messages=(Message(role="user", content=" ".join(said)),),
            checks=tuple(checks),
            group=f"{len(checks)} {'instruction' if len(checks) == 1 else 'instructions'}",
        )


def _compatible(group: Sequence[Instruction]) -> bool:
    return all(sum(instruction.name in names for instruction in group) < 2 for names in APART)
