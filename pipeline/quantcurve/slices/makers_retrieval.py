"""The slice of retrieval: a code that is planted into filler text, and asked for at its end."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from random import Random
from typing import Any, Literal, NamedTuple

from quantcurve.slices.items import RetrievalItem
from quantcurve.slices.makers_filler import sentences
from quantcurve.slices.makers_parts import Part, combination, combinations, listed

LENGTHS = (200, 500, 1000)
"""Words of a whole prompt, about."""
DEPTHS = tuple(range(0, 101, 10))
"""Percent."""
OTHERS = 3
"""Codes of other places that stand in the harder texts."""
Kind = Literal["word", "number"]
KINDS: tuple[Kind, ...] = ("word", "number")
HEAD = "Read the following text. A question about it comes at its end.\n\n"
PLACES = listed(
    "harbour; library; museum; lighthouse; station; bakery; theatre; airport; castle; hospital; school; factory; zoo; "
    "cathedral; stadium; post office; observatory; windmill; town hall; vineyard"
)
CODE_WORDS = listed(
    "walnut; cobalt; magnolia; pelican; saffron; tangerine; obsidian; mandolin; juniper; falcon; marzipan; turquoise; "
    "zeppelin; lavender; buffalo; cinnamon; dolphin; emerald; flamingo; gazelle; hazelnut; iguana; jasmine; kangaroo; "
    "licorice; mahogany; nectarine; octopus; papaya; quartz; raspberry; sapphire; tulip; umbrella; vanilla; walrus; "
    "xylophone; yogurt; zucchini; amethyst; broccoli; crocodile; domino; eucalyptus; fennel; gorilla; hibiscus; ivory; "
    "jaguar; koala; lobster; mango; nutmeg; orchid; penguin; quiche; rhubarb; scorpion; trombone; ukulele"
)
CODE_NUMBERS = range(10_007, 99_990, 7)


class _Cell(NamedTuple):
    words: int
    depth: int
    kind: Kind
    codes: int
    """In the text."""


def parts(lengths: Sequence[int] = LENGTHS, depths: Sequence[int] = DEPTHS) -> list[Part]:
    """A part for each length, depth, and number of codes in the text.

    Args:
        lengths: words of a whole prompt, about; from 100 on.
        depths: percent, from 0 to 100.
    """
    cells = product(lengths, depths, KINDS, (1, 1 + OTHERS))
    return [
        Part(
            f"{codes}-{kind}-{words}-words-{depth}-percent",
            combinations(_over(kind)),
            _Planted(_Cell(words, depth, kind, codes)),
        )
        for words, depth, kind, codes in cells
    ]


class _Planted(NamedTuple):
    cell: _Cell

    def __call__(self, index: int, chance: Random) -> RetrievalItem:
        words, depth, kind, codes = self.cell
        place, code = combination(index, _over(kind))
        planted, others = _sentence(kind, place, code), _others(kind, place, code, codes - 1, chance)
        question = (
            f"\n\nQuestion: What is the secret {kind} of the {place}?\nAnswer: The secret {kind} of the {place} is"
        )
        room = words - sum(len(text.split()) for text in (HEAD, planted, question, *others))
        text = sentences(room, chance)
        needle = round(len(text) * depth / 100)
        before, after = text[:needle], text[needle:]
        for other in others:
            side = before if chance.random() * 100 < depth else after
            side.insert(chance.randint(0, len(side)), other)
        prompt = HEAD + " ".join([*before, planted, *after]) + question
        return RetrievalItem(
            prompt=prompt,
            answers=(str(code),),
            depth_percent=depth,
            context_words=len(prompt.split()),
            group=f"{codes} {'code' if codes == 1 else 'codes'}, {words} words",
            stop=("\n",),
        )


def _over(kind: Kind) -> tuple[Sequence[Any], ...]:
    return PLACES, CODE_WORDS if kind == "word" else CODE_NUMBERS


def _sentence(kind: Kind, place: str, code: object) -> str:
    return f"The secret {kind} of the {place} is {code}."


def _others(kind: Kind, place: str, code: object, count: int, chance: Random) -> list[str]:
    """So many codes of the same kind, of other places."""
    places, codes = _over(kind)
    where = [other for other in chance.sample(places, count + 1) if other != place]
    what = [other for other in chance.sample(codes, count + 1) if other != code]
    return [_sentence(kind, a, b) for a, b in zip(where[:count], what[:count], strict=True)]
