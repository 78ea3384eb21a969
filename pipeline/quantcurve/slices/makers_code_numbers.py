"""Functions over numbers, for the slice of code."""

from __future__ import annotations

import math
from typing import Any

from quantcurve.slices import makers_code_parts as draw
from quantcurve.slices.makers_code_parts import Function


def _function(name: str, returns: str, says: str, drawn: Any, reference: Any, *over: Any) -> Function:
    return Function("numbers", name, "n: int", returns, says, drawn, reference, over)


def _in_base(base: int, number: int) -> str:
    digits = str(number % base)
    while number := number // base:
        digits = str(number % base) + digits
    return digits


def _sequence(first: int, second: int, place: int) -> int:
    for _ in range(place - 1):
        first, second = second, first + second
    return first


def _is_prime(number: int) -> bool:
    return number > 1 and all(number % d for d in range(2, math.isqrt(number) + 1))


def _steps_to_one(number: int) -> int:
    steps = 0
    while number > 1:
        number = number // 2 if number % 2 == 0 else 3 * number + 1
        steps += 1
    return steps


def _named(one: int, other: int, number: int) -> str:
    if number % one == 0:
        return "both" if number % other == 0 else "first"
    return "second" if number % other == 0 else "none"


def _clock(minutes: int) -> str:
    return f"{minutes // 60}:{minutes % 60:02d}"


NUMBERS = (
    _function("is_multiple_of_{}", "bool", "Return whether n can be divided by {}.", draw.small,
              lambda k, n: n % k == 0, range(3, 10)),
    _function("last_{}_digits", "int", "Return the number that the last {} digits of n make.", draw.natural,
              lambda k, n: n % 10**k, range(2, 4)),
    _function("in_base_{}", "str", "Return n written in base {}, without a prefix.", draw.natural, _in_base,
              range(2, 10)),
    _function("count_digit_{}", "int", "Return how often the digit {} is in n, written in base ten.", draw.natural,
              lambda d, n: str(n).count(str(d)), range(1, 10)),
    _function("round_up_to_multiple_of_{}", "int", "Return the smallest multiple of {} that is not less than n.",
              draw.natural, lambda k, n: -(-n // k) * k, range(3, 13)),
    _function("round_down_to_multiple_of_{}", "int", "Return the largest multiple of {} that is not more than n.",
              draw.natural, lambda k, n: n // k * k, range(3, 13)),
    _function("sum_of_powers_{}_up_to", "int", "Return the sum of all numbers from 1 to n, each to the power {}.",
              draw.small, lambda k, n: sum(i**k for i in range(1, n + 1)), range(1, 4)),
    _function("clamp_{}_to_{}", "int", "Return n, but {} if it is less than that, and {} if it is more than that.",
              draw.whole, lambda low, high, n: min(max(n, low), high), range(0, 9, 2), range(10, 40, 5)),
    _function("multiples_of_{}_up_to", "list[int]", "Return all multiples of {0} from {0} to n.", draw.natural_small,
              lambda k, n: list(range(k, n + 1, k)), range(3, 10)),
    _function("sum_of_multiples_of_{}_or_{}_below", "int",
              "Return the sum of all numbers from 1 to n - 1 that can be divided by {} or by {}.", draw.natural_small,
              lambda a, b, n: sum(i for i in range(1, n) if i % a == 0 or i % b == 0), (3, 4, 5), (7, 11)),
    _function("boxes_of_{}", "int", "Return how many boxes are needed for n things if {} of them fit into a box.",
              draw.natural, lambda k, n: -(-n // k), range(4, 13)),
    _function("next_after_{}", "list[int]", "Return the n whole numbers that come right after {}.", draw.small,
              lambda k, n: list(range(k + 1, k + n + 1)), range(5, 15)),
    _function("countdown_by_{}", "list[int]", "Return the numbers n, n - {0}, n - 2 * {0} and so on that are above 0.",
              draw.natural_small, lambda k, n: list(range(n, 0, -k)), range(2, 9)),
    _function("sequence_from_{}_and_{}", "int",
              "Return the n-th term, counted from 1, of the sequence that begins with {} and {} and where each later "
              "term is the sum of the two before.", draw.small, _sequence, range(4), range(1, 5)),
    _function("times_divisible_by_{}", "int", "Return how often n can be divided by {} without a remainder.",
              draw.powers, lambda k, n: next(i for i in range(64) if n % k ** (i + 1)), (2, 3)),
    _function("distance_to_{}", "int", "Return how far n is from {}, as a number that is not negative.", draw.whole,
              lambda k, n: abs(n - k), range(3, 20)),
    _function("digits_times_{}", "list[int]", "Return the digits of n from left to right, each multiplied by {}.",
              draw.natural, lambda k, n: [int(d) * k for d in str(n)], range(2, 7)),
    _function("divided_by_{}_or_{}", "str",
              "Return 'both' if n can be divided by {0} and by {1}, 'first' if only by {0}, 'second' if only by {1}, "
              "and else 'none'.", draw.natural_small, _named, (2, 3, 4), (5, 7)),
    _function("digit_sum", "int", "Return the sum of the digits of n.", draw.natural, lambda n: sum(map(int, str(n)))),
    _function("reverse_digits", "int", "Return the number with the digits of n in reverse order.", draw.natural,
              lambda n: int(str(n)[::-1])),
    _function("factorial", "int", "Return the product of all numbers from 1 to n.", draw.tiny, math.factorial),
    _function("is_prime", "bool", "Return whether n is a prime number.", draw.small, _is_prime),
    _function("divisors", "list[int]", "Return all numbers from 1 to n that n can be divided by.", draw.natural_small,
              lambda n: [d for d in range(1, n + 1) if n % d == 0]),
    _function("primes_up_to", "list[int]", "Return all prime numbers from 2 to n.", draw.small,
              lambda n: [i for i in range(2, n + 1) if _is_prime(i)]),
    _function("steps_to_one", "int",
              "Return how many steps lead from n to 1, where a step halves an even number and takes an odd one times 3 "
              "plus 1.", draw.small, _steps_to_one),
    _function("clock", "str", "Return n minutes as hours and minutes, such as '2:05'.", draw.natural, _clock),
    _function("integer_square_root", "int", "Return the largest whole number with a square that is not more than n.",
              draw.natural, math.isqrt),
    _function("is_perfect_square", "bool", "Return whether n is the square of a whole number.", draw.squares,
              lambda n: math.isqrt(n) ** 2 == n),
    _function("triangle_number", "int", "Return the sum of all numbers from 1 to n.", draw.small,
              lambda n: n * (n + 1) // 2),
    Function("numbers", "greatest_common_divisor", "a: int, b: int", "int",
             "Return the largest number that both a and b can be divided by.", draw.two_naturals, math.gcd),
    Function("numbers", "least_common_multiple", "a: int, b: int", "int",
             "Return the smallest number above 0 that can be divided by both a and b.", draw.two_naturals, math.lcm),
)  # fmt: skip
