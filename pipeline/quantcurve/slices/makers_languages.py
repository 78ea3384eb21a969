"""The slice of languages: multiple choice on everyday facts, words and sums, the same questions in twelve languages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import NamedTuple

from quantcurve.slices.items import ChoiceItem
from quantcurve.slices.makers_language import COUNTS, Language
from quantcurve.slices.makers_language_east import EAST
from quantcurve.slices.makers_language_west import WEST
from quantcurve.slices.makers_parts import Part, shuffled_choices

LANGUAGES = WEST + EAST
FACTORS = range(3, 9)
OFF_BY = (-10, -3, -2, -1, 1, 2, 3, 10)
"""What wrong sums and counts differ by."""


class Fact(NamedTuple):
    """A question in one language."""

    table: str
    question: str
    right: str
    wrong: Sequence[str]


def parts() -> list[Part]:
    """A part for each language."""
    return [
        Part(language.code, len(facts), _Asked(language, facts))
        for language in LANGUAGES
        for facts in (tuple(_facts(language)),)
    ]


class _Asked(NamedTuple):
    language: Language
    facts: tuple[Fact, ...]

    def __call__(self, index: int, chance: Random) -> ChoiceItem:
        fact = self.facts[index]
        choices, answer = shuffled_choices(fact.right, fact.wrong, chance)
        return ChoiceItem(
            prompt=self.language.frame.format(fact.question),
            choices=choices,
            answer=answer,
            language=self.language.code,
            group=fact.table,
        )


def _facts(of: Language) -> Iterator[Fact]:
    yield from _table("capitals", of.capital, of.countries, of.cities)
    yield from _table("days", of.day_after, of.days, _turned(of.days, 1))
    yield from _table("days", of.day_before, of.days, _turned(of.days, -1))
    yield from _table("months", of.month_after, of.months, _turned(of.months, 1))
    yield from _table("months", of.month_before, of.months, _turned(of.months, -1))
    yield from _table("opposites", of.opposite, of.words, of.opposites)
    yield from _table("numbers", of.number_after, of.numbers[:-1], of.numbers[1:])
    yield from _table("numbers", of.in_digits, of.numbers, [str(n) for n in range(1, len(of.numbers) + 1)])
    yield from _table("colours", of.colour, of.things, of.colours)
    for a in FACTORS:
        for b in FACTORS:
            yield Fact("sums", of.plus.format(a, b), str(a + b), _near(a + b))
            yield Fact("products", of.times.format(a, b), str(a * b), _near(a * b))
    for question, count in zip(of.counts, COUNTS, strict=True):
        yield Fact("counts", question, str(count), _near(count))


def _table(name: str, question: str, asked: Sequence[str], right: Sequence[str]) -> Iterator[Fact]:
    for one, answer in zip(asked, right, strict=True):
        yield Fact(name, question.format(one), answer, right)


def _turned(names: Sequence[str], by: int) -> list[str]:
    return [names[(place + by) % len(names)] for place in range(len(names))]


def _near(number: int) -> list[str]:
    return [str(number + off) for off in OFF_BY if number + off > 0]
