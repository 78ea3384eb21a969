"""Whether an answer is a text, or has it in it, but for case, white space and punctuation around."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

_KEPT = frozenset("#%&@/\\-")
"""Punctuation that means something where it stands: C#, -5, 50%."""
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3\U00020000-\U0003ffff"
)
"""Scripts that write no spaces between words, or (Korean) none before particles: they have no borders to look for."""
_MARKS = "\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0900-\u0963\u0971-\u0dff"
"""Vowel signs and accents, which are part of a word."""
_LETTER = rf"(?:(?![{_UNSPACED}])[\w{_MARKS}])"
_EDGE = re.compile(_LETTER)


def plain(text: str) -> str:
    """A text as it is compared: Unicode's NFKC, case folded, runs of white space as one space, and no punctuation
    around; of one that is nothing but punctuation, all."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    spaced = " ".join(folded.split())
    return _stripped(spaced) or spaced


def is_one_of(answer: str, texts: Sequence[str]) -> bool:
    """Whether an answer is one of these texts."""
    found = plain(answer)
    return any(found == plain(text) for text in texts)


def has_one_of(answer: str, texts: Sequence[str]) -> bool:
    """Whether an answer has one of these texts in it, between borders of words where the text begins or ends with a
    letter or digit of a script that has them; a number is not found within a longer one (3 in 3.5 or 1,300)."""
    found = plain(answer)
    return any(re.search(_pattern(text), found) for text in map(plain, texts) if text)


def _stripped(text: str) -> str:
    start, end = 0, len(text)
    while start < end and _is_around(text[start]):
        start += 1
    while start < end and _is_around(text[end - 1]):
        end -= 1
    return text[start:end]


def _is_around(character: str) -> bool:
    category = unicodedata.category(character)
    return character.isspace() or character == "`" or (category[0] == "P" and character not in _KEPT)


def _pattern(text: str) -> str:
    before = (rf"(?<!{_LETTER})" if _EDGE.match(text) else "") + (r"(?<!\d[.,])" if text[:1].isdecimal() else "")
    after = (rf"(?!{_LETTER})" if _EDGE.match(text[-1:]) else "") + (r"(?![.,]\d)" if text[-1:].isdecimal() else "")
    return before + re.escape(text) + after
