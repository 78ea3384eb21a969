"""Generation, whatever the engine: one group of requests together; runs in a child process (see child.py)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from quantcurve.engines.base import Floats, Tokens
from quantcurve.engines.step_figures import StepFigures, look
from quantcurve.generation import Answer, Request, Steps, StopReason


class Decoder(Protocol):
    """What an engine does for a group. Slots are numbered from 0, one for each request."""

    def begin(self, prompts: Sequence[Tokens], shared: int) -> Floats:
        """Take in prompts, the first `shared` tokens of which are the same; logits (B, vocabulary) after each."""
        ...

    def step(self, slots: Sequence[int], tokens: Sequence[int]) -> Floats:
        """Take in one token for each slot that goes on, in ascending order; logits (len(slots), vocabulary), valid
        until the next step. A slot that was left out is not asked for again."""
        ...

    def text(self, prompt: Tokens, new: Sequence[int]) -> str:
        """Text of new tokens after a prompt."""
        ...


class _Slot:
    """One answer while it grows."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.ends = np.array(sorted(set(request.ends)), np.int64)
        self.random = np.random.default_rng(request.seed) if request.temperature else None
        self.tokens: list[int] = []
        self.figures: list[StepFigures] = []
        self.reason: StopReason | None = None
        self.cut: str | None = None
        # A text of n bytes begins at most n tokens back: every token but some special ones has a byte at least.
        self.tail = max((len(stop.encode()) for stop in request.stops), default=0)

    def take(self, row: Floats, decoder: Decoder) -> None:
        """The next token, from its logits."""
        token = self._chosen(row)
        if token in self.request.ends:
            self.reason = "end"
            return
        self.tokens.append(token)
        if self.tail and self._stopped(decoder):
            self.reason = "stop"
        elif len(self.tokens) == self.request.max_tokens:
            self.reason = "limit"

    def _chosen(self, row: Floats) -> int:
        seen = look(row)
        token = seen.top if self.random is None else self._drawn(seen.shifted)
        self.figures.append(seen.figures(token, self.ends))
        return token

    def _drawn(self, shifted: Floats) -> int:
        """By inversion, with one number a step."""
        assert self.random is not None
        weights = np.exp(shifted / np.float32(self.request.temperature))
        kept = None if self.request.top_p == 1 else nucleus(weights, self.request.top_p)
        cumulated = np.cumsum(weights if kept is None else weights[kept], dtype=np.float64)
        place = int(np.searchsorted(cumulated, self.random.random() * cumulated[-1], side="right"))
        return place if kept is None else int(kept[place])

    def _stopped(self, decoder: Decoder) -> bool:
        """Whether a stop string stands at the end of the text; if so, cut it there."""
        prompt = self.request.prompt
        before = np.concatenate([prompt, np.array(self.tokens[: -self.tail], np.int32)])
        if all(stop not in decoder.text(before, self.tokens[-self.tail :]) for stop in self.request.stops):
            return False
        whole = decoder.text(prompt, self.tokens)
        places = [place for stop in self.request.stops if (place := whole.find(stop)) >= 0]
        self.cut = whole[: min(places)] if places else None
        return bool(places)

    def answer(self, decoder: Decoder) -> Answer:
        """What has become of it."""
        assert self.reason
        columns = np.array(self.figures, np.float64).reshape(-1, len(StepFigures._fields)).T
        log_probability, stop_probability, stop_rank, entropy, margin = columns
        return Answer(
            tokens=np.array(self.tokens, np.int32),
            text=decoder.text(self.request.prompt, self.tokens) if self.cut is None else self.cut,
            stop_reason=self.reason,
            steps=Steps(
                log_probability=log_probability,
                stop_probability=stop_probability.astype(np.float32),
                stop_rank=stop_rank.astype(np.int32),
                entropy=entropy.astype(np.float32),
                margin=margin.astype(np.float32),
            ),
        )


def nucleus(weights: Floats, top_p: float) -> NDArray[np.intp]:
    """Places of the fewest largest weights (V,) whose sum is at least top_p of all; the lower place of equals."""
    total = float(weights.sum(dtype=np.float64))
    # All that is below this has less than 1 - top_p of the sum together, and is never needed.
    large = np.flatnonzero(weights >= (1 - top_p) * total / len(weights))
    order = large[np.argsort(-weights[large], kind="stable")]
    reached = np.cumsum(weights[order], dtype=np.float64) >= top_p * total
    return order[: int(reached.argmax()) + 1] if reached.any() else order


def generate(decoder: Decoder, requests: Sequence[Request], shared: int) -> list[Answer]:
    """Answers of one group.

    Args:
        decoder: of the engine.
        requests: that are generated together; checked (generation.check).
        shared: tokens that all prompts begin with and that are computed once.

    Raises:
        BackendError: the engine failed, or its logits are not finite.
    """
    slots = [_Slot(request) for request in requests]
    going = list(range(len(slots)))
    logits = decoder.begin([request.prompt for request in requests], shared)
    while True:
        for row, place in zip(logits, going, strict=True):
            slots[place].take(row, decoder)
        going = [place for place in going if slots[place].reason is None]
        if not going:
            return [slot.answer(decoder) for slot in slots]
        logits = decoder.step(going, [slots[place].tokens[-1] for place in going])
