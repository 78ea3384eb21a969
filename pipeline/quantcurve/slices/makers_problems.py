"""Problems of the slice of mathematics: patterns, and the numbers, names and things that are put in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

from quantcurve.slices.makers_parts import listed

NAMES = listed(
    "Anna; Ben; Carla; David; Emma; Felix; Grace; Hugo; Ines; Jack; Kate; Leo; Maria; Noah; Olga; Paul; Rosa; Sam; "
    "Tina; Victor"
)
THINGS = listed(
    "apples; books; pencils; marbles; shells; coins; eggs; flowers; buttons; cards; balls; candles; cups; keys; "
    "stones; photos"
)
GOODS = listed("a notebook; a ticket; a sandwich; a lamp; a shirt; a plant; a puzzle; a map; a towel; a toy car")
Difficulty = Literal["easy", "medium", "hard"]
EASY: Difficulty = "easy"
MEDIUM: Difficulty = "medium"
HARD: Difficulty = "hard"
Asked = tuple[str, int]
"""The question and its answer."""


class Problem(NamedTuple):
    """A pattern; every combination of values gives a different question."""

    name: str
    difficulty: Difficulty
    over: tuple[Sequence[Any], ...]
    """Values of each argument of `make`."""
    make: Callable[..., Asked]


def _gets(name: str, thing: str, has: int, gets: int) -> Asked:
    return f"{name} has {has} {thing} and gets {gets} more. How many {thing} does {name} have now?", has + gets


def _gives(name: str, thing: str, keeps: int, gives: int) -> Asked:
    has = keeps + gives
    return f"{name} has {has} {thing} and gives {gives} of them away. How many {thing} does {name} have left?", keeps


def _both(name: str, other: int, thing: str, a: int, b: int) -> Asked:
    friend = NAMES[(NAMES.index(name) + other) % len(NAMES)]
    return f"{name} has {a} {thing} and {friend} has {b} {thing}. How many {thing} do they have together?", a + b


def _more_than(name: str, other: int, thing: str, fewer: int, more: int) -> Asked:
    friend = NAMES[(NAMES.index(name) + other) % len(NAMES)]
    return (
        f"{name} has {fewer + more} {thing} and {friend} has {fewer} {thing}. "
        f"How many more {thing} does {name} have than {friend}?",
        more,
    )


def _rows(rows: int, each: int) -> Asked:
    return f"A hall has {rows} rows of {each} chairs. How many chairs are there in the hall?", rows * each


def _bags(name: str, thing: str, bags: int, each: int) -> Asked:
    return (
        f"{name} fills {bags} bags with {each} {thing} each. How many {thing} are in the bags altogether?",
        bags * each,
    )


def _shared(name: str, thing: str, friends: int, each: int) -> Asked:
    return (
        f"{name} shares {friends * each} {thing} equally among {friends} friends. "
        f"How many {thing} does each friend get?",
        each,
    )


def _minutes(name: str, hours: int, minutes: int) -> Asked:
    return (
        f"{name} walks for {hours} hours and {minutes} minutes. How many minutes is that altogether?",
        60 * hours + minutes,
    )


def _packs(name: str, thing: str, has: int, packs: int, each: int) -> Asked:
    return (
        f"{name} has {has} {thing} and buys {packs} packs of {each} {thing} each. "
        f"How many {thing} does {name} have now?",
        has + packs * each,
    )


def _change(name: str, good: str, price: int, pays: int) -> Asked:
    return (
        f"{name} buys {good} for {price} euros and pays with {pays} euros. How many euros are given back?",
        pays - price,
    )


def _age(name: str, other: int, age: int, older: int, years: int) -> Asked:
    friend = NAMES[(NAMES.index(name) + other) % len(NAMES)]
    return (
        f"{name} is {age} years old. {friend} is {older} years older than {name}. "
        f"How old will {friend} be in {years} years?",
        age + older + years,
    )


def _several(name: str, good: str, count: int, price: int, over: int) -> Asked:
    owns = count * price + over
    return (
        f"{name} has {owns} euros. At the shop {good} costs {price} euros. {name} buys {count} of them. "
        f"How many euros does {name} have left?",
        over,
    )


def _boxes(thing: str, boxes: int, each: int, broken: int) -> Asked:
    return (
        f"A shop gets {boxes} boxes with {each} {thing} each, and {broken} of the {thing} are broken. "
        f"How many {thing} are not broken?",
        boxes * each - broken,
    )


def _two_goods(name: str, first: str, apart: int, many: int, price: int, other_many: int, other_price: int) -> Asked:
    second = GOODS[(GOODS.index(first) + apart) % len(GOODS)]
    return (
        f"At a shop {first} costs {price} euros and {second} costs {other_price} euros. {name} buys {many} of the "
        f"first and {other_many} of the second. How many euros does {name} pay?",
        many * price + other_many * other_price,
    )


def _discount(good: str, hundreds: int, percent: int) -> Asked:
    price = 20 * hundreds
    return (
        f"At a shop {good} costs {price} euros. In a sale the price is reduced by {percent} percent. "
        f"How many euros does it cost in the sale?",
        price - price * percent // 100,
    )


def _journey(speed: int, hours: int, more: int, more_hours: int) -> Asked:
    return (
        f"A train travels {hours} hours at {speed} kilometres per hour and then {more_hours} hours at {speed + more} "
        "kilometres per hour. How many kilometres does it travel?",
        speed * hours + (speed + more) * more_hours,
    )


def _rate(machines: int, each: int, hours: int) -> Asked:
    return (
        f"Each of {machines} machines makes {each} parts per hour. How many parts do they make in {hours} hours?",
        machines * each * hours,
    )


def _average(a: int, b: int, c: int) -> Asked:
    """Of a, a + b and a third number that makes the average whole."""
    third = 3 * (a + c) - a - (a + b)
    return f"What is the average of {a}, {a + b} and {third}?", a + c


def _share_out(name: str, thing: str, packs: int, friends: int, each: int) -> Asked:
    """Packs of which each friend gets the same."""
    return (
        f"{name} has {packs} packs of {friends * each} {thing} each and shares all the {thing} equally among {friends} "
        f"friends. How many {thing} does each friend get?",
        packs * each,
    )


PROBLEMS = (
    Problem("add-small", EASY, (range(1, 21), range(1, 21)), lambda a, b: (f"What is {a} + {b}?", a + b)),
    Problem("subtract-small", EASY, (range(1, 13), range(1, 13)), lambda a, b: (f"What is {a + b} - {a}?", b)),
    Problem("times-small", EASY, (range(2, 11), range(2, 11)), lambda a, b: (f"What is {a} * {b}?", a * b)),
    Problem("half", EASY, (range(2, 61),), lambda a: (f"What is half of {2 * a}?", a)),
    Problem("double", EASY, (range(3, 61),), lambda a: (f"What is twice {a}?", 2 * a)),
    Problem("gets", EASY, (NAMES, THINGS, range(2, 13), range(2, 10)), _gets),
    Problem("gives", EASY, (NAMES, THINGS, range(2, 10), range(2, 10)), _gives),
    Problem("both", EASY, (NAMES, range(1, 20), THINGS, range(2, 13), range(2, 13)), _both),
    Problem("add-two-digits", MEDIUM, (range(21, 80), range(21, 80)), lambda a, b: (f"What is {a} + {b}?", a + b)),
    Problem("subtract-two-digits", MEDIUM, (range(13, 50), range(13, 50)), lambda a, b: (f"What is {a + b} - {a}?", b)),
    Problem("times-one-digit", MEDIUM, (range(11, 40), range(3, 10)), lambda a, b: (f"What is {a} * {b}?", a * b)),
    Problem("divide", MEDIUM, (range(3, 13), range(3, 13)), lambda a, b: (f"What is {a * b} / {a}?", b)),
    Problem("more-than", MEDIUM, (NAMES, range(1, 20), THINGS, range(3, 20), range(2, 15)), _more_than),
    Problem("rows", MEDIUM, (range(3, 16), range(4, 16)), _rows),
    Problem("bags", MEDIUM, (NAMES, THINGS, range(3, 10), range(3, 13)), _bags),
    Problem("shared", MEDIUM, (NAMES, THINGS, range(2, 10), range(2, 12)), _shared),
    Problem("minutes", MEDIUM, (NAMES, range(2, 6), range(5, 60, 5)), _minutes),
    Problem("packs", MEDIUM, (NAMES, THINGS, range(2, 15), range(2, 7), range(2, 11)), _packs),
    Problem("change", MEDIUM, (NAMES, GOODS, range(3, 20), (20, 50, 100)), _change),
    Problem("age", MEDIUM, (NAMES, range(1, 20), range(5, 40), range(2, 12), range(2, 15)), _age),
    Problem("add-three-digits", HARD, (range(123, 900), range(123, 900)), lambda a, b: (f"What is {a} + {b}?", a + b)),
    Problem("times-two-digits", HARD, (range(12, 60), range(12, 60)), lambda a, b: (f"What is {a} * {b}?", a * b)),
    Problem(
        "brackets",
        HARD,
        (range(3, 30), range(3, 30), range(3, 13)),
        lambda a, b, c: (f"What is ({a} + {b}) * {c}?", (a + b) * c),
    ),
    Problem(
        "two-products",
        HARD,
        (range(6, 16), range(6, 16), range(2, 6), range(2, 6)),
        lambda a, b, c, d: (f"What is {a} * {b} - {c} * {d}?", a * b - c * d),
    ),
    Problem(
        "percent",
        HARD,
        (range(5, 100, 5), range(1, 40)),
        lambda percent, twenties: (f"What is {percent} percent of {20 * twenties}?", percent * twenties // 5),
    ),
    Problem("average", HARD, (range(10, 60), range(1, 20), range(10, 25)), _average),
    Problem(
        "remainder",
        HARD,
        (range(3, 13), range(30, 400)),
        lambda divisor, whole: (f"What is the remainder when {whole} is divided by {divisor}?", whole % divisor),
    ),
    Problem("several", HARD, (NAMES, GOODS, range(2, 10), range(3, 25), range(2, 60)), _several),
    Problem("boxes", HARD, (THINGS, range(4, 25), range(6, 31), range(3, 20)), _boxes),
    Problem(
        "two-goods",
        HARD,
        (NAMES, GOODS, range(1, 10), range(2, 8), range(3, 20), range(2, 8), range(3, 20)),
        _two_goods,
    ),
    Problem("discount", HARD, (GOODS, range(2, 30), range(5, 95, 5)), _discount),
    Problem("journey", HARD, (range(40, 120, 5), range(2, 6), range(10, 60, 5), range(2, 6)), _journey),
    Problem("rate", HARD, (range(3, 13), range(6, 40), range(3, 9)), _rate),
    Problem("share-out", HARD, (NAMES, THINGS, range(2, 8), range(2, 7), range(2, 9)), _share_out),
)
