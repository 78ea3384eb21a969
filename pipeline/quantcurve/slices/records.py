"""What a model made of a slice's items."""

from __future__ import annotations

import numpy as np

from quantcurve.generation import StopReason
from quantcurve.likelihood import Likelihood
from quantcurve.records import Frozen
from quantcurve.slices.items import Judgement, SampleKind
from quantcurve.task_records import AnswerRecord


class FollowedAnswer(Frozen):
    """A model led along the reference's answer: what it finds likely where the reference went."""

    tokens: int
    """Of the answer."""
    nats: float
    """Sum of log p over them."""
    entropy: float
    """Mean over its steps, and the one behind them if the answer ended by itself; nats."""
    margin: float
    """Likeliest less second likeliest logit, the same mean."""
    stop_log_probability: float | None
    """Of all tokens that end answers, where the reference's ended by itself; None where it did not."""
    stop_rank: int | None
    """Of the likeliest of them."""
    close_log_probability: float | None
    """Of the last token with a closing bracket in it, of an answer in JSON; None where there is none."""
    close_rank: int | None

    @property
    def nats_per_token(self) -> float | None:
        """None of an empty answer."""
        return self.nats / self.tokens if self.tokens else None


class SliceSample(Frozen):
    """One item on one model."""

    slice: str
    item: str
    kind: SampleKind
    language: str
    """Empty of a check whose record does not say."""
    group: str
    prompt_tokens: int | None
    """None of a check, whose prompts are its function's."""
    prompt_hash: str
    """Of a check that of its record."""
    safe: bool | None = None
    """Whether the prompt is to be answered, of refusals."""
    right: int | None = None
    """Place of the right choice, of multiple choice."""
    likelihoods: tuple[float, ...] = ()
    """Of the choices, nats."""
    lengths: tuple[int, ...] = ()
    """Of the choices, bytes of UTF-8."""
    answer: AnswerRecord | None = None
    judgement: Judgement | None = None
    followed: FollowedAnswer | None = None
    """None where the reference's answer is empty, and of multiple choice."""
    value: float | None = None
    """Of a check, higher is better."""

    @property
    def stop_reason(self) -> StopReason | None:
        """None of multiple choice and of checks."""
        return self.answer.stop_reason if self.answer else None


def followed_answer(found: Likelihood, stopped: bool, close: int | None) -> FollowedAnswer:
    """Figures of an answer that was followed.

    Args:
        found: of the answer, with the step behind it if it `stopped` by itself.
        stopped: whether its last step is that of the end.
        close: place of the token with the last closing bracket in it.
    """
    steps = found.steps
    assert steps is not None
    count = found.tokens - stopped
    return FollowedAnswer(
        tokens=count,
        nats=float(steps.log_probability[:count].sum()),
        entropy=float(steps.entropy.mean()),
        margin=float(steps.margin.mean()),
        stop_log_probability=_log(float(steps.stop_probability[-1])) if stopped else None,
        stop_rank=int(steps.stop_rank[-1]) if stopped else None,
        close_log_probability=None if close is None else float(steps.log_probability[close]),
        close_rank=None if close is None else int(steps.rank[close]),
    )


def _log(probability: float) -> float:
    """No less than the least number that a float32 has."""
    return float(np.log(max(probability, float(np.finfo(np.float32).tiny))))
