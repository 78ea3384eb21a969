"""Texts that are nearly the same, and texts that share a passage: by runs of words.

Near-duplicates are found with MinHash and locality-sensitive hashing (Broder 1997; Leskovec, Rajaraman, Ullman, Mining
of Massive Datasets, chapter 3) and confirmed by the exact Jaccard similarity of their runs.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]

NEAR_DUPLICATE = 0.7
"""Jaccard similarity of runs of SHINGLE_WORDS words from which two texts count as one: a changed word in sixty leaves
0.84, two leave 0.70; texts that share half of their words in one block have 0.33."""
SHINGLE_WORDS, SHINGLE_CHARACTERS = 5, 12
OVERLAP_WORDS, OVERLAP_CHARACTERS = 8, 20
"""So many words in a row (characters, in scripts without spaces) may not stand in two texts that must be disjoint."""
BANDS, ROWS = 32, 4
"""Of 128 MinHash values: texts of similarity 0.7 are compared with probability 1 - (1 - 0.7^4)^32 = 0.9998."""
MARGIN = 0.2
"""Five standard errors of a similarity of 0.7 that 128 MinHash values tell; what they put lower is not compared."""
_FACTOR = 0x9E3779B97F4A7C15
"""Odd, so that multiplication modulo 2^64 loses nothing."""


def words(text: str) -> list[str]:
    """Words of a text, case folded."""
    return re.findall(r"\w+", text.casefold())


def runs(text: str, length: int, characters: int) -> Hashes:
    """Hashes of all runs of words, sorted, without repetitions; of runs of characters too in words that are longer than
    `characters` and not ASCII (scripts without spaces). A shorter text is one run.

    Args:
        text: any.
        length: words in a run.
        characters: characters in a run.
    """
    found = words(text)
    long = [w for w in found if len(w) >= characters and not w.isascii()]
    parts = [_runs(np.array([_hash(w) for w in found], np.uint64), min(length, max(1, len(found))))]
    parts += [_runs(np.array([ord(c) + 1 for c in w], np.uint64) * np.uint64(_FACTOR), characters) for w in long]
    return np.unique(np.concatenate(parts))


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
        parts = [runs(t, OVERLAP_WORDS, OVERLAP_CHARACTERS) for t in texts]
        self._runs = np.unique(np.concatenate(parts)) if parts else np.zeros(0, np.uint64)
        self._text = "".join(f" {' '.join(words(t))} \n" for t in texts)

    def overlaps(self, text: str) -> bool:
        """Whether a text shares a run of OVERLAP_WORDS words with one of them, or, where it has only four to seven,
        stands in one as it is. Fewer words are no evidence."""
        own = words(text)
        if len(own) < OVERLAP_WORDS and not any(len(w) >= OVERLAP_CHARACTERS for w in own):
            return len(own) >= OVERLAP_WORDS // 2 and f" {' '.join(own)} " in self._text
        return bool(np.isin(runs(text, OVERLAP_WORDS, OVERLAP_CHARACTERS), self._runs).any())


@lru_cache(2**16)
def _hash(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode(errors="replace"), digest_size=8).digest(), "little")


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
