"""W8A8 embedding models under accuracy control, through the store; the search is that of language models."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from quantcurve import encoder_validation
from quantcurve.encoder_recipe import LoadedEncoder, at
from quantcurve.encoder_texts import Pairs, Sentences
from quantcurve.engines.base import OpenVinoRuntime
from quantcurve.errors import RecipeError
from quantcurve.recipe_openvino import OpenVinoVariant
from quantcurve.session import Session
from quantcurve.stages import export, quantised
from quantcurve.stages.accuracy_control import STAGE, Prepared, References, config_of, controlled
from quantcurve.stages.control_run import restore
from quantcurve.stages.controls import ControlInputs
from quantcurve.stages.encoder import EncoderIr, EncoderStep, copy_beside, quantised_inputs, written
from quantcurve.stages.restorable import Quantizers
from quantcurve.validation_items import Items


def prepare(loaded: LoadedEncoder, pairs: Pairs, context_tokens: int) -> Prepared:
    """The validation of a recipe, its pairs drawn at random.

    Args:
        loaded: the recipe.
        pairs: all that are graded.
        context_tokens: longest text that the model takes.

    Raises:
        RecipeError: there are too few pairs, or the function's file cannot be read.
    """
    recipe, base = loaded.recipe, loaded.path.parent
    validation, every = recipe.validation, pairs.items
    wanted = validation.items + validation.held_out
    with at(loaded, "validation"):
        if wanted > len(every):
            raise RecipeError(
                f"items: {validation.items} and held_out: {validation.held_out} ask for {wanted} pairs, and "
                f"{pairs.source} has {len(every)}; ask for fewer, or name a file with more under similarity"
            )
        function_hash = encoder_validation.source_hash(validation.function, base)
        encoder_validation.load(validation.function, base, every, Path())
    chosen = [every[i] for i in np.random.default_rng(recipe.seed).permutation(len(every))[:wanted]]
    items = Items(tuple(chosen[: validation.items]), tuple(chosen[validation.items :]), 0, 0)
    return Prepared(validation, items, function_hash, base, context_tokens)


def control(
    source: EncoderIr,
    entry: OpenVinoVariant,
    sentences: Sentences,
    prepared: Prepared,
    references: References,
    session: Session,
) -> EncoderIr:
    """A variant's IR with layers restored, and what was done for it.

    Args:
        source: the float32 IR.
        entry: a variant with accuracy control.
        sentences: to calibrate on.
        prepared: the validation.
        references: what the float reference gets.
        session: the run's surroundings.

    Raises:
        BackendError: the budget cannot be kept, or an engine failed.
        RecipeError: the validation function failed.
        PrerequisiteError: too little disk.
    """
    work = partial(_control, source, entry, sentences, prepared, references, session)
    step, artifact = session.make(STAGE, _inputs(source, entry, sentences, prepared, session), EncoderStep, work)
    return EncoderIr(entry.label, artifact.folder, step, entry.as_run, entry)


def find(
    source: EncoderIr, entry: OpenVinoVariant, sentences: Sentences, prepared: Prepared, session: Session
) -> EncoderIr | None:
    """A variant's IR if the store has it; writes nothing."""
    found = session.peek(STAGE, _inputs(source, entry, sentences, prepared, session), EncoderStep)
    return EncoderIr(entry.label, found[1], found[0], entry.as_run, entry) if found else None


def _inputs(
    source: EncoderIr, entry: OpenVinoVariant, sentences: Sentences, prepared: Prepared, session: Session
) -> ControlInputs:
    assert session.openvino
    function_hash, items_hash = prepared.identity
    return ControlInputs(
        source_hash=source.step.file.content_hash,
        beside=source.step.beside,
        variant=entry.model_copy(update={"name": None, "runtime": entry.runtime.without_generation()}),
        function_hash=function_hash,
        items_hash=items_hash,
        calibration_hash=sentences.content_hash,
        threads=session.threads,
        engine=session.openvino,
        packages=export.packages(),
    )


def _control(
    source: EncoderIr,
    entry: OpenVinoVariant,
    sentences: Sentences,
    prepared: Prepared,
    references: References,
    session: Session,
    draft: Path,
) -> EncoderStep:
    task = controlled(entry, prepared, references.of(prepared))
    made = quantised.quantised(quantised_inputs(source, entry, sentences), source.path, sentences.texts, session)
    device = (task.control.runtime or entry.as_run).device
    floats = config_of(OpenVinoRuntime(device=device, execution="accuracy"), prepared, session)
    model = Quantizers(source.path, made, floats)
    found = restore(task, model, made.step.content_hash, draft, session)
    copy_beside(source, draft)
    return written(draft, source.step.pipeline, session).model_copy(update={"control": found})
