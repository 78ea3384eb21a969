r"""The number that an answer marks as its result, or else its last one.

A number is digits with a decimal point, a sign directly before, thousands grouped by commas (also as in India),
apostrophes, underscores or narrow spaces, and an exponent (1e5). Signs of currencies and % are no part of it. Fractions
(3/4, \frac{3}{4}), dates, versions, exponents (m^2) and digits behind a letter (H2O) are no numbers. In languages that
write 1.234,5 periods and spaces group, and a comma before other than three digits is a decimal one.

A result is marked by `#### 6`, `\boxed{6}`, or `answer is 6`, `answer: 6`; the last mark counts.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import NamedTuple

DECIMAL_COMMA = frozenset(
    {"bg", "ca", "cs", "da", "de", "el", "es", "et", "fi", "fr", "hr", "hu", "id", "it", "lt", "lv", "nb", "nl", "no"}
    | {"pl", "pt", "ro", "ru", "sk", "sl", "sr", "sv", "tr", "uk", "vi"}
)
"""Languages (ISO 639-1) that write 1.234,5."""
_WIDE = str.maketrans("０１２３４５６７８９．，－＋＄％／＝−﹣٫٬", "0123456789.,-+$%/=--.,")
_MONEY = r"\\?[$€£¥₹₩₽]"
_NARROW = "\u00a0\u2009\u202f"
_CODE = r"(?<=USD)|(?<=EUR)|(?<=GBP)|(?<=INR)|(?<=Rs)|(?<=Rs\.)"
_BEFORE = rf"(?:(?<![A-Za-z\d.])|{_CODE})(?<!\w_)(?<!\^)(?<!\^\{{)"
_EXPONENT = r"(?:[eE][-+]?\d{1,4}(?![\w.]))?"
_POINT = re.compile(rf"{_BEFORE}(?:\d+(?:[.,'’_{_NARROW}]\d+)*{_EXPONENT}|(?<!\w)\.\d+)")
_COMMA = re.compile(rf"{_BEFORE}(?:\d+(?:(?:[.,'’_{_NARROW}]\d+)|\x20\d{{3}}(?!\d))*{_EXPONENT}|(?<!\w)[.,]\d+)")
_GROUPED = re.compile(
    rf"\d{{1,3}}(?:([,'’_{_NARROW}])\d{{3}})(?:\1\d{{3}})*(?:\.\d+)?|\d{{1,2}}(?:,\d\d)+,\d{{3}}(?:\.\d+)?"
)
_GROUPED_BY_POINTS = re.compile(rf"\d{{1,3}}(?:([.\x20{_NARROW}'’])\d{{3}})(?:\1\d{{3}})*(?:,\d+)?")
_GROUPS = re.compile(rf"[,'’_\x20{_NARROW}]")
_SIGN = re.compile(rf"(?:\A|[^\w)\]}}%.+-])-(?:{_MONEY}\s?)?\Z|{_MONEY}\s?-\Z")
_OVER = re.compile(rf"\s?[/⁄]\s?(?:{_MONEY})?\d|\s?[¼-¾⅐-⅞]|\s\d+\s?[/⁄]\s?\d")
_UNDER = re.compile(rf"\d\s?[/⁄]\s?(?:{_MONEY})?\Z")
_FRACTION = re.compile(r"\\[dt]?frac\s?(?:\{[^{}]*\}\s?\{[^{}]*\}|\d\s?\d)")
_HASHES = re.compile(rf"####[^\S\n]*+(?=[-+]?(?:{_MONEY})?[-+]?\s?\.?\d)")
_SAID = re.compile(
    rf"\banswer(?:\s++(?:is|was|are|will be|would be|should be))?\s*+[:=]*+[\s*_\"'“(\[\\`$≈~]*+(?:[A-Za-z]\s?=\s?)?"
    rf"(?=[-+]?(?:{_MONEY})?[-+]?\s?\.?\d)",
    re.IGNORECASE,
)
_HEADING = re.compile(r"[.):]+[^\S\n]+\S")
_GOES_ON = re.compile(rf"\s?(?:[-+*×÷=]|\\times|\\cdot)\s?(?:{_MONEY})?\d")
_BOXED = re.compile(r"\\(?:boxed|fbox)\s?\{")


class _Found(NamedTuple):
    start: int
    end: int
    value: Decimal | None
    """None of what has digits and is no number."""


class _Marked(NamedTuple):
    place: int
    value: Decimal | None


def result(text: str, language: str = "en") -> Decimal | None:
    """The number that an answer gives; None if it gives none, or marks something else.

    Args:
        text: the answer.
        language: ISO 639-1, with a region or not.
    """
    text = _FRACTION.sub(" / ", text.translate(_WIDE).replace("{,}", ",").replace("\\,", "\u202f").replace("\\!", ""))
    commas = re.split(r"[-_]", language.lower())[0] in DECIMAL_COMMA
    found = list(_numbers(text, commas))
    marked = [*_marked(text, found), *_boxed(text, found)]
    if marked:
        return max(marked, key=lambda m: m.place).value
    return next((f.value for f in reversed(found) if f.value is not None), None)


def _numbers(text: str, commas: bool) -> Iterator[_Found]:
    for token in (_COMMA if commas else _POINT).finditer(text):
        start, end = token.span()
        fraction = _OVER.match(text, end) or _UNDER.search(text, max(0, start - 6), start)
        value = None if fraction else _value(token[0], commas)
        if value is not None and _SIGN.search(text, max(0, start - 6), start):
            value = value.copy_negate()
        yield _Found(start, end, value)


def _value(token: str, commas: bool) -> Decimal | None:
    if (commas or token.count(".") > 1) and _GROUPED_BY_POINTS.fullmatch(token):
        plain = re.sub(r"[^\d,]", "", token).replace(",", ".")
    elif _GROUPED.fullmatch(token):
        plain = re.sub(r"[^\d.]", "", token)
    elif commas and re.fullmatch(r"\d*,\d+", token):
        plain = token.replace(",", ".")
    else:
        plain = _GROUPS.split(token)[-1]
    try:
        return Decimal(plain)
    except InvalidOperation:
        return None


def _marked(text: str, found: list[_Found]) -> Iterator[_Marked]:
    for pattern, unlike in ((_HASHES, _HEADING), (_SAID, _GOES_ON)):
        for mark in pattern.finditer(text):
            place = bisect_left(found, (mark.end(),))
            if place < len(found) and not unlike.match(text, found[place].end):
                yield _Marked(mark.start(), found[place].value)


def _boxed(text: str, found: list[_Found]) -> Iterator[_Marked]:
    boxes = list(_BOXED.finditer(text))
    if not boxes:
        return
    start = end = boxes[-1].end()
    depth = 1
    while depth and end < len(text):
        depth += (text[end] == "{") - (text[end] == "}")
        end += 1
    inside = [f.value for f in found if start <= f.start < end and f.value is not None]
    yield _Marked(boxes[-1].start(), inside[-1] if inside else None)
