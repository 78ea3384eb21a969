"""Made-up samples of slices, for tests of what compares them."""

from __future__ import annotations

from typing import Any

import numpy as np

from quantcurve.slices.items import Judgement
from quantcurve.slices.records import FollowedAnswer, SliceSample
from quantcurve.task_records import AnswerRecord

Pairs = list[tuple[SliceSample, SliceSample]]


def answer(tokens: int, ended: bool = True, seed: int = 0) -> AnswerRecord:
    ids = np.random.default_rng(seed).integers(0, 10_000, tokens).tolist()
    steps = tokens + ended
    flat = {"log_probability": -0.5, "stop_probability": 0.1, "entropy": 1.0, "margin": 2.0}
    return AnswerRecord(
        tokens=tuple(ids),
        text="made up",
        stop_reason="end" if ended else "limit",
        stop_rank=(1,) * steps,
        **{name: (value,) * steps for name, value in flat.items()},  # type: ignore[arg-type]
    )


def followed(nats: float = -1.0, entropy: float = 1.0, stop_rank: int | None = 1, **more: Any) -> FollowedAnswer:
    values: dict[str, Any] = {
        "tokens": 1,
        "nats": nats,
        "entropy": entropy,
        "margin": 2.0,
        "stop_log_probability": None if stop_rank is None else -0.1 * stop_rank,
        "stop_rank": stop_rank,
        "close_log_probability": None,
        "close_rank": None,
    }
    return FollowedAnswer(**values | more)


def generated(item: int, right: bool = True, tokens: int = 20, ended: bool = True, **more: Any) -> SliceSample:
    judged = {name: more.pop(name) for name in ("well_formed", "refused", "calls", "skipped") if name in more}
    values: dict[str, Any] = {
        "slice": "json",
        "item": str(item),
        "kind": "json",
        "language": "en",
        "group": "",
        "prompt_tokens": 30,
        "prompt_hash": f"hash{item}",
        "answer": answer(tokens, ended, item),
        "judgement": Judgement(right=right, **judged),
        "followed": followed(),
    }
    return SliceSample(**values | more)


def choice(item: int, likelihoods: tuple[float, ...], right: int = 0, **more: Any) -> SliceSample:
    values: dict[str, Any] = {
        "slice": "knowledge",
        "item": str(item),
        "kind": "choice",
        "language": "en",
        "group": "",
        "prompt_tokens": 30,
        "prompt_hash": f"hash{item}",
        "right": right,
        "likelihoods": likelihoods,
        "lengths": (1,) * len(likelihoods),
    }
    return SliceSample(**values | more)
