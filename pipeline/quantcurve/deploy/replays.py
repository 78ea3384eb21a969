"""Answers of the measured model, recorded token by token, and how much the way of computing them moves a margin.

Every prompt is answered alone, as by a server with one user. The same steps are computed in two other ways, many
answers at a time and prompt and answer in one pass: the largest difference between margins is what the engine's own
rounding does. Where a runtime takes another token although the two likeliest were further apart than that, it computes
something else; and so it does where it takes another token far more often than the engine itself in one pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from quantcurve.deploy.bundle import Noise, Replay
from quantcurve.deploy.prompts import NEW_TOKENS, Prompt
from quantcurve.engines.base import Runtime, Tokens
from quantcurve.generation import Answer, Request
from quantcurve.likelihood import Likelihood, Pair
from quantcurve.results import RunResult
from quantcurve.task_model import TaskModel, TaskSettings

TOGETHER = 8
"""Answers at a time, the other way."""
BATCH_TOKENS = 2048
SURE = 0.9999
"""Probability that a runtime with the engine's own noise takes no more other tokens than are allowed."""


class Recorded(NamedTuple):
    """What a bundle is verified against."""

    replays: tuple[Replay, ...]
    noise: Noise


class Opening(NamedTuple):
    """How the measured model is opened."""

    path: Path
    runtime: Runtime
    device: str
    """Of llama.cpp."""
    threads: int
    flash_attention: str
    label: str
    log: Path


def record(opening: Opening, prompts: Sequence[Prompt], run: RunResult) -> Recorded:
    """Let the measured model answer.

    Args:
        opening: the model.
        prompts: that fit its context with their answers.
        run: whose own noise floors count too.

    Raises:
        BackendError: the engine failed or died.
    """
    alone, together = (_model(opening, batch) for batch in (1, TOGETHER))
    # No token ends an answer here, so that the end is a step like any other.
    requests = [Request(prompt.ids, NEW_TOKENS, ()) for prompt in prompts]
    with alone.held():
        ends = frozenset(alone.end_tokens())
        answers = alone.answers(requests)
    others = together.answers(requests)
    followed = alone.likelihoods([Pair(p.ids, a.tokens, ()) for p, a in zip(prompts, answers, strict=True)])
    differences = [
        *(d for one, other in zip(answers, others, strict=True) for d in _by_batch(one, other)),
        *(d for one, other in zip(answers, followed, strict=True) for d in _by_pass(one, other)),
    ]
    replays = tuple(_replay(p, a, ends) for p, a in zip(prompts, answers, strict=True))
    ranks = np.concatenate([one.steps.rank for one in followed if one.steps])
    return Recorded(replays, _noise(differences, ranks, replays, run))


def _model(opening: Opening, batch: int) -> TaskModel:
    settings = TaskSettings.model_validate(
        {
            "threads": opening.threads,
            "device": opening.device,
            "runtime": opening.runtime,
            "batch": batch,
            "batch_tokens": BATCH_TOKENS,
            "flash_attention": opening.flash_attention,
        }
    )
    return TaskModel(opening.path, settings, opening.label, opening.log)


def _by_batch(one: Answer, other: Answer) -> Iterator[float]:
    """Of the steps that both took after the same tokens; where they part, the sign of the margin is another."""
    for a, b, x, y in zip(one.tokens, other.tokens, one.steps.margin, other.steps.margin, strict=False):
        if a != b:
            yield float(x + y)
            return
        yield abs(float(x - y))


def _by_pass(one: Answer, other: Likelihood) -> Iterator[float]:
    assert other.steps
    signs = np.where(other.steps.rank == 1, 1, -1)
    yield from np.abs(one.steps.margin - signs * other.steps.margin).tolist()


def _noise(differences: Sequence[float], ranks: Tokens, replays: Sequence[Replay], run: RunResult) -> Noise:
    from scipy.stats import betabinom

    floors = [task.noise.largest_difference_logits for task in run.reference.tasks if task.noise]
    how = (
        f"the largest difference of a margin between answers alone, {TOGETHER} at a time and in one pass, on "
        f"{len(replays)} prompts"
    )
    if floors:
        how += ", and between the reference's tasks in batches and one by one"
    other, recorded = int(np.count_nonzero(ranks != 1)), sum(len(one.tokens) for one in replays)
    expected = betabinom(recorded, other + 0.5, len(ranks) - other + 0.5)  # by Jeffreys' prior
    return Noise(
        logits=max([*differences, *floors], default=0.0),
        how=how,
        steps=len(ranks),
        other_tokens=other,
        most_other_tokens=int(expected.ppf(SURE)),
    )


def _replay(prompt: Prompt, answer: Answer, ends: frozenset[int]) -> Replay:
    tokens = [int(token) for token in answer.tokens]
    count = next((i + 1 for i, token in enumerate(tokens) if token in ends), len(tokens))
    return Replay(
        id=prompt.id,
        messages=prompt.messages,
        text=prompt.text,
        prompt=tuple(int(i) for i in prompt.ids),
        tokens=tuple(tokens[:count]),
        margins=tuple(round(float(m), 6) for m in answer.steps.margin[:count]),
    )
