"""Functions over texts, for the slice of code."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from quantcurve.slices import makers_code_parts as draw
from quantcurve.slices.makers_code_parts import Function, Setting, letters

SEPARATORS = (
    Setting("dashes", "'-'", "-"),
    Setting("commas", "','", ","),
    Setting("slashes", "'/'", "/"),
    Setting("plus_signs", "'+'", "+"),
    Setting("colons", "':'", ":"),
    Setting("dots", "'.'", "."),
)
COMMON_LETTERS = letters("aeiorntlsg")
SWAPS = tuple(
    Setting(f"{a}_by_{b}", f"{a!r} replaced by {b!r}", a + b) for a, b in zip("aeiorn", "uoaelm", strict=True)
)


def _function(name: str, argument: str, returns: str, says: str, drawn: Any, reference: Any, *over: Any) -> Function:
    return Function("texts", name, argument, returns, says, drawn, reference, over)


def _shifted(places: int, text: str) -> str:
    return "".join(chr((ord(c) - 97 + places) % 26 + 97) if c.isalpha() else c for c in text)


def _shortened(most: int, text: str) -> str:
    return text if len(text) <= most else text[:most] + "..."


def _by_length(words: list[str]) -> dict[int, list[str]]:
    return {n: [w for w in words if len(w) == n] for n in sorted({len(w) for w in words})}


def _by_first_letter(words: list[str]) -> dict[str, int]:
    return {c: sum(w[0] == c for w in words) for c in sorted({w[0] for w in words})}


TEXTS = (
    _function("count_letter_{}", "text: str", "int", "Return how often the letter {} is in the text.", draw.text,
              lambda c, x: x.count(c), COMMON_LETTERS),
    _function("remove_letter_{}", "text: str", "str", "Return the text without the letter {}.", draw.text,
              lambda c, x: x.replace(c, ""), COMMON_LETTERS),
    _function("replace_{}", "text: str", "str", "Return the text with every {}.", draw.text,
              lambda pair, x: x.replace(pair[0], pair[1]), SWAPS),
    _function("double_letter_{}", "text: str", "str", "Return the text with every {} written twice.", draw.text,
              lambda c, x: x.replace(c, 2 * c), COMMON_LETTERS),
    _function("words_longer_than_{}", "text: str", "list[str]",
              "Return the words of the text that have more than {} letters.", draw.text,
              lambda k, x: [w for w in x.split() if len(w) > k], range(3, 6)),
    _function("words_with_{}", "words: list[str]", "list[str]", "Return the words that contain the letter {}.",
              draw.words, lambda c, x: [w for w in x if c in w], COMMON_LETTERS),
    _function("count_words_with_{}_letters", "text: str", "int",
              "Return how many words of the text have exactly {} letters.", draw.text,
              lambda k, x: sum(len(w) == k for w in x.split()), range(4, 7)),
    _function("first_{}_letters", "words: list[str]", "list[str]",
              "Return the first {} letters of each word, or the whole word if it is shorter.", draw.words,
              lambda k, x: [w[:k] for w in x], range(2, 6)),
    _function("last_{}_letters", "words: list[str]", "list[str]",
              "Return the last {} letters of each word, or the whole word if it is shorter.", draw.words,
              lambda k, x: [w[-k:] for w in x], range(2, 6)),
    _function("shift_letters_by_{}", "text: str", "str",
              "Replace each letter by the one {} places later in the alphabet; after z comes a. Keep the spaces.",
              draw.text, _shifted, range(1, 9)),
    _function("shorten_to_{}", "text: str", "str",
              "Return the text, or if it is longer than {0} characters, its first {0} characters followed by '...'.",
              draw.text, _shortened, range(5, 14)),
    _function("repeat_{}_times", "text: str", "str", "Return the text {} times, separated by spaces.", draw.text,
              lambda k, x: " ".join([x] * k), range(2, 6)),
    _function("every_{}th_letter", "text: str", "str", "Return the first character and every {}th after it.",
              draw.text, lambda k, x: x[::k], range(4, 8)),
    _function("join_with_{}", "words: list[str]", "str", "Join the words with {} between them.", draw.words,
              lambda s, x: s.join(x), SEPARATORS),
    _function("spaces_to_{}", "text: str", "str", "Return the text with every space replaced by {}.", draw.text,
              lambda s, x: x.replace(" ", s), SEPARATORS),
    _function("wrap_in_{}", "word: str", "str", "Return the word with {} put before and after it.", draw.word,
              lambda s, x: s + x + s, SEPARATORS),
    _function("fill_to_{}", "word: str", "str",
              "Return the word with spaces added at the end until it has at least {} characters.", draw.word,
              lambda k, x: x.ljust(k), range(6, 12)),
    _function("letters_after_{}", "text: str", "str",
              "Return what stands behind the first {} in the text, or '' if it is not there.", draw.text,
              lambda c, x: x.partition(c)[2], COMMON_LETTERS),
    _function("ends_with_{}", "word: str", "bool", "Return whether the last letter of the word is {}.", draw.word,
              lambda c, x: x.endswith(c), letters("erntw")),
    _function("capitalize_words", "text: str", "str",
              "Return the text with the first letter of each word in upper case.", draw.text, str.title),
    _function("reverse_words", "text: str", "str", "Return the words of the text in reverse order.", draw.text,
              lambda x: " ".join(x.split()[::-1])),
    _function("reverse_each_word", "text: str", "str", "Return the text with the letters of each word reversed.",
              draw.text, lambda x: " ".join(w[::-1] for w in x.split())),
    _function("is_palindrome", "word: str", "bool", "Return whether the word reads the same backwards.", draw.word,
              lambda x: x == x[::-1]),
    _function("count_vowels", "text: str", "int", "Return how many of the letters are vowels: a, e, i, o or u.",
              draw.text, lambda x: sum(c in "aeiou" for c in x)),
    _function("longest_word", "words: list[str]", "str", "Return the longest word; of several, the first.",
              draw.some_words, lambda x: max(x, key=len)),
    _function("initials", "text: str", "str", "Return the first letters of the words in upper case, joined together.",
              draw.text, lambda x: "".join(w[0].upper() for w in x.split())),
    _function("letter_counts", "word: str", "dict[str, int]", "Return how often each letter is in the word.",
              draw.word, lambda x: {c: x.count(c) for c in sorted(set(x))}),
    _function("run_lengths", "text: str", "list[tuple[str, int]]",
              "Return each run of equal letters as the letter and the length of the run.", draw.runs,
              lambda x: [(c, len(list(run))) for c, run in groupby(x)]),
    _function("are_anagrams", "a: str, b: str", "bool", "Return whether both words have the same letters.",
              draw.two_words, lambda a, b: sorted(a) == sorted(b)),
    _function("common_letters", "a: str, b: str", "list[str]",
              "Return the letters that are in both words, each once, in alphabetical order.", draw.two_words,
              lambda a, b: sorted(set(a) & set(b))),
    _function("group_by_length", "words: list[str]", "dict[int, list[str]]",
              "Return the words of each length, in the order that they have in the list.", draw.some_words, _by_length),
    _function("count_by_first_letter", "words: list[str]", "dict[str, int]",
              "Return how many words begin with each letter that a word begins with.", draw.some_words,
              _by_first_letter),
    _function("sort_by_length", "words: list[str]", "list[str]",
              "Return the words from the shortest to the longest; words of equal length in alphabetical order.",
              draw.some_words, lambda x: sorted(x, key=lambda w: (len(w), w))),
)  # fmt: skip
