"""The recipe's tasks: what lm-evaluation-harness asks the reference and its variants."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from quantcurve.recipe_slices import SliceEntry
from quantcurve.records import Frozen

FEWSHOT = (("mmlu", 5), ("gsm8k", 8))
"""Usual numbers of examples of tasks whose names begin so, and of theirs that say 0 none (Hendrycks et al. 2021; Wei et
al. 2022). Other tasks have what lm-eval gives them."""
SAMPLED_RUNS = 3
"""At least, of answers that are drawn (Chen et al. 2021 and what followed report means over runs)."""
PASS_TEMPERATURE = (0.2, 0.8)
"""For pass@1, and for more (Chen et al. 2021, figure 5)."""

FileName = Annotated[str, Field(min_length=1, max_length=1000)]


class TaskData(Frozen):
    """Local files with a task's documents, in place of those from the hub; relative to the recipe."""

    test: FileName = Field(description="JSONL, JSON or Parquet file of the documents that are asked")
    fewshot: FileName | None = Field(None, description="of those that examples are taken from; else from `test`")


class TaskEntry(Frozen):
    """A task, a group or a tag of lm-eval, or a task in a YAML file."""

    name: str | None = Field(None, min_length=1, max_length=200, description="as lm-eval knows it, such as arc_easy")
    file: FileName | None = Field(None, description="in its place, a task's YAML file, relative to the recipe")
    data: TaskData | None = Field(None, description="local documents, a file or {test: ..., fewshot: ...}")
    fewshot: int | None = Field(None, ge=0, le=100, description="examples; the usual number where none is given")
    limit: int | None = Field(None, ge=2, le=1_000_000, description="documents, from the first; all")
    max_new_tokens: int | None = Field(None, ge=1, le=1_048_576, description="of an answer; what the task says")
    temperature: float | None = Field(None, ge=0, le=5, description="what the task says")
    top_p: float | None = Field(None, gt=0, le=1)
    samples: int | None = Field(None, ge=1, le=1000, description="answers to one document in a run")
    runs: int | None = Field(None, ge=1, le=100, description="with other seeds; 3 where answers are drawn, else 1")
    pass_at: int | None = Field(None, ge=1, le=1000, description="k of pass@k: sets samples, temperature and runs")
    run_code: bool = Field(False, description="let the task run what the model writes, on this machine")

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @field_validator("data", mode="before")
    @classmethod
    def _one_file(cls, value: Any) -> Any:
        return {"test": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _possible(self) -> TaskEntry:
        if (self.name is None) == (self.file is None):
            raise PydanticCustomError("task", "give name or file, one of them")
        if self.drawn and self.run_count < SAMPLED_RUNS:
            raise PydanticCustomError(
                "runs",
                "answers are drawn (temperature {t}): give {least} runs or more, since one is chance",
                {"t": self.wanted_temperature, "least": SAMPLED_RUNS},
            )
        if self.pass_at and self.answers < self.pass_at:
            raise PydanticCustomError(
                "pass_at", "pass@{k} needs {k} samples or more, not {n}", {"k": self.pass_at, "n": self.answers}
            )
        return self

    @property
    def label(self) -> str:
        """For messages and progress."""
        return self.name or self.file or ""

    @property
    def wanted_temperature(self) -> float | None:
        """None: what the task says."""
        if self.temperature is None and self.pass_at:
            return PASS_TEMPERATURE[self.pass_at > 1]
        return self.temperature

    @property
    def drawn(self) -> bool:
        """Whether the recipe has answers drawn."""
        return bool(self.wanted_temperature)

    @property
    def answers(self) -> int:
        """To one document in a run."""
        return self.samples or self.pass_at or 1

    @property
    def run_count(self) -> int:
        """Runs with other seeds."""
        return self.runs or (SAMPLED_RUNS if self.drawn else 1)


class Evaluation(Frozen):
    """Tasks and slices, and how they are asked: the same for the reference and every variant."""

    tasks: tuple[TaskEntry, ...] = Field((), max_length=200, description="of lm-evaluation-harness")
    slices: tuple[SliceEntry, ...] = Field((), max_length=200, description="of the scorecard: a name, or a file")
    variants: tuple[str, ...] | None = Field(None, description="those that tasks are asked of; null: all")
    chat_template: bool = Field(False, description="write prompts as chats, with the model's own template")
    system: str | None = Field(
        None,
        max_length=100_000,
        description="of tasks: system message, or text before every prompt",
    )
    context_tokens: int = Field(2048, ge=64, le=1_048_576, description="prompt and answer; longer prompts are cut")
    batch: int = Field(16, ge=1, le=1024, description="answers that are generated together")
    noise_items: int = Field(
        16, ge=2, le=100_000, description="documents of a task that the reference is asked one by one too"
    )

    @model_validator(mode="after")
    def _some(self) -> Evaluation:
        if not (self.tasks or self.slices):
            raise PydanticCustomError("empty", "nothing is evaluated: list tasks or slices")
        names = [entry.name for entry in self.slices]
        if repeated := {n for n in names if names.count(n) > 1}:
            raise PydanticCustomError("repeated", "named twice: {names}", {"names": ", ".join(sorted(repeated))})
        return self


def usual_fewshot(name: str, configured: int | None) -> int | None:
    """Examples of a task where the recipe gives no number; None: what lm-eval says.

    Args:
        name: of the task.
        configured: in the task's own file; 0 there is never overruled.
    """
    usual = next((count for start, count in FEWSHOT if name == start or name.startswith(f"{start}_")), None)
    return None if configured == 0 else usual
