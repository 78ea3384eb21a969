"""Likelihoods of continuations: what is asked for, and the fixed schedule by which a run repeats.

The continuations of one context (the choices of a question) stand beside each other, so that the context is computed
once. Contexts are taken in the order of their ids; what a run of them begins with (the examples of a few-shot task) is
computed once for all batches of the run, and always by itself: a batch's figures hang on nothing but the batch and what
it shares, so that a run that goes on after a stop gives what it would have given.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import numpy as np

from quantcurve.engines.base import Tokens
from quantcurve.errors import RecipeError
from quantcurve.generation import SHORTEST_SHARED, Steps

KEPT_SHARE = 0.5
"""A context ends the run of those before it where it would shorten what they share to less than this."""


class Pair(NamedTuple):
    """A context and what may go on from it."""

    context: Tokens
    """(n,) ids, one at least."""
    continuation: Tokens
    """(m,) ids, one at least."""
    ends: tuple[int, ...] | None = None
    """Tokens that would end the continuation; where they are given, every step of it is looked at (`Followed`)."""

    @property
    def fed(self) -> int:
        """Tokens that go through the model: all but the last."""
        return len(self.context) + len(self.continuation) - 1


@dataclass(frozen=True)
class Followed(Steps):
    """Figures of each step of a continuation that the model is led along, (m,)."""

    rank: Tokens
    """Of the continuation's token, 1 the likeliest."""


class Likelihood(NamedTuple):
    """How likely a model finds a text after another."""

    nats: float
    """Sum of log p over the tokens of the continuation."""
    tokens: int
    """Of the continuation."""
    greedy: bool
    """Whether greedy decoding gives just this continuation."""
    steps: Followed | None = None
    """Where the pair has `ends`."""


@dataclass(frozen=True)
class Question:
    """One context with its continuations."""

    context: Tokens
    continuations: tuple[Tokens, ...]
    ends: tuple[tuple[int, ...] | None, ...]
    """Of each continuation."""


class Batch(NamedTuple):
    """Questions that go through the model together."""

    questions: tuple[Question, ...]
    places: tuple[int, ...]
    """Of their continuations among all pairs, question by question."""
    shared: int
    """Tokens at the beginning of these contexts, and of those in batches before and behind, that are computed once."""

    @property
    def pairs(self) -> list[Pair]:
        """Question by question."""
        return [
            Pair(question.context, c, ends)
            for question in self.questions
            for c, ends in zip(question.continuations, question.ends, strict=True)
        ]


def schedule(pairs: Sequence[Pair], batch_tokens: int, sequences: int) -> list[Batch]:
    """Batches of at most `batch_tokens` tokens beside what they share, and `sequences` continuations. A question whose
    context has more is a batch of its own, and one whose continuations are or have more is several questions."""
    found: list[Batch] = []
    for run, shared in _runs(_questions(pairs, batch_tokens, sequences)):
        some: list[_Placed] = []
        for one in sorted(run, key=lambda placed: len(placed.question.context)):
            size = sum(_new_tokens(q.question, shared) for q in (*some, one))
            if some and (size > batch_tokens or sum(len(q.places) for q in (*some, one)) > sequences):
                found.append(_batch(some, shared))
                some = []
            some.append(one)
        found.append(_batch(some, shared))
    return found


def check(pairs: Sequence[Pair], context_tokens: int, vocabulary: int) -> None:
    """Refuse what no engine can judge.

    Raises:
        RecipeError: a context or continuation is empty, has ids that are none, or is too long.
    """
    for i, pair in enumerate(pairs):
        if not len(pair.context) or not len(pair.continuation):
            empty = "context" if len(pair.continuation) else "continuation"
            raise RecipeError(f"pair {i}: its {empty} is empty; give a token at least")
        if pair.fed > context_tokens:
            raise RecipeError(
                f"pair {i}: {pair.fed:,} tokens, and the context is {context_tokens:,}; shorten it, or open a longer "
                "context"
            )
        both = np.concatenate([pair.context, pair.continuation])
        if both.min() < 0 or both.max() >= vocabulary:
            raise RecipeError(
                f"pair {i}: ids from {both.min()} to {both.max()}, and the vocabulary has {vocabulary:,} tokens"
            )


class _Placed(NamedTuple):
    """A question, and where its continuations are among all pairs."""

    question: Question
    places: Sequence[int]


def _questions(pairs: Sequence[Pair], batch_tokens: int, sequences: int) -> list[_Placed]:
    """Pairs of the same context together, contexts in the order of their ids."""
    keys = [pair.context.tolist() for pair in pairs]
    order = sorted(range(len(pairs)), key=lambda i: (keys[i], i))
    found = []
    for _, group in groupby(order, key=lambda i: keys[i]):
        for places in _split(list(group), pairs, batch_tokens, sequences):
            some = [pairs[i] for i in places]
            question = Question(
                some[0].context, tuple(pair.continuation for pair in some), tuple(pair.ends for pair in some)
            )
            found.append(_Placed(question, places))
    return found


def _split(places: Sequence[int], pairs: Sequence[Pair], batch_tokens: int, sequences: int) -> Iterator[list[int]]:
    """A question's continuations in parts that a batch has room for."""
    part, size = list[int](), 0
    for place in places:
        more = len(pairs[place].continuation) - 1
        if part and (size + more > batch_tokens or len(part) == sequences):
            yield part
            part, size = [], 0
        part.append(place)
        size += more
    yield part


def _runs(questions: Sequence[_Placed]) -> Iterator[tuple[Sequence[_Placed], int]]:
    """Neighbours with how many tokens they share, and all that share too little with theirs, with 0."""
    if not questions:
        return
    alone: list[_Placed] = []
    start, shared = 0, 0
    for i, common in enumerate([*map(_common, questions[:-1], questions[1:]), 0], 1):
        single = i - start == 1
        if common >= max(SHORTEST_SHARED, 0 if single else KEPT_SHARE * shared):
            shared = common if single else min(shared, common)
            continue
        if single:
            alone.append(questions[start])
        else:
            yield questions[start:i], shared
        start = i
    if alone:
        yield alone, 0


def _common(one: _Placed, other: _Placed) -> int:
    """Tokens that both contexts begin with, without their last ones, whose logits are wanted."""
    length = min(len(one.question.context), len(other.question.context)) - 1
    different = np.flatnonzero(one.question.context[:length] != other.question.context[:length])
    return int(different[0]) if different.size else length


def _new_tokens(question: Question, shared: int) -> int:
    return len(question.context) - shared + sum(len(c) - 1 for c in question.continuations)


def _batch(some: Sequence[_Placed], shared: int) -> Batch:
    return Batch(tuple(q.question for q in some), tuple(place for q in some for place in q.places), shared)
