"""Sentences of a text, without data that was learnt from texts."""

from __future__ import annotations

import re

_END = re.compile(r"(?<![.!?…])[.!?…]++[\"'”’»)\]*_]*+(?=\s|\Z)|[。！？؟۔।]++[」』”’）)]*+")
_OPENING = "\"'“‘«([*_"
_LEADING = re.compile(r"(?:mrs?|ms|mx|dr|prof|st|rev|capt|lt|col|gen|sgt|gov|vs|cf|e\.g|i\.e|viz|pp)\Z", re.IGNORECASE)
"""Abbreviations that something follows."""
_MIDDLE = re.compile(
    r"(?:etc|inc|ltd|co|corp|[js]r|al|dept|est|approx|[ap]\.m|u\.[skn]|e\.u|d\.c|ph\.d|[bm]\.[as]c?|b\.c|a\.d"
    r"|jan|feb|apr|aug|sept?|oct|nov|dec)\Z",
    re.IGNORECASE,
)
"""Abbreviations that may be a sentence's last word."""
_INITIALS = re.compile(r"(?:[A-Z]\.)*[A-HJ-Z]\Z")
_LAST_WORD = re.compile(r"(?<![\w'’])[^\W_](?:[\w.]{0,18}\w)?\Z")
_NUMBERED = re.compile(r"\n[-*#>_( \t]{0,8}(?:\d{1,3}|[A-Za-z])\Z")


def sentences(text: str) -> list[str]:
    """Split a text into sentences; what has no letter and no digit is none.

    A sentence ends at a run of . ! ? or … , with the quotation marks, brackets and stars that close behind it, before
    white space or the end of the text, and at 。 ！ ？ ؟ ۔ । anywhere. It does not end there

    - after a period that follows an abbreviation of a list (Mr., e.g.), or of a second list (etc., p.m.) where no
      capital letter comes next; initials (J. R. R., but not I); or a number of up to three digits or a letter that
      begins a line (an item of a list);
    - after an ellipsis, or after a quotation mark that closes, where a small letter comes next.

    A line's end is no sentence's end. The rule is quantcurve's own. Punkt of nltk, by which lm-evaluation-harness
    counts, has learnt its abbreviations from texts, and takes "1." for a sentence.
    """
    found, start = [], 0
    for end in _END.finditer(text):
        if _ends(text, end):
            found.append(text[start : end.end()])
            start = end.end()
    found.append(text[start:])
    return [sentence.strip() for sentence in found if any(map(str.isalnum, sentence))]


def _ends(text: str, end: re.Match[str]) -> bool:
    mark = end[0]
    coming = text[end.end() : end.end() + 20].lstrip().lstrip(_OPENING)[:1]
    if mark[0] in "。！？؟۔।":
        return True
    if coming.islower() and (mark.startswith(("..", "…")) or mark[-1] in "\"'”’»"):
        return False
    if mark[0] != "." or mark.startswith(".."):
        return True
    start = max(0, end.start() - 20)
    before = text[start : end.start()] if start else "\n" + text[: end.start()]
    if _NUMBERED.search(before):
        return False
    last = _LAST_WORD.search(before)
    word = last[0] if last else ""
    if _MIDDLE.match(word):
        return coming.isupper() or not coming
    return not (_LEADING.match(word) or _INITIALS.match(word))
