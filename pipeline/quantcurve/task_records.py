"""What lm-evaluation-harness found out about a model: records of a task, and of each document."""

from __future__ import annotations

from pathlib import Path

from quantcurve.estimates import Figure, Missing
from quantcurve.generation import Answer, StopReason
from quantcurve.recipe_tasks import TaskEntry
from quantcurve.records import EffectiveConfig, Frozen
from quantcurve.task_model import TaskSettings


class TaskRun(Frozen):
    """One entry of the recipe on one model."""

    entry: TaskEntry
    base: Path
    """Folder that the entry's files are relative to."""
    model: Path
    label: str
    settings: TaskSettings
    ends: tuple[int, ...]
    """Tokens that end answers: the reference's, of all models."""
    text: Path
    """Folder with the tokenizer of the reference."""
    chat_template: bool
    system: str | None
    context_tokens: int
    limit: int | None
    """Of documents; the entry's if it has one and this is None."""
    seed: int
    log: Path
    journal: Path


class PromptSettings(Frozen):
    """What two models must have been asked alike."""

    task: str
    version: str
    config_hash: str
    """Of the task's configuration: prompts, choices, filters, metrics, stops, temperature."""
    fewshot: int
    seed: int
    documents: int
    chat_template_hash: str
    """Empty where prompts are no chats."""
    system: str | None
    max_length: int
    ends: tuple[int, ...]
    tokenizer: str
    runs: int
    prompts_hash: str
    """Of all prompts' texts."""


class AnswerRecord(Frozen):
    """A generated answer; see generation.Answer."""

    tokens: tuple[int, ...]
    text: str
    stop_reason: StopReason
    log_probability: tuple[float, ...]
    stop_probability: tuple[float, ...]
    stop_rank: tuple[int, ...]
    entropy: tuple[float, ...]
    margin: tuple[float, ...]

    @classmethod
    def of(cls, answer: Answer) -> AnswerRecord:
        """The same with plain numbers."""
        steps = {name: tuple(values.tolist()) for name, values in vars(answer.steps).items()}
        return cls(tokens=tuple(answer.tokens.tolist()), text=answer.text, stop_reason=answer.stop_reason, **steps)


class SampleMetric(Frozen):
    """A metric of one document."""

    name: str
    filter: str
    value: float


class TaskSample(Frozen):
    """One document, asked once in every run."""

    task: str
    document: int
    run: int
    document_hash: str
    prompt_hash: str
    target_hash: str
    metrics: tuple[SampleMetric, ...]
    likelihoods: tuple[float, ...] = ()
    """Of its continuations, nats."""
    lengths: tuple[int, ...] = ()
    """Of the continuations' texts, characters."""
    answers: tuple[AnswerRecord, ...] = ()


class MetricInfo(Frozen):
    """A metric of a task."""

    name: str
    filter: str
    higher_is_better: bool
    by_mean: bool
    """Whether lm-eval gives the mean over documents."""
    value: float | None
    """As lm-eval aggregates it, over all runs; None where it is no number."""


class TaskOutcome(Frozen):
    """One task on one model."""

    settings: PromptSettings
    metrics: tuple[MetricInfo, ...]
    truncated: int
    """Prompts that lost their beginning."""
    greedy: bool
    """Whether no answer was drawn."""


class TaskOutcomes(Frozen):
    """What one entry of the recipe came to on one model; samples.jsonl beside it has the samples."""

    tasks: tuple[TaskOutcome, ...]
    lm_eval_version: str
    effective: EffectiveConfig | None
    """None where all answers were known from an interrupted evaluation."""


class NoiseFloor(Frozen):
    """The reference against itself, asked one by one and in batches."""

    documents: int
    largest_difference_nats: float
    """Of a continuation's likelihood; 0 where there are none."""
    largest_difference_logits: float
    """Of the margin between the two likeliest tokens, up to where answers part; 0 where there are none."""
    answers: int
    answers_changed: int
    metrics_changed: int
    """Values of metrics that are not the same."""


class TaskMetric(Frozen):
    """A metric of one model, and what is lost against the reference."""

    name: str
    filter: str
    higher_is_better: bool
    value: Figure
    by_run: tuple[float, ...] = ()
    """Means of the runs, where there are several."""
    drop: Figure | None = None
    """Mean loss over documents, paired; below 0 where the variant is better. None of the reference."""
    lost: int = 0
    """Documents that are worse than the reference's."""
    won: int = 0
    within_noise: int = 0
    """Of both: those that hinge on a difference below the noise floor."""
    drop_above_noise: Figure | None = None
    """With these documents taken for equal."""


class TaskResult(Frozen):
    """A task of one model."""

    settings: PromptSettings
    """What another model or run must have been asked with, to be compared (task_compare.require_alike)."""
    truncated: int
    metrics: tuple[TaskMetric, ...]
    stop_reasons: tuple[tuple[StopReason, int], ...] = ()
    answer_tokens: Figure | None = None
    """Mean length of answers."""
    noise: NoiseFloor | None = None
    """Of the reference."""

    @property
    def task(self) -> str:
        """Its name."""
        return self.settings.task

    @property
    def documents(self) -> int:
        """That were asked in each run."""
        return self.settings.documents


TaskResults = tuple[TaskResult, ...] | Missing
