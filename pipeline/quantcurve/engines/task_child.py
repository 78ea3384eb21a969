"""lm-evaluation-harness over one model; runs in a child process (see child.py), which the engine's process is a child
of: tasks bring code of their own, and lm-eval seeds and logs for the whole process.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from quantcurve.answers_kept import Kept
from quantcurve.engines.text_side import TextSide
from quantcurve.errors import PrerequisiteError, QuantcurveError, RecipeError, printable
from quantcurve.recipe_tasks import SAMPLED_RUNS, TaskEntry, usual_fewshot
from quantcurve.task_model import TaskModel
from quantcurve.task_records import TaskOutcome, TaskOutcomes, TaskRun, TaskSample

if TYPE_CHECKING:
    from quantcurve.lm_eval_model import QuantcurveLM

SHIPPED = Path(__file__).parents[1] / "lm_eval_tasks"
SAMPLES = "samples.jsonl"
PYTHON_SEED, FEWSHOT_SEED = 0, 1234
"""lm-eval's own, for tasks that shuffle their documents or choose examples."""
NETWORK = (
    "ConnectionError",
    "LocalEntryNotFoundError",
    "OfflineModeIsEnabled",
    "DatasetNotFoundError",
    "MaxRetryError",
)
"""Names of exceptions by which a library says that it wants what is not on this machine."""


def evaluate(run: TaskRun, folder: Path) -> TaskOutcomes:
    """Ask a model; samples go to SAMPLES in `folder`.

    Raises:
        RecipeError: the task is not known, its files cannot be read, or it asks for what is not supported.
        PrerequisiteError: the task wants documents or code from the network.
        BackendError: the engine failed or died; what was done is kept in the journal.
    """
    from quantcurve.engines import task_samples

    samples, outcomes = list[TaskSample](), list[list[TaskOutcome]]()
    kept, effective = Kept(run.journal), None
    for number in itertools.count():
        lm = _model(run, number, kept)
        with _named_errors(run.entry):
            tasks = tasks_of(run)
            runs = _run_count(run.entry, tasks)
            results = results_of(run, lm, tasks)
        said = task_samples.by_document(lm.said)
        found = [
            task_samples.sample(task, number, logged, said)
            for task, of_task in results["samples"].items()
            for logged in task_samples.by_id(of_task)
        ]
        outcomes.append([task_samples.outcome(task, results, run, runs, lm, found) for task in results["samples"]])
        samples += found
        effective = lm.model.effective or effective
        if number + 1 == runs:
            break
    with (folder / SAMPLES).open("w", encoding="utf-8") as sink:
        sink.writelines(sample.model_dump_json() + "\n" for sample in samples)
    return TaskOutcomes(
        tasks=tuple(task_samples.over_runs(of_task) for of_task in zip(*outcomes, strict=True)),
        lm_eval_version=metadata.version("lm_eval"),
        effective=effective,
    )


def known_tasks() -> tuple[str, ...]:
    """Names of all tasks, groups and tags."""
    return tuple(_manager(SHIPPED).all_tasks)


@cache
def _manager(include: Path) -> Any:
    """Of lm-eval's own tasks and those that quantcurve brings, or of those in another folder alone."""
    from lm_eval.tasks import TaskManager

    return TaskManager(include_path=include, include_defaults=include == SHIPPED)


def _model(run: TaskRun, number: int, kept: Kept) -> QuantcurveLM:
    from quantcurve.lm_eval_model import QuantcurveLM

    return QuantcurveLM(
        model=TaskModel(run.model, run.settings, run.label, run.log, kept),
        text=TextSide(run.text),
        ends=run.ends,
        max_length=run.context_tokens,
        seed=run.seed + number,
    )


def _run_count(entry: TaskEntry, tasks: Mapping[str, Any]) -> int:
    """Runs with other seeds: several where answers are drawn, also if only the task says so.

    Raises:
        RecipeError: answers are drawn, and the recipe asks for too few runs.
    """
    drawn = [name for name, task in tasks.items() if (task.get_config("generation_kwargs") or {}).get("do_sample")]
    if drawn and entry.runs and entry.runs < SAMPLED_RUNS:
        raise RecipeError(f"{drawn[0]} draws its answers: give {SAMPLED_RUNS} runs or more, since one is chance")
    return entry.runs or (SAMPLED_RUNS if drawn else 1)


def results_of(run: TaskRun, lm: QuantcurveLM, tasks: Mapping[str, Any]) -> dict[str, Any]:
    """By lm-eval's `evaluate`: its `simple_evaluate` lists all packages of the machine first, for nine seconds."""
    from lm_eval import evaluate as lm_evaluate

    found = lm_evaluate(
        lm,
        {"tasks": dict(tasks)},
        limit=run.limit or run.entry.limit,
        bootstrap_iters=0,
        log_samples=True,
        system_instruction=run.system,
        apply_chat_template=run.chat_template,
        fewshot_as_multiturn=run.chat_template,
        confirm_run_unsafe_code=run.entry.run_code,
    )
    assert found
    return dict(found)


def tasks_of(run: TaskRun) -> dict[str, Any]:
    """lm-eval's tasks of an entry by name, with what the recipe changes in them."""
    entry = run.entry
    path = (run.base / entry.file).resolve() if entry.file else None
    if path and not path.is_file():
        raise RecipeError(f"{path}: no such file; a task's file is lm-eval's YAML")
    manager = _manager(path.parent if path else SHIPPED)
    random.seed(PYTHON_SEED)
    np.random.seed(FEWSHOT_SEED)
    name = entry.name or _name_in(manager, path)
    if name not in manager.all_tasks:
        raise RecipeError(f"{name}: lm-eval knows no such task; `lm_eval ls tasks` lists them")
    with contextlib.chdir(path.parent if path else run.base):
        group = {"group": "quantcurve", "task": [{"task": name, **_overrides(entry, run.base)}]}
        tasks: dict[str, Any] = manager.load(group)["tasks"]
    for task_name, task in tasks.items():
        usual = usual_fewshot(task_name, task.get_config("num_fewshot"))
        shots = entry.fewshot if entry.fewshot is not None else usual
        if shots is not None or task.get_config("num_fewshot") is None:
            task.set_config("num_fewshot", shots or 0)
        task.set_fewshot_seed(seed=FEWSHOT_SEED)
        if task.get_config("unsafe_code") and not entry.run_code:
            raise RecipeError(f"{task_name} runs what the model writes on this machine; allow it with run_code: true")
        if task.OUTPUT_TYPE == "generate_until" and (changed := _generation(entry)):
            task.set_config("generation_kwargs", changed, update=True)
    return tasks


def _name_in(manager: Any, path: Path | None) -> str:
    found = [name for name, known in manager.task_index.items() if known.yaml_path == path]
    if not found:
        raise RecipeError(f"{path}: no task of lm-eval (a YAML file with `task: NAME`, and what else lm-eval asks for)")
    return str(found[0])


def _overrides(entry: TaskEntry, base: Path) -> dict[str, Any]:
    changed: dict[str, Any] = {"repeats": entry.answers} if entry.samples or entry.pass_at else {}
    if not entry.data:
        return changed
    files = {"test": entry.data.test, "fewshot": entry.data.fewshot or entry.data.test}
    paths = {split: str((base / name).resolve()) for split, name in files.items()}
    for path in paths.values():
        if not Path(path).is_file():
            raise RecipeError(f"{path}: no such file; data names a task's documents")
    kind = "parquet" if Path(paths["test"]).suffix == ".parquet" else "json"
    return changed | {
        "dataset_path": kind,
        "dataset_name": None,
        "dataset_kwargs": {"data_files": paths},
        "test_split": "test",
        "validation_split": None,
        "training_split": "fewshot" if entry.data.fewshot else None,
        "fewshot_split": "fewshot",
    }


def _generation(entry: TaskEntry) -> dict[str, Any]:
    """Generation settings that the recipe gives."""
    temperature = entry.wanted_temperature
    changed: dict[str, Any] = {}
    if temperature is not None:
        changed |= {"temperature": temperature, "do_sample": temperature > 0}
    if entry.top_p is not None:
        changed["top_p"] = entry.top_p
    if entry.max_new_tokens is not None:
        changed["max_gen_toks"] = entry.max_new_tokens
    return changed


@contextlib.contextmanager
def _named_errors(entry: TaskEntry) -> Iterator[None]:
    """Raise what lm-eval and its libraries raise as errors that name the task and the next step."""
    try:
        yield
    except QuantcurveError:
        raise
    except Exception as error:
        chain = list(_chain(error))
        said = printable(str(error).strip() or type(error).__name__, 400)
        if any(type(e).__name__ in NETWORK for e in chain):
            raise PrerequisiteError(
                f"task {entry.label}: it wants documents or code from the network: {said}",
                "connect once, or give the documents as a local file (data: FILE.jsonl) or a task's own YAML (file:)",
            ) from error
        raise RecipeError(f"task {entry.label}: {type(error).__name__}: {said}") from error


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error:
        yield error
        error = error.__cause__ or error.__context__


os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
