"""Generated answers: what is asked for, what comes back, and the fixed schedule by which a run repeats.

Answers are generated in groups: requests in the order of their prompts' lengths, so many together, and no slot is
filled anew when its answer ends. A group's answers hang on nothing but the group, so that a run that goes on after a
stop gives what it would have given. In another group the same request may get other last digits in its logits, and
another answer where two tokens are about equally likely.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from quantcurve.engines.base import Doubles, Floats, Tokens
from quantcurve.errors import RecipeError

StopReason = Literal["end", "stop", "limit"]
"""A token of `Request.ends`, a string of `Request.stops`, or `Request.max_tokens`."""
SHORTEST_SHARED = 16
"""Tokens at the beginning of all prompts from which on they are computed once."""


class Request(NamedTuple):
    """A prompt to be continued."""

    prompt: Tokens
    """(n,) ids, the beginning-of-text token included where the model wants one."""
    max_tokens: int
    ends: tuple[int, ...]
    """Tokens that end the answer and are no part of it."""
    stops: tuple[str, ...] = ()
    """Texts that end the answer and are no part of it; they may begin and end within tokens."""
    temperature: float = 0.0
    """0: the likeliest token, the lowest id of equals. Else each token is drawn with probability ~ exp(logit / t)."""
    seed: int = 0
    """Of what is drawn; a request draws the same numbers in whatever group it is."""
    top_p: float = 1.0
    """Tokens are drawn from the fewest likeliest ones that have at least this probability together, at the temperature
    (nucleus sampling, Holtzman et al. 2020)."""


@dataclass(frozen=True)
class Steps:
    """Figures of each step of an answer, (S,): of every token in it, and of the token that ended it, if one did."""

    log_probability: Doubles
    """Of the token that was taken, nats, at temperature 1."""
    stop_probability: Floats
    """Of all of `Request.ends` together; 0 where there are none."""
    stop_rank: Tokens
    """1 where one of `Request.ends` is the likeliest token; 0 where there are none."""
    entropy: Floats
    """Of the distribution, nats."""
    margin: Floats
    """Likeliest less second likeliest logit."""


@dataclass(frozen=True)
class Answer:
    """What a model made of a request."""

    tokens: Tokens
    """(n,), without the token that ended it; with those in which a stop string is."""
    text: str
    """Without the stop string and what stands behind it."""
    stop_reason: StopReason
    steps: Steps


class Group(NamedTuple):
    """Requests that are generated together."""

    places: tuple[int, ...]
    """Among all requests."""
    shared: int
    """Tokens at the beginning of all prompts, of this group and of the others, that are computed once."""


def schedule(requests: Sequence[Request], batch: int) -> list[Group]:
    """Groups of at most `batch` requests, shorter prompts first.

    Raises:
        ValueError: `batch` is less than 1.
    """
    if batch < 1:
        raise ValueError(f"{batch} answers at a time; one at least is needed")
    order = sorted(range(len(requests)), key=lambda i: (len(requests[i].prompt), i))
    shared = shared_tokens([request.prompt for request in requests])
    return [Group(tuple(order[i : i + batch]), shared) for i in range(0, len(order), batch)]


def shared_tokens(prompts: Sequence[Tokens]) -> int:
    """Tokens at the beginning of all prompts, without the last one of the shortest, whose logits are wanted; 0 where
    computing them once is not worth while."""
    if len(prompts) < 2:
        return 0
    shortest = min(len(prompt) for prompt in prompts) - 1
    table = np.array([prompt[: max(shortest, 0)] for prompt in prompts])
    different = np.flatnonzero((table != table[0]).any(axis=0))
    count = int(different[0]) if different.size else table.shape[1]
    return count if count >= SHORTEST_SHARED else 0


def check(requests: Sequence[Request], context_tokens: int, vocabulary: int) -> None:
    """Refuse what no engine can continue.

    Raises:
        RecipeError: a prompt is empty, has ids that are none, is too long with its answer, or asks for no token.
    """
    for i, request in enumerate(requests):
        count, longest = len(request.prompt), len(request.prompt) + request.max_tokens
        if not count:
            raise RecipeError(f"prompt {i} is empty; give a text, or the token that begins texts")
        if request.max_tokens < 1:
            raise RecipeError(f"prompt {i}: max_tokens is {request.max_tokens}; at least one token can be generated")
        if longest > context_tokens:
            raise RecipeError(
                f"prompt {i}: {count:,} tokens and an answer of {request.max_tokens:,} are {longest:,}, and the "
                f"context is {context_tokens:,}; shorten the prompt, lower max_tokens, or open a longer context"
            )
        low, high = int(request.prompt.min()), int(request.prompt.max())
        if low < 0 or high >= vocabulary:
            raise RecipeError(f"prompt {i}: ids from {low} to {high}, and the vocabulary has {vocabulary:,} tokens")
        if request.temperature < 0 or not np.isfinite(request.temperature):
            raise RecipeError(f"prompt {i}: temperature is {request.temperature}; give 0 or more")
        if not 0 < request.top_p <= 1:
            raise RecipeError(f"prompt {i}: top_p is {request.top_p}; give more than 0 and at most 1")
