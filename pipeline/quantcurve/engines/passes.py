"""Forward passes whose latency is measured: which ones, in which order, on which tokens."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from quantcurve.engines.base import Tokens
from quantcurve.errors import RecipeError


class Pass(NamedTuple):
    """One sequence's next `tokens`, after `past` that are in the cache."""

    past: int
    tokens: int

    @property
    def mask_tokens(self) -> int:
        """Length of the attention mask."""
        return self.past + self.tokens


def decode_passes(contexts: Sequence[int], steps: int) -> list[Pass]:
    """One sequence that grows from context to context, with `steps` single tokens at each: the first of them has
    exactly the context in the cache.

    Args:
        contexts: tokens, ascending.
        steps: tokens decoded at each context.

    Raises:
        RecipeError: the contexts are not ascending, or closer than the steps.
    """
    if not contexts or contexts[0] < 1 or any(b < a + steps for a, b in pairwise(contexts)):
        named = ", ".join(map(str, contexts))
        raise RecipeError(
            f"latency: contexts [{named}]: must ascend by at least the {steps} tokens decoded at each; leave some out"
        )
    passes, past = [], 0
    for context in contexts:
        if context > past:
            passes.append(Pass(past, context - past))
        passes += [Pass(context + i, 1) for i in range(steps)]
        past = context + steps
    return passes


def prefill_passes(contexts: Sequence[int], repetitions: int) -> list[Pass]:
    """Every context so many times, always with an empty cache."""
    return [Pass(0, context) for context in contexts for _ in range(repetitions)]


def decode_times(passes: Sequence[Pass], times_ms: Sequence[float], context: int, steps: int) -> tuple[float, ...]:
    """Of the times of `decode_passes`, those of the single tokens at a context."""
    wanted = {Pass(context + i, 1) for i in range(steps)}
    return tuple(t for p, t in zip(passes, times_ms, strict=True) if p in wanted)


def random_tokens(passes: Sequence[Pass], vocabulary: int, seed: int) -> list[Tokens]:
    """Token ids of every pass, (1, tokens) each; same arguments, same ids."""
    random = np.random.default_rng(seed)
    return [random.integers(0, vocabulary, (1, p.tokens)).astype(np.int32) for p in passes]
