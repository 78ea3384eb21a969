"""What the slice of languages has of each language: questions and words, the same ones in the same order."""

from __future__ import annotations

from typing import NamedTuple


class Language(NamedTuple):
    """Questions, with {} for what is asked about, and words. All of them are parallel between languages."""

    code: str
    frame: str
    """Question and answer."""
    capital: str
    day_after: str
    day_before: str
    month_after: str
    month_before: str
    opposite: str
    number_after: str
    in_digits: str
    plus: str
    times: str
    colour: str
    countries: tuple[str, ...]
    cities: tuple[str, ...]
    """Capitals of the countries."""
    days: tuple[str, ...]
    """From Monday."""
    months: tuple[str, ...]
    words: tuple[str, ...]
    opposites: tuple[str, ...]
    numbers: tuple[str, ...]
    """One to twelve."""
    things: tuple[str, ...]
    colours: tuple[str, ...]
    """Of the things."""
    counts: tuple[str, ...]
    """Whole questions, with the answers of COUNTS."""


COUNTS = (7, 24, 60, 12, 60, 4, 8, 5, 2, 3)
"""Days of a week, hours of a day, minutes of an hour, months of a year, seconds of a minute, a dog's legs, a spider's
legs, fingers of a hand, a bicycle's wheels, corners of a triangle."""
