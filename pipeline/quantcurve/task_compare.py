"""A task on two models: paired differences, and which of them hinge on less than the noise floor.

A metric's difference is taken over the same documents. Where the reference itself, asked in batches and one by one,
gives likelihoods or logits that differ by so much, an answer that less than that decides says nothing about a variant:
such documents are counted, and the difference is given with and without them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from quantcurve.errors import RecipeError
from quantcurve.estimates import Figure, Missing
from quantcurve.metrics.paired import item_mean, paired_drop
from quantcurve.task_records import (
    AnswerRecord,
    MetricInfo,
    NoiseFloor,
    PromptSettings,
    TaskMetric,
    TaskOutcome,
    TaskResult,
    TaskSample,
)

UNLIKE = ("runs", "documents", "prompts_hash")
"""What may differ between the reference asked in batches and the few documents that it is asked one by one."""


class OnModel(NamedTuple):
    """A task on one model."""

    outcome: TaskOutcome
    samples: Sequence[TaskSample]


def require_alike(one: PromptSettings, other: PromptSettings, but: Iterable[str] = ()) -> None:
    """Refuse to compare models that were asked otherwise.

    Raises:
        RecipeError: with every setting that differs.
    """
    a, b = (settings.model_dump(mode="json") for settings in (one, other))
    different = [f"{name} {a[name]!r:.60} and {b[name]!r:.60}" for name in a if a[name] != b[name] and name not in but]
    if different:
        raise RecipeError(
            f"task {one.task}: two models cannot be compared that were asked otherwise: {'; '.join(different)}; "
            "evaluate both with one recipe"
        )


def noise_floor(batched: OnModel, alone: OnModel) -> NoiseFloor:
    """The reference against itself.

    Args:
        batched: asked as it is for comparisons.
        alone: some of the same documents, asked one by one.

    Raises:
        RecipeError: they were asked otherwise.
    """
    require_alike(batched.outcome.settings, alone.outcome.settings, UNLIKE)
    places = {(s.document, s.run): s for s in batched.samples}
    pairs = [(places[s.document, s.run], s) for s in alone.samples if (s.document, s.run) in places]
    nats = [abs(x - y) for a, b in pairs for x, y in zip(a.likelihoods, b.likelihoods, strict=True)]
    answers = [both for a, b in pairs for both in zip(a.answers, b.answers, strict=True)]
    logits = [abs(x - y) for a, b in answers for x, y in zip(*_common_margins(a, b), strict=True)]
    return NoiseFloor(
        documents=len({a.document for a, _ in pairs}),
        largest_difference_nats=max(nats, default=0.0),
        largest_difference_logits=max(logits, default=0.0),
        answers=len(answers),
        answers_changed=sum(a.tokens != b.tokens for a, b in answers),
        metrics_changed=sum(x != y for a, b in pairs for x, y in zip(a.metrics, b.metrics, strict=True)),
    )


def result(on: OnModel, reference: OnModel | None, noise: NoiseFloor | None) -> TaskResult:
    """A task's figures of one model.

    Args:
        on: the model.
        reference: what it is compared with; None for the reference itself.
        noise: the reference's noise floor.

    Raises:
        RecipeError: the two were asked otherwise.
    """
    settings = on.outcome.settings
    if reference:
        require_alike(reference.outcome.settings, settings)
    answers = [answer for sample in on.samples for answer in sample.answers]
    lengths = np.array([len(answer.tokens) for answer in answers], np.float64)
    return TaskResult(
        settings=settings,
        truncated=on.outcome.truncated,
        metrics=tuple(_metric(info, on, reference, noise) for info in on.outcome.metrics),
        stop_reasons=tuple(sorted(Counter(answer.stop_reason for answer in answers).items())),
        answer_tokens=item_mean(lengths, "tokens") if answers else None,
        noise=noise,
    )


def _metric(info: MetricInfo, on: OnModel, reference: OnModel | None, noise: NoiseFloor | None) -> TaskMetric:
    values = _values(info, on.samples)
    plain = TaskMetric(
        name=info.name,
        filter=info.filter,
        higher_is_better=info.higher_is_better,
        value=_value(info, values),
        by_run=_by_run(info, on) if on.outcome.settings.runs > 1 else (),
    )
    if reference is None or not info.by_mean or not values:
        return plain
    before = _values(info, reference.samples)
    if before.keys() != values.keys():
        missing = Missing(missing=f"not all documents have {info.name} on both models")
        return plain.model_copy(update={"drop": missing})
    return plain.model_copy(update=_differences(info, values, before, _hinging(on, reference, noise)))


def _differences(
    info: MetricInfo, values: Mapping[int, float], before: Mapping[int, float], hinging: frozenset[int]
) -> dict[str, object]:
    sign = 1.0 if info.higher_is_better else -1.0
    documents = sorted(values)
    a, b = (np.array([sign * some[d] for d in documents]) for some in (before, values))
    close = np.array([d in hinging for d in documents])
    found: dict[str, object] = {
        "drop": paired_drop(a, b, info.name),
        "lost": int((b < a).sum()),
        "won": int((b > a).sum()),
        "within_noise": int(((a != b) & close).sum()),
    }
    return found | ({"drop_above_noise": paired_drop(a, np.where(close, a, b), info.name)} if close.any() else {})


def _values(info: MetricInfo, samples: Sequence[TaskSample]) -> dict[int, float]:
    """By document, means over runs."""
    by_document = defaultdict[int, list[float]](list)
    for sample in samples:
        for metric in sample.metrics:
            if (metric.name, metric.filter) == (info.name, info.filter):
                by_document[sample.document].append(metric.value)
    return {document: float(np.mean(values)) for document, values in by_document.items()}


def _value(info: MetricInfo, values: Mapping[int, float]) -> Figure:
    if info.by_mean and values:
        return item_mean(list(values.values()), info.name)
    told = "" if info.value is None else f" ({info.value:.6g})"
    return Missing(missing=f"no mean over documents, and so no interval{told}")


def _by_run(info: MetricInfo, on: OnModel) -> tuple[float, ...]:
    runs = range(on.outcome.settings.runs)
    values = (_values(info, [s for s in on.samples if s.run == run]) for run in runs)
    return tuple(float(np.mean(list(v.values()))) for v in values if v)


def _hinging(on: OnModel, reference: OnModel, noise: NoiseFloor | None) -> frozenset[int]:
    """Documents whose outcome less than the noise floor decides, on either model. Of drawn answers nothing is said:
    there chance is in the runs."""
    if noise is None or not on.outcome.greedy:
        return frozenset()
    others = {(s.document, s.run): s for s in reference.samples}
    return frozenset(s.document for s in on.samples if _hinges(s, others[s.document, s.run], noise))


def _hinges(variant: TaskSample, reference: TaskSample, noise: NoiseFloor) -> bool:
    nats = 2 * noise.largest_difference_nats
    if nats and min(lead(variant), lead(reference)) <= nats:
        return True
    for a, b in zip(reference.answers, variant.answers, strict=True):
        place = _parting(a, b)
        if place is None or not noise.largest_difference_logits:
            continue
        if min(a.margin[place : place + 1] + b.margin[place : place + 1]) <= 2 * noise.largest_difference_logits:
            return True
    return False


def lead(sample: TaskSample) -> float:
    """Of the likeliest continuation over the next, nats, by their sums or by their means over characters, whichever is
    less: a metric takes one of them."""
    found = np.array(sample.likelihoods)
    if len(found) < 2:
        return np.inf
    lengths = np.maximum(np.array(sample.lengths, np.float64), 1)
    leads = []
    for values, unit in ((found, 1.0), (found / lengths, float(lengths.min()))):
        best, second = np.sort(values)[::-1][:2]
        leads.append((best - second) * unit)
    return float(min(leads))


def _parting(a: AnswerRecord, b: AnswerRecord) -> int | None:
    """First step at which answers differ; None if they are the same."""
    if a.tokens == b.tokens and a.stop_reason == b.stop_reason:
        return None
    pairs = zip(a.tokens, b.tokens, strict=False)
    same = next((i for i, (x, y) in enumerate(pairs) if x != y), min(len(a.tokens), len(b.tokens)))
    return min(same, len(a.margin) - 1, len(b.margin) - 1)


def _common_margins(a: AnswerRecord, b: AnswerRecord) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Margins of the steps that both took after the same tokens."""
    place = _parting(a, b)
    end = len(a.margin) if place is None else place + 1
    return a.margin[:end], b.margin[:end]
