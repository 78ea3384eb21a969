"""How a variant's answers differ from the reference's: length, how they end, repetition, certainty, where they part.

Answers are greedy, to the same prompts, and paired; items are taken for independent. Lengths are tokens of the answer
without the one that ended it. Changes are variant less reference, ratios variant over reference; item_changes.py says
what their intervals rest on.

- Verbosity: geometric mean of the items' ratios. An answer of 0 tokens counts as one of 1 token here, so that an item
  has the ratio 1 where both have none; how many have none is a rate of its own (`Behaviour.empty`).
- Entropy and margin are also given over the steps that both models took after the same tokens: up to and with the one
  at which the answers part. Without that one, steps would be left out because models waver at them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from quantcurve.engines.base import Doubles
from quantcurve.estimates import Figure, Missing
from quantcurve.generation import StopReason
from quantcurve.metrics.item_changes import Compared, change, compared, percentiles, ratio_of_means
from quantcurve.metrics.paired import item_mean, paired_drop
from quantcurve.metrics.statistics import MIN_REPETITIONS, median_estimate
from quantcurve.metrics.transforms import exp_estimate
from quantcurve.records import Frozen
from quantcurve.task_records import AnswerRecord

GRAM = 4
"""Tokens that are looked for again, together."""
LONGEST_BLOCK = 32
LEAST_REPEATS = 3
LEAST_LOOP = 16
"""Tokens of a loop in all."""


class AnswerBehaviour(NamedTuple):
    """One answer."""

    tokens: int
    stop_reason: StopReason
    repetition: float
    loops: bool
    entropy: float | None
    """Mean over its steps, nats; None where no steps are known, as all that follow."""
    margin: float | None
    """Mean over its steps, logits."""
    stop_rank: int | None
    """Of the likeliest token that ends answers, at the last step; None also where none does."""
    stop_probability: float | None
    """Of all that end answers, at the last step."""


class Flips(Compared):
    """A share of items."""

    lost: int
    """Items of which it is true on the variant alone."""
    won: int
    """Items of which it is true on the reference alone."""


class Behaviour(Frozen):
    """A variant's answers beside the reference's."""

    items: int
    tokens: Compared
    """Generated tokens per request."""
    length_ratio: Figure
    """The variant's mean tokens over the reference's."""
    verbosity_ratio: Figure
    """Geometric mean of the items' ratios."""
    tokens_p95: Compared
    limit: Flips
    """Answers that end because they have as many tokens as they may."""
    empty: Flips
    """Answers without a token."""
    repetition: Compared
    loops: Flips
    entropy: Compared
    """Mean over an answer's steps, nats; of items whose steps are known on both models, as all that follow."""
    margin: Compared
    """Likeliest less second likeliest logit."""
    shared_entropy: Compared
    """Over the steps that both models took after the same tokens."""
    shared_margin: Compared
    stop_probability: Compared
    """At the last step, of all tokens that end answers."""
    agreement: Figure
    """Share of answers with the same tokens."""
    first_divergence: Figure
    """Median index of the first token that differs, of the answers that differ."""


def repetition(tokens: Sequence[int]) -> float:
    """Share of an answer's 4-grams of tokens that occurred before in it, 0 to 1; 0 for fewer than 4 tokens."""
    grams = list(zip(*(tokens[i:] for i in range(GRAM)), strict=False))
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def loops(tokens: Sequence[int]) -> bool:
    """Whether an answer ends in three or more repeats of one block of 1 to 32 tokens, at least 16 tokens in all."""
    for period in range(1, LONGEST_BLOCK + 1):
        length = period * max(LEAST_REPEATS, math.ceil(LEAST_LOOP / period))
        if length <= len(tokens) and tuple(tokens[-length:-period]) == tuple(tokens[period - length :]):
            return True
    return False


def first_divergence(reference: Sequence[int], variant: Sequence[int]) -> int | None:
    """Index of the first token that differs, which one of them may not have; None where both are the same."""
    pairs = zip(reference, variant, strict=False)
    shorter, longer = sorted((len(reference), len(variant)))
    found = next((i for i, (a, b) in enumerate(pairs) if a != b), shorter)
    return None if found == longer else found


def answer_behaviour(answer: AnswerRecord) -> AnswerBehaviour:
    """Figures of one answer."""
    ranks = answer.stop_rank[-1:]
    known = bool(ranks) and ranks[0] > 0
    return AnswerBehaviour(
        tokens=len(answer.tokens),
        stop_reason=answer.stop_reason,
        repetition=repetition(answer.tokens),
        loops=loops(answer.tokens),
        entropy=_mean(answer.entropy),
        margin=_mean(answer.margin),
        stop_rank=ranks[0] if known else None,
        stop_probability=answer.stop_probability[-1] if known else None,
    )


def behaviour(reference: Sequence[AnswerRecord], variant: Sequence[AnswerRecord]) -> Behaviour:
    """Paired figures over items.

    Args:
        reference: (n,) greedy answers of the reference.
        variant: (n,) answers to the same prompts.

    Raises:
        ValueError: different numbers of answers, or none.
    """
    if len(reference) != len(variant) or not reference:
        raise ValueError(f"answers to the same prompts are compared; {len(reference)} and {len(variant)} given")
    a, b = ([answer_behaviour(answer) for answer in answers] for answers in (reference, variant))
    x, y = (np.array([one.tokens for one in some], np.float64) for some in (a, b))
    parted = [first_divergence(one.tokens, other.tokens) for one, other in zip(reference, variant, strict=True)]
    ends = [_shared_steps(*both) for both in zip(reference, variant, parted, strict=True)]
    c, d = ([_certainty(*some) for some in zip(answers, ends, strict=True)] for answers in (reference, variant))
    return Behaviour(
        items=len(a),
        tokens=compared(x, y, "tokens"),
        length_ratio=ratio_of_means(y, x, "ratio"),
        verbosity_ratio=_verbosity(x, y),
        tokens_p95=percentiles(x, y, "tokens"),
        limit=_flips([one.stop_reason == "limit" for one in a], [one.stop_reason == "limit" for one in b]),
        empty=_flips([one.tokens == 0 for one in a], [one.tokens == 0 for one in b]),
        repetition=compared([one.repetition for one in a], [one.repetition for one in b], "share"),
        loops=_flips([one.loops for one in a], [one.loops for one in b]),
        entropy=_known([one.entropy for one in a], [one.entropy for one in b], "nats"),
        margin=_known([one.margin for one in a], [one.margin for one in b], "logits"),
        shared_entropy=_known([one.entropy for one in c], [one.entropy for one in d], "nats"),
        shared_margin=_known([one.margin for one in c], [one.margin for one in d], "logits"),
        stop_probability=_known(
            [one.stop_probability for one in a], [one.stop_probability for one in b], "probability"
        ),
        agreement=item_mean([float(place is None) for place in parted], "share"),
        first_divergence=_median([place for place in parted if place is not None], len(parted)),
    )


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


class _Certainty(NamedTuple):
    entropy: float | None
    margin: float | None


def _certainty(answer: AnswerRecord, end: int) -> _Certainty:
    """Means over its steps before `end`."""
    return _Certainty(_mean(answer.entropy[:end]), _mean(answer.margin[:end]))


def _shared_steps(a: AnswerRecord, b: AnswerRecord, parted: int | None) -> int:
    """Steps that both took after the same tokens."""
    known = min(len(steps) for steps in (a.entropy, a.margin, b.entropy, b.margin))
    return known if parted is None else min(known, parted + 1)


def _known(reference: Sequence[float | None], variant: Sequence[float | None], unit: str) -> Compared:
    """Of the items of which both are known."""
    pairs = [(a, b) for a, b in zip(reference, variant, strict=True) if a is not None and b is not None]
    if not pairs:
        missing = Missing(missing=f"not known of any of {len(reference)} items on both models")
        return Compared(reference=missing, variant=missing, change=missing)
    return compared([a for a, _ in pairs], [b for _, b in pairs], unit)


def _flips(reference: Sequence[bool], variant: Sequence[bool]) -> Flips:
    a, b = np.array(reference, np.float64), np.array(variant, np.float64)
    return Flips(
        reference=item_mean(a, "share"),
        variant=item_mean(b, "share"),
        change=paired_drop(b, a, "share"),
        lost=int((b > a).sum()),
        won=int((a > b).sum()),
    )


def _verbosity(reference: Doubles, variant: Doubles) -> Figure:
    found = change(np.log(np.maximum(reference, 1)), np.log(np.maximum(variant, 1)), "ln")
    if isinstance(found, Missing):
        return found
    return exp_estimate(found, "ratio")


def _median(parted: Sequence[int], answers: int) -> Figure:
    if len(parted) < MIN_REPETITIONS:
        return Missing(missing=f"{len(parted)} of {answers} answers differ; a median needs {MIN_REPETITIONS}")
    found = median_estimate(np.array(parted, np.float64), "tokens")
    if isinstance(found, Missing):
        return found
    method = f"median of the {len(parted)} of {answers} answers that differ, between order statistics (sign test)"
    return found.model_copy(update={"method": method})
