"""Texts that are nearly the same, and texts that share a passage: by runs of words, or of characters where a script is
written without spaces.

Near-duplicates are found with MinHash and locality-sensitive hashing (Broder 1997; Leskovec, Rajaraman, Ullman, Mining
of Massive Datasets, chapter 3) and confirmed by the exact Jaccard similarity of their runs.
"""

from __future__ import annotations

import hashlib
import re
import sys
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]

NEAR_DUPLICATE = 0.7
"""Jaccard similarity of runs of SHINGLE_WORDS words from which two texts count as one: a changed word in sixty leaves
0.84, two leave 0.70; texts that share half of their words in one block have 0.33."""
SHINGLE_WORDS, SHINGLE_CHARACTERS = 5, 12
OVERLAP_WORDS, OVERLAP_CHARACTERS = 8, 20
"""So many words in a row (characters, in scripts without spaces) may not stand in two texts that must be disjoint."""
SHORT_WORDS = 4
"""A shorter text that stands in another as it is is evidence from so many words on, a character counting as
OVERLAP_WORDS / OVERLAP_CHARACTERS of one; `yes` stands everywhere."""
UNSPACED = (
    *((0x0E01, 0x0E4E), (0x0E81, 0x0ECD), (0x1000, 0x103F), (0x1050, 0x108F), (0x1780, 0x17D3), (0x1950, 0x19DF)),
    *((0x1A20, 0x1A7C), (0x1B05, 0x1B4C), (0x2E80, 0x2FDF), (0x3005, 0x3007), (0x3021, 0x30FF), (0x3105, 0x312F)),
    *((0x31A0, 0x31BF), (0x31F0, 0x31FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xA980, 0xA9C0), (0xA9E0, 0xA9EF)),
    *((0xAA60, 0xAADF), (0xF900, 0xFAFF), (0x1B000, 0x1B16F), (0x20000, 0x3FFFF)),
)
"""Code points of scripts that are written without spaces, digits and punctuation left out where they have blocks of
their own: Thai, Lao, Myanmar, Khmer, Tai, Javanese, Balinese, Han, kana, Bopomofo (Unicode Standard Annex 14, line
breaking classes SA, AK, ID and CJ; not Hangul, which has spaces)."""
BANDS, ROWS = 32, 4
"""Of 128 MinHash values: texts of similarity 0.7 are compared with probability 1 - (1 - 0.7^4)^32 = 0.9998."""
MARGIN = 0.2
"""Five standard errors of a similarity of 0.7 that 128 MinHash values tell; what they put lower is not compared."""
_FACTOR = 0x9E3779B97F4A7C15
"""Odd, so that multiplication modulo 2^64 loses nothing."""


class Units(NamedTuple):
    """A text in what is compared: words, and single characters of scripts without spaces."""

    texts: list[str]
    is_character: NDArray[np.bool_]
    """(n,)."""

    @property
    def words(self) -> float:
        """How much there is, in words."""
        characters = int(self.is_character.sum())
        return len(self.texts) - characters + characters * OVERLAP_WORDS / OVERLAP_CHARACTERS


def units(text: str) -> Units:
    """Units of a text, compatibility characters replaced (NFKC) and case folded; what is no letter, digit or mark only
    separates them."""
    patterns = _patterns()
    plain = unicodedata.normalize("NFKC", text).casefold()
    found = patterns.word.findall(patterns.character.sub(r" \g<0> ", plain))
    return Units(found, np.array([patterns.character.match(u) is not None for u in found], bool))


def runs(text: str, length: int, characters: int) -> Hashes:
    """Hashes of all runs of words, and of all runs of units with a character of a script without spaces among them;
    sorted, without repetitions. A shorter text has none.

    Args:
        text: any.
        length: words in a run.
        characters: units in a run that is not of words alone.
    """
    return _runs_of(units(text), length, characters)


def content_hash(text: str) -> str:
    """SHA-256 of a text but for case and white space."""
    return hashlib.sha256(" ".join(text.casefold().split()).encode(errors="replace")).hexdigest()


def near_duplicates(shingles: Sequence[Hashes], threshold: float = NEAR_DUPLICATE) -> NDArray[np.bool_]:
    """Which texts are nearly the same as an earlier one that is kept.

    Args:
        shingles: runs of each text, in order of preference.
        threshold: Jaccard similarity.

    Returns:
        (n,) bool.
    """
    duplicate = np.zeros(len(shingles), bool)
    signatures = np.array([_signature(s) for s in shingles], np.uint64).reshape(len(shingles), BANDS * ROWS)
    seen: dict[tuple[int, bytes], list[int]] = defaultdict(list)
    for i, own in enumerate(shingles):
        bands = signatures[i].reshape(BANDS, ROWS)
        keys = [(band, values.tobytes()) for band, values in enumerate(bands)] if len(own) else []
        candidates = np.array(sorted({j for key in keys for j in seen[key]}), np.int64)
        alike = (signatures[candidates] == signatures[i]).mean(1) >= threshold - MARGIN
        duplicate[i] = any(jaccard(own, shingles[j]) >= threshold for j in candidates[alike])
        if not duplicate[i]:
            for key in keys:
                seen[key].append(i)
    return duplicate


def jaccard(a: Hashes, b: Hashes) -> float:
    """Share of runs that two texts have in common, of all that they have; 0 for two empty ones."""
    common = len(np.intersect1d(a, b, assume_unique=True))
    return common / max(1, len(a) + len(b) - common)


class HeldOut:
    """Texts that must not be calibrated on."""

    def __init__(self, texts: Sequence[str]) -> None:
        """Take the texts that figures come from."""
        found = [units(t) for t in texts]
        parts = [_runs_of(u, OVERLAP_WORDS, OVERLAP_CHARACTERS) for u in found]
        self._hashes = {content_hash(t) for t in texts}
        self._runs = np.unique(np.concatenate(parts)) if parts else np.zeros(0, np.uint64)
        self._text = "".join(f" {' '.join(u.texts)} \n" for u in found)

    def overlaps(self, text: str) -> bool:
        """Whether a text is one of them, shares a run of OVERLAP_WORDS words or OVERLAP_CHARACTERS characters with one,
        or, where it is too short for a run, stands in one as it is. Less than SHORT_WORDS is no evidence then: what
        is said everywhere is nobody's."""
        if content_hash(text) in self._hashes:
            return True
        found = units(text)
        own = _runs_of(found, OVERLAP_WORDS, OVERLAP_CHARACTERS)
        if len(own):
            return bool(np.isin(own, self._runs).any())
        return found.words >= SHORT_WORDS and f" {' '.join(found.texts)} " in self._text


class _Patterns(NamedTuple):
    word: re.Pattern[str]
    character: re.Pattern[str]
    """Of a script without spaces, with the accents on it."""


@lru_cache(1)
def _patterns() -> _Patterns:
    # Marks (accents, Thai and Indic vowels) are none of \w; some stand on emoji, so that no word begins with one.
    marks = "".join(c for c in map(chr, range(sys.maxunicode + 1)) if unicodedata.category(c).startswith("M"))
    unspaced = "".join(f"{chr(first)}-{chr(last)}" for first, last in UNSPACED)
    return _Patterns(re.compile(rf"\w[\w{marks}]*"), re.compile(rf"[{unspaced}][{marks}]*"))


@lru_cache(2**16)
def _hash(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode(errors="replace"), digest_size=8).digest(), "little")


def _runs_of(found: Units, length: int, characters: int) -> Hashes:
    codes = np.array([_hash(u) for u in found.texts], np.uint64)
    before = np.concatenate([[0], np.cumsum(found.is_character)])

    def with_characters(count: int) -> NDArray[np.bool_]:
        """Which runs have some."""
        return before[count:] > before[: max(0, len(before) - count)]

    of_words = _runs(codes, length)[~with_characters(length)]
    of_characters = _runs(codes, characters)[with_characters(characters)]
    return np.unique(np.concatenate([of_words, of_characters]))


def _runs(codes: Hashes, length: int) -> Hashes:
    """A polynomial of each run's codes, modulo 2^64."""
    count = len(codes) - length + 1
    total = np.zeros(max(0, count), np.uint64)
    for k in range(length if count > 0 else 0):
        total = total * np.uint64(_FACTOR) + codes[k : k + count]
    return total


def _signature(shingles: Hashes) -> Hashes:
    """MinHash values: the lowest of each of BANDS * ROWS random orders."""
    factors, offsets = _permutations()
    lowest = np.full(BANDS * ROWS, np.iinfo(np.uint64).max, np.uint64)
    for start in range(0, len(shingles), 4096):
        block = _mix(shingles[start : start + 4096, None] * factors + offsets)
        lowest = np.minimum(lowest, block.min(0))
    return lowest


def _mix(values: Hashes) -> Hashes:
    """High bits to low ones, which a product modulo 2^64 leaves poor."""
    return (values ^ (values >> np.uint64(32))) * np.uint64(_FACTOR)


@lru_cache(1)
def _permutations() -> tuple[Hashes, Hashes]:
    values = np.random.default_rng(0).integers(0, 2**63, (2, BANDS * ROWS), dtype=np.uint64)
    return values[0] * np.uint64(2) + np.uint64(1), values[1]
