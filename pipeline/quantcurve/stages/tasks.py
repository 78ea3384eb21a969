"""Tasks of lm-evaluation-harness on the reference and its variants: asked alike, compared document by document."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import partial
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from quantcurve import task_compare
from quantcurve.engines import gguf_tokenizer, task_child
from quantcurve.engines.base import CacheTypes, Runtime
from quantcurve.engines.child import Child
from quantcurve.errors import BackendError, PrerequisiteError, RecipeError, reason
from quantcurve.estimates import Missing
from quantcurve.recipe import LoadedRecipe, at
from quantcurve.recipe_tasks import Evaluation, TaskEntry
from quantcurve.records import REFERENCE, EngineIdentity, Frozen
from quantcurve.session import Event, Session
from quantcurve.stages import task_asker
from quantcurve.stages.resolve import Reference
from quantcurve.stages.scoring import Model
from quantcurve.stages.task_asker import STAGE, Asker
from quantcurve.task_compare import OnModel
from quantcurve.task_model import TaskModel, TaskSettings
from quantcurve.task_records import NoiseFloor, TaskOutcomes, TaskResult, TaskResults, TaskRun, TaskSample

INSTALL = "pip install 'quantcurve[eval]'"
BATCH_TOKENS = 2048
NOT_CHOSEN = Missing(missing="not evaluated: the recipe names others")


class TaskInputs(Frozen):
    """Key of one entry's samples on one model."""

    version: Literal[1] = 1
    content_hash: str
    tokenizer_hash: str
    entry: TaskEntry
    files: tuple[tuple[str, str], ...]
    """Names and hashes of the entry's local files."""
    settings: TaskSettings
    ends: tuple[int, ...]
    chat_template: bool
    system: str | None
    context_tokens: int
    limit: int | None
    seed: int
    engine: EngineIdentity
    lm_eval_version: str


class TokenizerInputs(Frozen):
    """Key of a tokenizer that is made of a GGUF file's vocabulary."""

    version: Literal[1] = 1
    content_hash: str


class TokenizerStep(Frozen):
    """The reference's tokenizer and end tokens."""

    ends: tuple[int, ...]


class Evaluated(NamedTuple):
    """What the tasks came to."""

    reference: tuple[TaskResult, ...] = ()
    variants: Mapping[str, TaskResults] = {}


class _Asking(NamedTuple):
    """What all models are asked with."""

    loaded: LoadedRecipe
    evaluation: Evaluation
    text: Path
    text_hash: str
    ends: tuple[int, ...]
    session: Session
    asker: Asker


def check(loaded: LoadedRecipe, session: Session, write: bool = True) -> None:
    """Refuse what cannot be evaluated, before anything is made.

    Args:
        loaded: the recipe.
        session: the run's surroundings.
        write: whether what is found out about lm-eval may be kept in the store.

    Raises:
        PrerequisiteError: lm-eval is not installed.
        RecipeError: a task, a file or a variant that is not there.
    """
    evaluation = loaded.recipe.evaluate
    if not evaluation or not evaluation.tasks:
        return
    if find_spec("lm_eval") is None:
        raise PrerequisiteError("lm-eval is not installed: evaluate needs it", INSTALL)
    labels = loaded.recipe.variants.labels
    for i, name in enumerate(evaluation.variants or ()):
        if name not in labels:
            with at(loaded, "evaluate", "variants", i):
                raise RecipeError(f"no variant is called {name}; there are {', '.join(labels)}")
    for i, entry in enumerate(evaluation.tasks):
        with at(loaded, "evaluate", "tasks", i):
            list(_files(entry, loaded.path.parent))
    named = {i: entry.name for i, entry in enumerate(evaluation.tasks) if entry.name}
    known = task_asker.known(session, write) if named else ()
    for i, name in named.items():
        if name not in known:
            near = get_close_matches(name, known, 3)
            advice = f"did you mean {', '.join(near)}?" if near else "`lm_eval ls tasks` lists them"
            with at(loaded, "evaluate", "tasks", i, "name"):
                raise RecipeError(f"lm-eval knows no task {name}; {advice}")


def evaluate(loaded: LoadedRecipe, reference: Reference, models: Sequence[Model], session: Session) -> Evaluated:
    """Ask the reference and the variants that the recipe names.

    Args:
        loaded: the recipe.
        reference: what variants are compared with.
        models: the reference first, then all variants that did not fail.
        session: the run's surroundings.

    Raises:
        RecipeError: a task cannot be asked.
        PrerequisiteError: a task wants what is not on this machine.
        BackendError: the reference cannot be asked; a variant that cannot is Missing.
    """
    evaluation = loaded.recipe.evaluate
    if not evaluation or not evaluation.tasks:
        return Evaluated()
    with Asker(session) as asker:
        asking = _asking(loaded, evaluation, reference, session, asker)
        evaluated = _of_all(asking, *models)
    session.progress(Event(STAGE, 1, 1, "done"))
    return evaluated


def _of_all(asking: _Asking, original: Model, *variants: Model) -> Evaluated:
    evaluation = asking.evaluation
    entries = range(len(evaluation.tasks))
    batched = [on for i in entries for on in _asked(asking, i, original, alone=False)]
    alone = [on for i in entries for on in _asked(asking, i, original, alone=True)]
    floors = [task_compare.noise_floor(*both) for both in zip(batched, alone, strict=True)]
    found: dict[str, TaskResults] = {}
    for model in variants:
        wanted = evaluation.variants is None or model.name in evaluation.variants
        found[model.name] = _variant(asking, model, batched, floors) if wanted else NOT_CHOSEN
    results = tuple(task_compare.result(on, None, floor) for on, floor in zip(batched, floors, strict=True))
    return Evaluated(results, found)


def _variant(asking: _Asking, model: Model, reference: Sequence[OnModel], floors: Sequence[NoiseFloor]) -> TaskResults:
    try:
        asked = [on for i in range(len(asking.evaluation.tasks)) for on in _asked(asking, i, model, alone=False)]
    except BackendError as error:
        return Missing(missing=reason(error, model.name))
    return tuple(task_compare.result(*both) for both in zip(asked, reference, floors, strict=True))


def _asked(asking: _Asking, index: int, model: Model, alone: bool) -> Iterator[OnModel]:
    """An entry's tasks on a model; alone: one document after the other, and only the first ones."""
    session, evaluation = asking.session, asking.evaluation
    entry = evaluation.tasks[index]
    session.progress(Event(STAGE, index, len(evaluation.tasks), f"{model.name}, {entry.label}{', alone' * alone}"))
    with at(asking.loaded, "evaluate", "tasks", index):
        inputs = _inputs(asking, entry, model, alone)
        made, artifact = session.make(STAGE, inputs, TaskOutcomes, partial(_evaluated, asking, inputs, model))
    written = (artifact.folder / task_child.SAMPLES).read_bytes()  # as bytes: answers may have U+2028 in them
    samples = [TaskSample.model_validate_json(line) for line in written.split(b"\n") if line]
    for outcome in made.tasks:
        yield OnModel(outcome, [s for s in samples if s.task == outcome.settings.task])


def _evaluated(asking: _Asking, inputs: TaskInputs, model: Model, folder: Path) -> TaskOutcomes:
    session = asking.session
    run = TaskRun(
        entry=inputs.entry,
        base=asking.loaded.path.parent.resolve(),
        model=model.path,
        label=model.name,
        settings=inputs.settings,
        ends=inputs.ends,
        text=asking.text,
        chat_template=inputs.chat_template,
        system=inputs.system,
        context_tokens=inputs.context_tokens,
        limit=inputs.limit,
        seed=inputs.seed,
        log=session.log(model.name).resolve(),
        journal=session.store.journal(inputs),
    )
    return asking.asker.call(task_child.evaluate, run, folder)


def _inputs(asking: _Asking, entry: TaskEntry, model: Model, alone: bool) -> TaskInputs:
    evaluation, session = asking.evaluation, asking.session
    limit = min(evaluation.noise_items, entry.limit or evaluation.noise_items) if alone else None
    return TaskInputs(
        content_hash=model.content_hash,
        tokenizer_hash=asking.text_hash,
        entry=entry,
        files=tuple((path.name, session.store.hash_file(path)) for path in _files(entry, asking.loaded.path.parent)),
        settings=settings_of(
            asking.loaded, model.runtime, 1 if alone else evaluation.batch, 1 if alone else BATCH_TOKENS, session
        ),
        ends=asking.ends,
        chat_template=evaluation.chat_template,
        system=evaluation.system,
        context_tokens=evaluation.context_tokens,
        limit=limit,
        seed=asking.loaded.recipe.seed,
        engine=session.engine_of(model.runtime),
        lm_eval_version=metadata.version("lm_eval"),
    )


def settings_of(
    loaded: LoadedRecipe, runtime: Runtime, batch: int, batch_tokens: int, session: Session
) -> TaskSettings:
    """How a model is opened and asked."""
    return TaskSettings(
        threads=session.threads,
        device=session.device,
        runtime=runtime if isinstance(runtime, CacheTypes) else runtime.without_generation(),
        batch=batch,
        batch_tokens=batch_tokens,
        flash_attention=loaded.recipe.engine.flash_attention,
    )


def _asking(
    loaded: LoadedRecipe, evaluation: Evaluation, reference: Reference, session: Session, asker: Asker
) -> _Asking:
    """With the reference's tokenizer and end tokens, which are those of all variants."""
    step, folder = text_side(loaded, reference, session)
    return _Asking(loaded, evaluation, folder, reference.step.file.content_hash, step.ends, session, asker)


def text_side(loaded: LoadedRecipe, reference: Reference, session: Session) -> tuple[TokenizerStep, Path]:
    """The reference's end tokens, and a folder with its tokenizer: those of all variants."""
    settings = settings_of(loaded, CacheTypes(), 1, 1, session)

    def make(folder: Path) -> TokenizerStep:
        with Child("tokenizer", session.log("tokenizer")) as child:
            child.call(gguf_tokenizer.save, reference.path, folder)
        model = TaskModel(reference.path, settings, REFERENCE, session.log(REFERENCE))
        return TokenizerStep(ends=model.end_tokens())

    inputs = TokenizerInputs(content_hash=reference.step.file.content_hash)
    step, artifact = session.make(STAGE, inputs, TokenizerStep, make)
    return step, artifact.folder


def _files(entry: TaskEntry, base: Path) -> Iterator[Path]:
    """Local files that determine what an entry asks: documents, its YAML file, and code and YAML files beside that.

    Raises:
        RecipeError: one is not there.
    """
    named = [entry.data.test, entry.data.fewshot] if entry.data else []
    for name in (entry.file, *named):
        path = base / Path(name).expanduser() if name else None
        if path and not path.is_file():
            raise RecipeError(f"{path}: no such file")
        if path:
            yield path
    if entry.file:
        folder = (base / Path(entry.file).expanduser()).parent
        for beside in sorted(p for p in folder.iterdir() if p.suffix in {".py", ".yaml"} and p.is_file()):
            yield beside
            yield from _documents(beside)


def _documents(task: Path) -> Iterator[Path]:
    """Local files that a task's YAML file names as its documents."""
    if task.suffix != ".yaml":
        return
    try:
        content = YAML(typ="rt").load(task)
        named = content["dataset_kwargs"]["data_files"]
    except (YAMLError, OSError, KeyError, TypeError):
        return
    values = named.values() if isinstance(named, dict) else [named]
    for value in values:
        for name in [value] if isinstance(value, str) else value:
            if (path := task.parent / str(name)).is_file():
                yield path
