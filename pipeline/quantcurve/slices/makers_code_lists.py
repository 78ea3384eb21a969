"""Functions over lists and dictionaries, for the slice of code."""

from __future__ import annotations

from itertools import accumulate, combinations, dropwhile, pairwise, takewhile
from statistics import median_low
from typing import Any

from quantcurve.slices import makers_code_parts as draw
from quantcurve.slices.makers_code_parts import Function

NUMBERS = "numbers: list[int]"
LIST = "list[int]"


def _function(name: str, returns: str, says: str, drawn: Any, reference: Any, *over: Any) -> Function:
    return Function("lists", name, NUMBERS, returns, says, drawn, reference, over)


def _pairs_with_sum(total: int, numbers: list[int]) -> int:
    return sum(a + b == total for a, b in combinations(numbers, 2))


def _rotated(places: int, numbers: list[int]) -> list[int]:
    places %= max(len(numbers), 1)
    return numbers[places:] + numbers[:places]


def _first_above(limit: int, numbers: list[int]) -> int:
    return next((place for place, number in enumerate(numbers) if number > limit), -1)


def _partitioned(limit: int, numbers: list[int]) -> list[int]:
    return [n for n in numbers if n < limit] + [n for n in numbers if n >= limit]


def _second_largest(numbers: list[int]) -> int | None:
    ranked = sorted(set(numbers), reverse=True)
    return ranked[1] if len(ranked) > 1 else None


def _most_common(numbers: list[int]) -> int:
    return min(numbers, key=lambda n: (-numbers.count(n), n))


def _longest_rise(numbers: list[int]) -> int:
    best = length = 1
    for before, after in pairwise(numbers):
        length = length + 1 if after > before else 1
        best = max(best, length)
    return best


def _merged(one: dict[str, int], other: dict[str, int]) -> dict[str, int]:
    return {key: one.get(key, 0) + other.get(key, 0) for key in [*one, *(k for k in other if k not in one)]}


LISTS = (
    _function("count_above_{}", "int", "Return how many of the numbers are greater than {}.", draw.numbers,
              lambda k, x: sum(n > k for n in x), range(10)),
    _function("keep_below_{}", LIST, "Return the numbers that are smaller than {}, in the same order.", draw.numbers,
              lambda k, x: [n for n in x if n < k], range(2, 12)),
    _function("sum_of_multiples_of_{}", "int", "Return the sum of those numbers that can be divided by {}.",
              draw.numbers, lambda k, x: sum(n for n in x if n % k == 0), range(2, 8)),
    _function("every_{}th", LIST, "Return the first number and every {}th number after it.", draw.numbers,
              lambda k, x: x[::k], range(4, 7)),
    _function("add_{}_to_each", LIST, "Return a list with {} added to each number.", draw.numbers,
              lambda k, x: [n + k for n in x], range(2, 12)),
    _function("multiply_each_by_{}", LIST, "Return a list with each number multiplied by {}.", draw.numbers,
              lambda k, x: [n * k for n in x], range(2, 10)),
    _function("first_{}", LIST, "Return the first {} numbers, or all if there are fewer.", draw.numbers,
              lambda k, x: x[:k], range(2, 7)),
    _function("last_{}", LIST, "Return the last {} numbers in the same order, or all if there are fewer.",
              draw.numbers, lambda k, x: x[-k:], range(2, 7)),
    _function("without_first_{}", LIST, "Return the numbers without the first {} of them.", draw.numbers,
              lambda k, x: x[k:], range(2, 6)),
    _function("rotate_left_by_{}", LIST, "Return the numbers rotated to the left by {} places.", draw.numbers,
              _rotated, range(1, 7)),
    _function("chunks_of_{}", "list[list[int]]", "Split the numbers into lists of {}; the last list may be shorter.",
              draw.numbers, lambda k, x: [x[i : i + k] for i in range(0, len(x), k)], range(2, 6)),
    _function("largest_{}", LIST, "Return the {} largest numbers, the largest first (all if there are fewer).",
              draw.numbers, lambda k, x: sorted(x, reverse=True)[:k], range(2, 6)),
    _function("smallest_{}", LIST, "Return the {} smallest numbers, the smallest first (all if there are fewer).",
              draw.numbers, lambda k, x: sorted(x)[:k], range(2, 6)),
    _function("limit_to_{}", LIST, "Return the numbers with each one that is greater than {0} replaced by {0}.",
              draw.numbers, lambda k, x: [min(n, k) for n in x], range(3, 13)),
    _function("replace_{}_by_zero", LIST, "Return the numbers with every {} replaced by 0.", draw.digits,
              lambda k, x: [0 if n == k else n for n in x], range(1, 10)),
    _function("remove_all_{}s", LIST, "Return the numbers without those that are equal to {}.", draw.digits,
              lambda k, x: [n for n in x if n != k], range(10)),
    _function("index_of_first_above_{}", "int",
              "Return the index of the first number that is greater than {}, or -1 if there is none.", draw.numbers,
              _first_above, range(4, 15)),
    _function("sums_of_{}_neighbours", LIST, "Return the sums of every {} numbers that follow one another.",
              draw.numbers, lambda k, x: [sum(x[i : i + k]) for i in range(len(x) - k + 1)], range(2, 6)),
    _function("differences_at_distance_{}", LIST,
              "Return the differences numbers[i + {0}] - numbers[i] for each i that has a number {0} places on.",
              draw.numbers, lambda k, x: [b - a for a, b in zip(x, x[k:], strict=False)], range(1, 5)),
    _function("until_first_{}", LIST, "Return the numbers that stand before the first {} (all if there is none).",
              draw.digits, lambda k, x: list(takewhile(lambda n: n != k, x)), range(10)),
    _function("from_first_above_{}", LIST, "Return the numbers from the first one on that is greater than {}.",
              draw.numbers, lambda k, x: list(dropwhile(lambda n: n <= k, x)), range(3, 12)),
    _function("pad_to_{}", LIST, "Return the numbers with zeros added at the end until there are at least {}.",
              draw.numbers, lambda k, x: x + [0] * (k - len(x)), range(3, 9)),
    _function("repeat_each_{}_times", LIST, "Return a list with each number repeated {} times in a row.",
              draw.numbers, lambda k, x: [n for n in x for _ in range(k)], range(2, 5)),
    _function("small_before_{}", LIST,
              "Return first the numbers smaller than {} and then the others, each in their old order.", draw.numbers,
              _partitioned, range(2, 13)),
    _function("all_at_most_{}", "bool", "Return whether none of the numbers is greater than {}.", draw.numbers,
              lambda k, x: all(n <= k for n in x), range(5, 19)),
    _function("has_multiple_of_{}", "bool", "Return whether one of the numbers at least can be divided by {}.",
              draw.some_numbers, lambda k, x: any(n % k == 0 for n in x), range(3, 10)),
    _function("pairs_with_sum_{}", "int", "Return how many pairs of numbers at different places add up to {}.",
              draw.digits, _pairs_with_sum, range(5, 14)),
    _function("running_totals_from_{}", LIST, "Return the running totals of the numbers, counted from {} on.",
              draw.some_numbers, lambda k, x: list(accumulate(x, initial=k))[1:], range(6)),
    _function("sum_of_powers_{}", "int", "Return the sum of the numbers, each raised to the power {}.", draw.digits,
              lambda k, x: sum(n**k for n in x), range(2, 5)),
    _function("count_of_remainder_{}_by_{}", "int",
              "Return how many numbers leave the remainder {} when they are divided by {}.", draw.digits,
              lambda r, k, x: sum(n % k == r for n in x), range(3), range(3, 6)),
    _function("running_maximum", LIST, "Return for each place the largest number up to there.", draw.some_numbers,
              lambda x: list(accumulate(x, max))),
    _function("without_repeats", LIST, "Return the numbers without repeats, in the order of their first appearance.",
              draw.digits, lambda x: list(dict.fromkeys(x))),
    _function("most_common", "int", "Return the most common number; of several, the smallest.", draw.digits,
              _most_common),
    _function("second_largest", "int | None",
              "Return the second largest of the different numbers, or None if there is only one.", draw.digits,
              _second_largest),
    _function("is_sorted", "bool", "Return whether the numbers are in ascending order.", draw.rising,
              lambda x: x == sorted(x)),
    _function("longest_rise", "int", "Return the length of the longest run of numbers that each exceed the one before.",
              draw.some_numbers, _longest_rise),
    _function("middle", "int", "Return the middle of the sorted numbers; of two middle ones the smaller.",
              draw.some_numbers, median_low),
    _function("span", "int", "Return the difference between the largest and the smallest number.", draw.some_numbers,
              lambda x: max(x) - min(x)),
    Function("lists", "interleave", "a: list[int], b: list[int]", LIST,
             "Return the numbers of a and b in turn; both lists are equally long.", draw.two_lists,
             lambda a, b: [n for pair in zip(a, b, strict=True) for n in pair]),
    Function("lists", "dot_product", "a: list[int], b: list[int]", "int",
             "Return the sum of the products of the numbers at equal places.", draw.two_lists,
             lambda a, b: sum(x * y for x, y in zip(a, b, strict=True))),
    Function("lists", "transpose", "rows: list[list[int]]", "list[list[int]]",
             "Return the matrix with its rows and columns exchanged.", draw.matrix,
             lambda rows: [list(column) for column in zip(*rows, strict=True)]),
    Function("lists", "flatten", "rows: list[list[int]]", LIST, "Return all numbers of the rows in one list.",
             draw.matrix, lambda rows: [n for row in rows for n in row]),
    Function("dictionaries", "names_above_{}", "prices: dict[str, int]", "list[str]",
             "Return the names with a price greater than {}, in alphabetical order.", draw.prices,
             lambda k, x: sorted(name for name in x if x[name] > k), (range(3, 16),)),
    Function("dictionaries", "price_or_{}", "prices: dict[str, int], name: str", "int",
             "Return the price of the name, or {} if it has none.", draw.price_and_word,
             lambda k, x, name: x.get(name, k), (range(6),)),
    Function("dictionaries", "cheapest", "prices: dict[str, int]", "str",
             "Return the name with the lowest price; of several, the first in alphabetical order.", draw.prices,
             lambda x: min(x, key=lambda name: (x[name], name))),
    Function("dictionaries", "add_tallies", "a: dict[str, int], b: dict[str, int]", "dict[str, int]",
             "Return the tallies added up: a name in both has the sum of its two numbers.", draw.two_tallies, _merged),
)  # fmt: skip
