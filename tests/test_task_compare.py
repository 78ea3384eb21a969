"""Two models on a task: what is lost, what hinges on noise, and what may not be compared."""

from __future__ import annotations

import pytest

from quantcurve.errors import RecipeError
from quantcurve.estimates import Estimate, Missing
from quantcurve.task_compare import OnModel, noise_floor, require_alike, result
from quantcurve.task_records import (
    AnswerRecord,
    MetricInfo,
    NoiseFloor,
    PromptSettings,
    SampleMetric,
    TaskOutcome,
    TaskSample,
)

SETTINGS = PromptSettings(
    task="t",
    version="1",
    config_hash="c",
    fewshot=0,
    seed=0,
    documents=4,
    chat_template_hash="",
    system=None,
    max_length=128,
    ends=(2,),
    tokenizer="x",
    runs=1,
    prompts_hash="p",
)
ACC = MetricInfo(name="acc", filter="none", higher_is_better=True, by_mean=True, value=0.5)
QUIET = NoiseFloor(
    documents=4,
    largest_difference_nats=0.01,
    largest_difference_logits=0.02,
    answers=0,
    answers_changed=0,
    metrics_changed=0,
)


def answered(tokens: tuple[int, ...], margins: tuple[float, ...]) -> AnswerRecord:
    some = tuple(0.0 for _ in margins)
    return AnswerRecord(
        tokens=tokens,
        text="".join(map(str, tokens)),
        stop_reason="limit",
        log_probability=some,
        stop_probability=some,
        stop_rank=tuple(0 for _ in margins),
        entropy=some,
        margin=margins,
    )


def sample(
    document: int,
    value: float,
    likelihoods: tuple[float, ...] = (),
    answers: tuple[AnswerRecord, ...] = (),
    run: int = 0,
) -> TaskSample:
    return TaskSample(
        task="t",
        document=document,
        run=run,
        document_hash="d",
        prompt_hash="p",
        target_hash="t",
        metrics=(SampleMetric(name="acc", filter="none", value=value),),
        likelihoods=likelihoods,
        lengths=tuple(4 for _ in likelihoods),
        answers=answers,
    )


def on(*samples: TaskSample, greedy: bool = True, metric: MetricInfo = ACC, **changed: object) -> OnModel:
    settings = SETTINGS.model_copy(update=changed)
    return OnModel(TaskOutcome(settings=settings, metrics=(metric,), truncated=0, greedy=greedy), samples)


def test_losses_are_paired_by_document() -> None:
    reference = on(*(sample(i, v, (-1.0, -3.0)) for i, v in enumerate([1, 1, 0, 1])))
    variant = on(*(sample(i, v, (-1.0, -3.0)) for i, v in enumerate([1, 0, 1, 0])))
    metric = result(variant, reference, QUIET).metrics[0]
    assert (metric.lost, metric.won, metric.within_noise) == (2, 1, 0) and metric.drop_above_noise is None
    assert isinstance(metric.drop, Estimate) and metric.drop.value == 0.25 and metric.drop.low < 0 < metric.drop.high
    assert isinstance(metric.value, Estimate) and metric.value.value == 0.5 and metric.value.low > 0


def test_less_is_better_turns_the_sign() -> None:
    worse = ACC.model_copy(update={"higher_is_better": False})
    reference = on(*(sample(i, v) for i, v in enumerate([1.0, 2.0, 3.0, 4.0])), metric=worse)
    variant = on(*(sample(i, v) for i, v in enumerate([2.0, 2.5, 3.0, 5.0])), metric=worse)
    metric = result(variant, reference, None).metrics[0]
    assert isinstance(metric.drop, Estimate) and metric.drop.value == 0.625 and (metric.lost, metric.won) == (3, 0)


def test_choices_that_less_than_the_noise_decides_are_counted() -> None:
    """Document 1 hangs on 0.015 nats in the reference, and the floor is 0.01 for each of the two."""
    reference = on(sample(0, 1, (-1.0, -3.0)), sample(1, 1, (-1.0, -1.015)), sample(2, 1, (-1.0, -2.0)))
    variant = on(sample(0, 1, (-1.0, -3.0)), sample(1, 0, (-1.5, -1.0)), sample(2, 0, (-2.0, -1.0)))
    metric = result(variant, reference, QUIET).metrics[0]
    assert (metric.lost, metric.within_noise) == (2, 1)
    assert isinstance(metric.drop, Estimate) and isinstance(metric.drop_above_noise, Estimate)
    assert metric.drop.value == pytest.approx(2 / 3) and metric.drop_above_noise.value == pytest.approx(1 / 3)


@pytest.mark.parametrize(("margin", "hinging"), [(0.03, 1), (0.5, 0)])
def test_answers_that_part_where_two_tokens_are_about_equal_are_counted(margin: float, hinging: int) -> None:
    reference = on(sample(0, 1, answers=(answered((5, 6, 7), (1, margin, 1)),)), sample(1, 1))
    variant = on(sample(0, 0, answers=(answered((5, 9, 7), (1, 0.6, 0.01)),)), sample(1, 1))
    metric = result(variant, reference, QUIET).metrics[0]
    assert (metric.lost, metric.within_noise) == (1, hinging)


def test_of_drawn_answers_chance_is_in_the_runs() -> None:
    reference = on(*(sample(d, v, run=r) for r in range(3) for d, v in enumerate([1, 0])), greedy=False, runs=3)
    variant = on(*(sample(d, float(r == d), run=r) for r in range(3) for d in range(2)), greedy=False, runs=3)
    metric = result(variant, reference, QUIET).metrics[0]
    assert metric.by_run == (0.5, 0.5, 0.0) and (metric.lost, metric.won, metric.within_noise) == (1, 1, 0)
    assert isinstance(metric.drop, Estimate) and metric.drop.value == pytest.approx((2 / 3 - 1 / 3) / 2)


def test_the_noise_floor_is_the_largest_difference() -> None:
    one, two = answered((5, 6, 7), (1.0, 0.01, 3.0)), answered((5, 8, 7), (1.02, 0.02, 9.0))
    batched = on(*(sample(i, 1, (-1.0, -2.0), (one,)) for i in range(4)))
    alone = on(
        sample(0, 1, (-1.0, -2.003), (two,)), sample(1, 0, (-1.001, -2.0), (one,)), documents=2, prompts_hash="q"
    )
    floor = noise_floor(batched, alone)
    assert (floor.documents, floor.answers, floor.answers_changed, floor.metrics_changed) == (2, 2, 1, 1)
    assert floor.largest_difference_nats == pytest.approx(0.003)
    assert floor.largest_difference_logits == pytest.approx(0.02), "the last margins follow other tokens"


@pytest.mark.parametrize(
    ("changed", "said"),
    [({"fewshot": 5}, "fewshot 0 and 5"), ({"system": "Be brief."}, "system None"), ({"ends": (2, 3)}, "ends"),
     ({"max_length": 64}, "max_length 128 and 64"), ({"prompts_hash": "q"}, "prompts_hash")],
)  # fmt: skip
def test_models_that_were_asked_otherwise_are_not_compared(changed: dict[str, object], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        result(on(sample(0, 1), **changed), on(sample(0, 1)), None)
    require_alike(SETTINGS, SETTINGS)


def test_metrics_that_are_no_means_have_no_difference() -> None:
    perplexity = ACC.model_copy(update={"by_mean": False, "value": 12.5})
    metric = result(on(sample(0, 1), metric=perplexity), on(sample(0, 1), metric=perplexity), None).metrics[0]
    assert isinstance(metric.value, Missing) and "12.5" in metric.value.missing and metric.drop is None


def test_a_metric_of_other_documents_is_said_to_be_missing() -> None:
    metric = result(on(sample(0, 1)), on(sample(0, 1), sample(1, 1)), None).metrics[0]
    assert isinstance(metric.drop, Missing)
