"""Checks on one model: the user's function, or one that quantcurve brings, over records, on either lane.

The function runs in this process, whatever it asks goes to the model in its child, and what is answered is kept
(answers_kept.py), so that a run that is stopped goes on where it was.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

from quantcurve import validation_loading
from quantcurve.answers_kept import Kept
from quantcurve.records import EngineIdentity, Frozen
from quantcurve.scorecard import Answered
from quantcurve.session import Event, Session
from quantcurve.slices import checks
from quantcurve.slices.check_model import CheckModel, CheckSettings
from quantcurve.slices.items import CheckItem
from quantcurve.stages.scoring import Model
from quantcurve.stages.slices import STAGE, SliceStep, read_samples, write_samples
from quantcurve.task_model import TaskModel, TaskSettings
from quantcurve.validation import Item, ValidationFunction


class Checking(NamedTuple):
    """A check, as every model is put to it."""

    name: str
    items: Sequence[CheckItem]
    function: ValidationFunction
    function_name: str
    """As the recipe has it."""
    function_hash: str
    """validation_loading.source_hash."""
    settings: CheckSettings
    text_hash: str
    """Of what the tokenizer and the chat template are made of."""

    @property
    def asked_hash(self) -> str:
        """Of the records and of the function."""
        return f"{checks.items_hash(self.items)} {self.function_hash}"


class CheckInputs(Frozen):
    """Key of one check's samples on one model."""

    version: Literal[1] = 1
    content_hash: str
    slice: str
    items_hash: str
    function_hash: str
    text_hash: str
    ends: tuple[int, ...]
    context_tokens: int
    model: TaskSettings
    engine: EngineIdentity


def sample(checking: Checking, model: Model, settings: TaskSettings, session: Session, twice: bool) -> Answered:
    """Samples of all items, in their order.

    Args:
        checking: the check.
        model: that is asked.
        settings: how it is opened.
        session: the run's surroundings.
        twice: whether the function is called a second time and must give the same. That costs its own time and not the
            model's, whose answers are kept. Another order, or one item alone, is not tried: sequences then go through
            the model in other batches, and an answer may be another where two tokens are about equally likely.

    Raises:
        RecipeError: the function failed, gave anything but one finite value for each item, or other values the second
            time; with the slice and the function.
        BackendError: the engine failed or died; what was done is kept.
    """
    inputs = CheckInputs(
        content_hash=model.content_hash,
        slice=checking.name,
        items_hash=checks.items_hash(checking.items),
        function_hash=checking.function_hash,
        text_hash=checking.text_hash,
        ends=checking.settings.ends,
        context_tokens=checking.settings.context_tokens,
        model=settings,
        engine=session.engine_of(model.runtime),
    )
    step, artifact = session.make(STAGE, inputs, SliceStep, partial(_made, checking, inputs, model, twice, session))
    return Answered(read_samples(artifact.folder), step.seconds)


def _made(
    checking: Checking, inputs: CheckInputs, model: Model, twice: bool, session: Session, folder: Path
) -> SliceStep:
    started = time.perf_counter()
    kept = Kept(session.store.journal(inputs), remember=twice)
    opened = TaskModel(model.path, inputs.model, model.name, session.log(model.name), kept)
    done, total = 0, len(checking.items)

    def moved(count: int) -> None:
        nonlocal done
        done += count
        session.progress(Event(STAGE, min(done, total), total, f"{model.name}, {checking.name}"))

    label = f"slice {checking.name}: {checking.function_name}"
    items = [Item(one.number, one.source, record=one.record) for one in checking.items]
    call = validation_loading.check_repeats if twice else validation_loading.values
    with opened.held():
        values = call(checking.function, label, CheckModel(opened, checking.settings, moved), items)
    moved(total)
    found = [checks.sample(checking.name, one, value) for one, value in zip(checking.items, values, strict=True)]
    write_samples(folder, found)
    return SliceStep(items=len(found), effective=opened.effective, seconds=time.perf_counter() - started)
