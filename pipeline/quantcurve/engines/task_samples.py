"""From what lm-evaluation-harness returns to records of tasks and of their documents; runs in a child process."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from quantcurve.lm_eval_model import QuantcurveLM, Said
from quantcurve.task_records import (
    AnswerRecord,
    MetricInfo,
    PromptSettings,
    SampleMetric,
    TaskOutcome,
    TaskRun,
    TaskSample,
)


def by_document(said: Sequence[Said]) -> dict[tuple[str, int], list[AnswerRecord]]:
    """Answers of a document, by task and document, in the order of its requests and their repeats."""
    found: dict[tuple[str, int], list[AnswerRecord]] = {}
    for one in sorted(said, key=lambda s: (s.task, s.document, s.number, s.repeat)):
        found.setdefault((one.task, one.document), []).append(AnswerRecord.of(one.answer))
    return found


def by_id(logged: Sequence[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    """Logged samples of one document after the other: one for each of the task's filters."""
    found: dict[int, list[Mapping[str, Any]]] = {}
    for one in logged:
        found.setdefault(int(one["doc_id"]), []).append(one)
    yield from found.values()


def sample(
    task: str, number: int, logged: Sequence[Mapping[str, Any]], said: Mapping[tuple[str, int], list[AnswerRecord]]
) -> TaskSample:
    """A document's record.

    Args:
        task: its task.
        number: of the run.
        logged: lm-eval's samples of this document, one for each filter.
        said: answers by task and document.
    """
    first = logged[0]
    answers = said.get((task, int(first["doc_id"])), [])
    responses = [resp[0] for resp in first["resps"]]
    judged = [] if isinstance(responses[0], str) else responses
    return TaskSample(
        task=task,
        document=int(first["doc_id"]),
        run=number,
        document_hash=first["doc_hash"],
        prompt_hash=_hash([list(map(str, args[:1])) for args in first["arguments"]]),
        target_hash=first["target_hash"],
        metrics=tuple(
            SampleMetric(name=name, filter=sample["filter"], value=float(sample[name]))
            for sample in logged
            for name in sample["metrics"]
            if isinstance(sample[name], int | float)
        ),
        likelihoods=tuple(float(r[0] if isinstance(r, tuple | list) else r) for r in judged),
        lengths=tuple(len(args[1]) if len(args) > 1 else 0 for args in first["arguments"]) if judged else (),
        answers=tuple(answers),
    )


def outcome(
    task: str, results: Mapping[str, Any], run: TaskRun, runs: int, lm: QuantcurveLM, samples: Sequence[TaskSample]
) -> TaskOutcome:
    """A task's record of one run out of so many, with the settings that it was asked with."""
    config = results["configs"][task]
    own = [sample for sample in samples if sample.task == task]
    generation = config.get("generation_kwargs") or {}
    settings = PromptSettings(
        task=task,
        version=str(results["versions"].get(task, "")),
        config_hash=_hash({k: v for k, v in config.items() if k not in {"dataset_kwargs", "metadata"}}),
        fewshot=int(results["n-shot"].get(task, 0)),
        seed=run.seed,
        documents=len(own),
        chat_template_hash=_hash(lm.chat_template(True)) if run.chat_template else "",
        system=run.system,
        max_length=lm.max_length,
        ends=run.ends,
        tokenizer=lm.tokenizer_name,
        runs=runs,
        prompts_hash=_hash([sample.prompt_hash for sample in own]),
    )
    return TaskOutcome(
        settings=settings,
        metrics=tuple(_metrics(task, results)),
        truncated=lm.truncated,
        greedy=not generation.get("do_sample"),
    )


def _metrics(task: str, results: Mapping[str, Any]) -> Iterator[MetricInfo]:
    by_mean = {m["metric"]: m.get("aggregation", "mean") == "mean" for m in results["configs"][task]["metric_list"]}
    for key, value in results["results"][task].items():
        name, comma, filtered = key.partition(",")
        if comma and not name.endswith("_stderr"):
            yield MetricInfo(
                name=name,
                filter=filtered,
                higher_is_better=results["higher_is_better"].get(task, {}).get(name) is not False,
                by_mean=bool(by_mean.get(name, True)),
                value=float(value) if isinstance(value, int | float) else None,
            )


def over_runs(outcomes: Sequence[TaskOutcome]) -> TaskOutcome:
    """One of all runs: metrics are means over them."""
    first = outcomes[0]
    values = [[m.value for m in outcome.metrics] for outcome in outcomes]
    means = [None if None in column else sum(column) / len(column) for column in zip(*values, strict=True)]
    metrics = tuple(m.model_copy(update={"value": v}) for m, v in zip(first.metrics, means, strict=True))
    return first.model_copy(update={"metrics": metrics, "truncated": max(o.truncated for o in outcomes)})


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=repr).encode()).hexdigest()
