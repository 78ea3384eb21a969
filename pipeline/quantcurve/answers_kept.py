"""Answers and likelihoods of one model that are done, so that an interrupted evaluation goes on from there.

What is kept is a whole group of the schedule: what a run gives hangs on its groups, so that one which goes on after a
stop gives what it would have given.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from quantcurve.generation import Answer, Request, Steps
from quantcurve.journal import Lines
from quantcurve.likelihood import Batch, Followed, Likelihood


class Kept:
    """A file of groups by what was asked; `path` None keeps nothing."""

    def __init__(self, path: Path | None, remember: bool = False) -> None:
        """Read what is kept.

        Args:
            path: of the file.
            remember: whether what is added may be asked for again in this process.
        """
        self._lines = Lines(path) if path else None
        self._remember = remember
        self._known: dict[str, list[Any]] = {}
        for line in self._lines.new() if self._lines else ():
            if isinstance(line, dict) and isinstance(line.get("rows"), list):
                self._known[str(line.get("key"))] = line["rows"]

    def answers(self, key: str) -> list[Answer] | None:
        """Of a group; None if they are not there."""
        return None if (rows := self._known.get(key)) is None else [read_answer(row) for row in rows]

    def add_answers(self, key: str, answers: Sequence[Answer]) -> None:
        """Keep a group.

        Raises:
            PrerequisiteError: the disk is full, or refuses to be written.
        """
        self._add(key, [written_answer(answer) for answer in answers])

    def likelihoods(self, key: str) -> list[Likelihood] | None:
        """Of a batch; None if they are not there."""
        return None if (rows := self._known.get(key)) is None else [_read_likelihood(row) for row in rows]

    def add_likelihoods(self, key: str, found: Sequence[Likelihood]) -> None:
        """Keep a batch; errors as `add_answers`."""
        self._add(key, [_written_likelihood(one) for one in found])

    def _add(self, key: str, rows: list[Any]) -> None:
        if self._lines:
            self._lines.append({"key": key, "rows": rows})
        if self._remember:
            self._known[key] = rows


def key_of_group(requests: Sequence[Request], shared: int) -> str:
    """What determines a group's answers, beside the model and how it is opened."""
    total = hashlib.sha256(f"answers {shared}".encode())
    for request in requests:
        rest = request._replace(prompt=np.array([], np.int32))._asdict() | {"prompt": request.prompt.tolist()}
        total.update(json.dumps(rest, sort_keys=True).encode())
    return total.hexdigest()


def key_of_batch(batch: Batch) -> str:
    """What determines a batch's likelihoods, beside the model and how it is opened."""
    total = hashlib.sha256(f"likelihoods {batch.shared}".encode())
    for pair in batch.pairs:
        total.update(json.dumps([pair.context.tolist(), pair.continuation.tolist()]).encode())
        if pair.ends is not None:
            total.update(json.dumps(pair.ends).encode())
    return total.hexdigest()


def _written_likelihood(one: Likelihood) -> list[Any]:
    plain = [one.nats, one.tokens, one.greedy]
    return plain if one.steps is None else [*plain, _written_steps(one.steps)]


def _read_likelihood(row: Sequence[Any]) -> Likelihood:
    nats, tokens, greedy, *rest = row
    return Likelihood(nats, tokens, greedy, Followed(**_read_steps(rest[0])) if rest else None)


def _written_steps(steps: Steps) -> dict[str, Any]:
    return {field.name: getattr(steps, field.name).tolist() for field in fields(steps)}


def _read_steps(row: dict[str, Any]) -> dict[str, Any]:
    kinds = {"log_probability": np.float64, "stop_rank": np.int32, "rank": np.int32}
    return {name: np.array(values, kinds.get(name, np.float32)) for name, values in row.items()}


def written_answer(answer: Answer) -> dict[str, Any]:
    """As JSON takes it."""
    return {
        "tokens": answer.tokens.tolist(),
        "text": answer.text,
        "stop_reason": answer.stop_reason,
        "steps": _written_steps(answer.steps),
    }


def read_answer(row: dict[str, Any]) -> Answer:
    """What `written_answer` wrote."""
    return Answer(
        np.array(row["tokens"], np.int32), row["text"], row["stop_reason"], Steps(**_read_steps(row["steps"]))
    )
