"""The slice of knowledge: questions over tables of facts, with wrong choices of the same kind."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import NamedTuple

from quantcurve.slices import makers_elements as elements
from quantcurve.slices import makers_places as places
from quantcurve.slices import makers_words as words
from quantcurve.slices.items import ChoiceItem
from quantcurve.slices.makers_parts import Part, shuffled_choices

DAYS_FORWARD = range(2, 14)


class Table(NamedTuple):
    """Facts that are asked for in one way."""

    name: str
    question: str
    """With {} where the fact's first half is put in."""
    facts: Sequence[tuple[str, str]]
    """What is asked about, each once, and what is right."""


def parts() -> list[Part]:
    """A part for each table."""
    return [
        Part(table.name, len(table.facts), _Question(table, tuple(right for _, right in table.facts)))
        for table in tables()
    ]


def tables() -> tuple[Table, ...]:
    """All facts."""
    return (
        Table("capitals", "What is the capital of {}?", places.CAPITALS),
        Table("countries", "Which country has the capital {}?", places.COUNTRIES),
        Table("continents", "To which continent does {} belong?", places.CONTINENTS),
        Table("state-capitals", "What is the capital of the US state of {}?", places.STATE_CAPITALS),
        Table("languages", "What is the main language of {}?", places.MAIN_LANGUAGES),
        Table("currencies", "What is the currency of {} called?", places.CURRENCIES),
        Table("landmarks", "In which city is {}?", places.LANDMARKS),
        Table("symbols", "What is the chemical symbol of {}?", elements.SYMBOLS),
        Table("elements", "Which chemical element has the symbol {}?", elements.OF_SYMBOLS),
        Table("atomic-numbers", "What is the atomic number of {}?", elements.ATOMIC_NUMBERS),
        Table("planets", "Which planet is the {} from the Sun?", _placed(elements.PLANETS)),
        Table("antonyms", "What is the opposite of '{}'?", words.ANTONYMS),
        Table("plurals", "What is the plural of '{}'?", words.PLURALS),
        Table("past-tenses", "What is the simple past tense of 'to {}'?", words.PAST_TENSES),
        Table("classes", "What kind of animal is {}?", tuple((_article(a), b) for a, b in words.ANIMAL_CLASSES)),
        Table("young", "What is the young of {} called?", tuple((_article(a), b) for a, b in words.YOUNG_ANIMALS)),
        Table("colours", "What is the usual colour of {}?", words.COLOURS),
        Table("professions", "Who {}?", words.PROFESSIONS),
        Table("tools", "What is used to {}?", words.TOOLS),
        Table("authors", "Who wrote '{}'?", words.AUTHORS),
        Table("months", "Which month is the {} of the year?", _placed(words.MONTHS)),
        Table("months-around", "Which month comes {}?", _around(words.MONTHS)),
        Table("days-around", "Which day of the week comes {}?", _around(words.DAYS)),
        Table("days-forward", "If today is {}?", _days_forward()),
    )


class _Question(NamedTuple):
    table: Table
    answers: Sequence[str]

    def __call__(self, index: int, chance: Random) -> ChoiceItem:
        asked, right = self.table.facts[index]
        choices, answer = shuffled_choices(right, self.answers, chance)
        return ChoiceItem(
            prompt=f"Question: {self.table.question.format(asked)}\nAnswer:",
            choices=choices,
            answer=answer,
            group=self.table.name,
        )


def _article(noun: str) -> str:
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def _placed(names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    return tuple(zip(words.ORDINALS, names, strict=False))


def _around(names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    after = [(f"right after {name}", names[(i + 1) % len(names)]) for i, name in enumerate(names)]
    before = [(f"right before {name}", names[i - 1]) for i, name in enumerate(names)]
    return tuple(after + before)


def _days_forward() -> tuple[tuple[str, str], ...]:
    days = words.DAYS
    return tuple(
        (f"{day}, which day of the week is it in {ahead} days", days[(i + ahead) % 7])
        for i, day in enumerate(days)
        for ahead in DAYS_FORWARD
    )
