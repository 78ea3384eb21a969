"""Tasks in a recipe: what may be asked for, and what is usual."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from quantcurve.recipe_tasks import Evaluation, TaskEntry, usual_fewshot


def test_a_name_is_enough() -> None:
    evaluation = Evaluation.model_validate({"tasks": ["arc_easy", {"file": "own.yaml", "data": "own.jsonl"}]})
    first, second = evaluation.tasks
    assert (first.name, first.run_count, first.answers, first.drawn) == ("arc_easy", 1, 1, False)
    assert second.data is not None and (second.data.test, second.data.fewshot) == ("own.jsonl", None)


@pytest.mark.parametrize(
    ("given", "temperature", "answers"),
    [({"pass_at": 1}, 0.2, 1), ({"pass_at": 100}, 0.8, 100), ({"pass_at": 10, "samples": 20}, 0.8, 20)],
)
def test_pass_at_k_has_its_usual_temperature_and_three_runs(
    given: dict[str, int], temperature: float, answers: int
) -> None:
    entry = TaskEntry(name="humaneval", **given)
    assert (entry.wanted_temperature, entry.answers, entry.run_count) == (temperature, answers, 3)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "give name or file"),
        ({"name": "a", "file": "b.yaml"}, "give name or file"),
        ({"name": "a", "temperature": 0.7, "runs": 2}, "3 runs or more"),
        ({"name": "a", "pass_at": 10, "samples": 5}, "needs 10 samples"),
        ({"name": "a", "limit": 1}, "greater than or equal to 2"),
    ],
)
def test_what_says_nothing_is_refused(given: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        TaskEntry.model_validate(given)


@pytest.mark.parametrize(
    ("name", "configured", "shots"),
    [
        *(("mmlu", None, 5), ("mmlu_anatomy", None, 5), ("gsm8k", 5, 8), ("gsm8k_cot", None, 8)),
        *(("gsm8k_cot_zeroshot", 0, None), ("arc_easy", None, None), ("mmluish", None, None)),
    ],
)
def test_few_shot_examples_are_the_usual_ones(name: str, configured: int | None, shots: int | None) -> None:
    assert usual_fewshot(name, configured) == shots
