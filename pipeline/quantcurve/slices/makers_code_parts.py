"""What the functions of the slice of code are made of: their description, and arguments to call them with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, NamedTuple

from quantcurve.slices.makers_parts import listed

WORDS = listed(
    "apple; river; stone; cloud; green; window; market; level; bird; summer; paper; noon; garden; silver; moon; "
    "letter; bread; ocean; radar; winter; kite; forest; sugar; copper; bell; orange; civic; ant; yellow; sea; train; "
    "coffee"
)


class Setting(NamedTuple):
    """A setting of a function that is no number."""

    name: str
    """In the function's name."""
    said: str
    """In its description."""
    value: str


class Function(NamedTuple):
    """A function to complete."""

    subject: str
    name: str
    """With {} for each setting."""
    arguments: str
    """With their types, as they stand in the program."""
    returns: str
    says: str
    """What it does, with {} for each setting."""
    draw: Callable[[Random], tuple[Any, ...]]
    """Makes arguments."""
    reference: Callable[..., Any]
    """Called with the settings and then the arguments; changes no argument."""
    over: tuple[Sequence[int | Setting], ...] = ()


def letters(of: str) -> tuple[Setting, ...]:
    """Letters as settings."""
    return tuple(Setting(letter, repr(letter), letter) for letter in of)


def numbers(chance: Random) -> tuple[list[int]]:
    """A list of 0 to 9 whole numbers, also negative ones."""
    return ([chance.randint(-9, 20) for _ in range(chance.randint(0, 9))],)


def some_numbers(chance: Random) -> tuple[list[int]]:
    """A list of 1 to 8 whole numbers."""
    return ([chance.randint(-9, 20) for _ in range(chance.randint(1, 8))],)


def digits(chance: Random) -> tuple[list[int]]:
    """A list of 1 to 9 numbers from 0 to 9, some of them alike."""
    return ([chance.randint(0, 9) for _ in range(chance.randint(1, 9))],)


def two_lists(chance: Random) -> tuple[list[int], list[int]]:
    """Two lists of equal length."""
    length = chance.randint(0, 5)
    return ([chance.randint(0, 9) for _ in range(length)], [chance.randint(0, 9) for _ in range(length)])


def rising(chance: Random) -> tuple[list[int]]:
    """A list that is sorted, or nearly so."""
    values = sorted(chance.randint(-9, 20) for _ in range(chance.randint(2, 6)))
    if chance.random() < 0.5:
        values[0], values[-1] = values[-1], values[0]
    return (values,)


def matrix(chance: Random) -> tuple[list[list[int]]]:
    """1 to 3 rows of equal length."""
    columns = chance.randint(1, 4)
    return ([[chance.randint(0, 9) for _ in range(columns)] for _ in range(chance.randint(1, 3))],)


def word(chance: Random) -> tuple[str]:
    """A word in small letters, at times one that reads the same backwards."""
    drawn = chance.choice(WORDS)
    return (drawn + drawn[::-1] if chance.random() < 0.25 else drawn,)


def text(chance: Random) -> tuple[str]:
    """1 to 6 words."""
    return (" ".join(chance.choices(WORDS, k=chance.randint(1, 6))),)


def words(chance: Random) -> tuple[list[str]]:
    """A list of 0 to 6 words."""
    return (chance.choices(WORDS, k=chance.randint(0, 6)),)


def some_words(chance: Random) -> tuple[list[str]]:
    """A list of 1 to 6 words."""
    return (chance.choices(WORDS, k=chance.randint(1, 6)),)


def two_words(chance: Random) -> tuple[str, str]:
    """Two words, every other time of the same letters."""
    first = chance.choice(WORDS)
    second = "".join(chance.sample(first, len(first))) if chance.random() < 0.5 else chance.choice(WORDS)
    return first, second


def runs(chance: Random) -> tuple[str]:
    """A text of letters in runs."""
    return ("".join(chance.choice("abc") * chance.randint(1, 4) for _ in range(chance.randint(1, 5))),)


def natural(chance: Random) -> tuple[int]:
    """A whole number from 0 on, of 1 to 4 digits."""
    return (chance.randrange(10 ** chance.randint(1, 4)),)


def small(chance: Random) -> tuple[int]:
    """A whole number from 1 to 30."""
    return (chance.randint(1, 30),)


def natural_small(chance: Random) -> tuple[int]:
    """A whole number from 1 to 60."""
    return (chance.randint(1, 60),)


def tiny(chance: Random) -> tuple[int]:
    """A whole number from 0 to 10."""
    return (chance.randint(0, 10),)


def powers(chance: Random) -> tuple[int]:
    """A whole number with many factors 2 and 3."""
    return (chance.randint(1, 9) * 2 ** chance.randint(0, 5) * 3 ** chance.randint(0, 3),)


def squares(chance: Random) -> tuple[int]:
    """A square, or the number after one."""
    return (chance.randint(2, 20) ** 2 + chance.randint(0, 1),)


def whole(chance: Random) -> tuple[int]:
    """A whole number, also a negative one."""
    return (chance.randint(-40, 60),)


def two_naturals(chance: Random) -> tuple[int, int]:
    """Two whole numbers from 1 to 60, often with a common factor."""
    factor = chance.randint(1, 6)
    return factor * chance.randint(1, 10), factor * chance.randint(1, 10)


def prices(chance: Random) -> tuple[dict[str, int]]:
    """A number for each of 1 to 5 words."""
    return ({key: chance.randint(0, 20) for key in chance.sample(WORDS, chance.randint(1, 5))},)


def two_tallies(chance: Random) -> tuple[dict[str, int], dict[str, int]]:
    """Two tallies with some words in both."""
    keys = chance.sample(WORDS, 4)
    return (
        {key: chance.randint(1, 9) for key in keys[: chance.randint(1, 3)]},
        {key: chance.randint(1, 9) for key in keys[chance.randint(0, 2) :]},
    )


def price_and_word(chance: Random) -> tuple[dict[str, int], str]:
    """A tally and a word, which is often in it."""
    tally = prices(chance)[0]
    return tally, chance.choice([*tally, *chance.sample(WORDS, len(tally))])
