"""What is said of tasks: how they were asked, the noise floor, and what changed beside the means."""

from __future__ import annotations

from collections.abc import Iterator

from quantcurve.estimates import Estimate, Missing
from quantcurve.report import words
from quantcurve.results import RunResult
from quantcurve.task_records import TaskMetric, TaskResult


def task_sentences(run: RunResult) -> tuple[str, ...]:
    """Of the reference first, then of each variant."""
    found = [sentence for task in run.reference.tasks for sentence in _asked(task)]
    for variant in run.variants:
        if isinstance(variant.tasks, Missing):
            found.append(f"{variant.name}: {variant.tasks.missing}.")
        else:
            found += [s for task in variant.tasks for s in _changed(variant.name, task)]
    return tuple(words.plain(sentence) for sentence in found)


def label(task: TaskResult, metric: TaskMetric) -> str:
    """A metric's name, with its filter where that says something."""
    filtered = "" if metric.filter in {"none", "all"} else f" ({metric.filter})"
    return f"{task.task} {metric.name}{filtered}"


def _asked(task: TaskResult) -> Iterator[str]:
    asked = task.settings
    shots = f"{asked.fewshot} examples" if asked.fewshot != 1 else "1 example"
    runs = f", {asked.runs} runs with other seeds" if asked.runs > 1 else ""
    cut = f"; {task.truncated} prompts lost their beginning" if task.truncated else ""
    yield f"{task.task} (version {asked.version}): {task.documents} documents, {shots}{runs}{cut}."
    if noise := task.noise:
        parts = []
        if noise.answers:
            parts.append(
                f"{noise.answers_changed} of {noise.answers} answers differ, margins by "
                f"{noise.largest_difference_logits:.2g} logits at most"
            )
        if noise.largest_difference_nats or not noise.answers:
            parts.append(f"likelihoods differ by {noise.largest_difference_nats:.2g} nats at most")
        yield (
            f"{task.task}: noise floor, the reference one by one against batches on {noise.documents} documents: "
            f"{'; '.join(parts)}; {noise.metrics_changed} values of metrics change."
        )


def _changed(variant: str, task: TaskResult) -> Iterator[str]:
    for metric in task.metrics:
        if isinstance(metric.drop, Missing):
            yield f"{variant}, {label(task, metric)}: {metric.drop.missing}."
        if not isinstance(metric.drop, Estimate) or not metric.lost + metric.won:
            continue
        near = ""
        if metric.within_noise and metric.drop_above_noise:
            without = words.bounds(metric.drop_above_noise)
            near = (
                f"; {metric.within_noise} of them hinge on less than the noise floor, without them it loses {without}"
            )
        yield f"{variant}, {label(task, metric)}: {metric.lost} documents worse, {metric.won} better{near}."
