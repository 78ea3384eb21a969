"""Accuracy control in the child: models in which layers can be restored, judged by a validation function.

One process holds one model at a time, and the function that judges it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from quantcurve import encoder_validation, validation_loading
from quantcurve.engines import encoder_child, openvino_child, quantizer_groups
from quantcurve.engines.base import OpenVinoConfig, Tokens
from quantcurve.engines.deployed_runner import DeployedRunner
from quantcurve.engines.encoder_child import CompiledEncoder
from quantcurve.engines.encoder_runner import TextEncoder, TextTokenizer
from quantcurve.engines.encoder_switch import SwitchedEncoder
from quantcurve.engines.judging import Judge, Judged
from quantcurve.engines.openvino_switch import SwitchedRunner
from quantcurve.engines.openvino_weight_swap import SwapRunner
from quantcurve.engines.runner import Runner
from quantcurve.engines.validation_model import OpenModel
from quantcurve.errors import BackendError
from quantcurve.recipe_openvino import OpenVinoVariant
from quantcurve.records import OpenVinoEffective
from quantcurve.validation import Encoder, LanguageModel, ValidationFunction

if TYPE_CHECKING:
    from quantcurve.engines.accuracy_outcome import Outcome, Settings

AnyRunner = Runner | CompiledEncoder | SwitchedEncoder
CHECKED_ITEMS = 8
"""On which a function is tried several times."""
LOG = "accuracy_control.log"

_judge: Judge | None = None
_function: ValidationFunction | None = None
_runner: AnyRunner | None = None


def judge_by(judge: Judge) -> None:
    """Load the function of this process.

    Raises:
        RecipeError: it cannot be loaded.
    """
    global _judge, _function
    if judge.encoder:
        _function = encoder_validation.load(judge.function, judge.base, judge.items, judge.reference)
    else:
        _function = validation_loading.load(judge.function, judge.base)
    _judge = judge


def reference_values(source: Path, config: OpenVinoConfig) -> list[float]:
    """Values of the float reference on all items, once it is shown on the first ones that they are always the same; its
    logits, or an encoder's embeddings, are kept.

    Raises:
        RecipeError: the function failed, or gives other values at another time, in another order or one by one.
        BackendError: OpenVINO failed.
    """
    judge, function = _judging()
    open_folder(source, config)
    if judge.scratch:
        openvino_child.score(np.stack([item.tokens for item in judge.items]), None, judge.scratch)
    with _model(_open_runner()) as model:
        if isinstance(model, TextEncoder) and judge.reference:
            encoder_validation.keep(model.embed, judge.items, judge.reference)
        label, first, rest = _label(judge), judge.items[:CHECKED_ITEMS], judge.items[CHECKED_ITEMS:]
        found = validation_loading.check_deterministic(function, label, model, first, LOG)
        return found + (validation_loading.values(function, label, model, rest, LOG) if rest else [])


def open_folder(folder: Path, config: OpenVinoConfig) -> OpenVinoEffective:
    """Open an IR as it is deployed, in place of what this process held; see openvino_child.open_model."""
    global _runner
    close()
    if _judging()[0].encoder:
        _runner, effective = encoder_child.compiled(folder, config)
        return effective
    _runner = runner = DeployedRunner(folder, config)
    return runner.effective


def open_switched(
    quantised: Path, source: Path, switchable: Sequence[int], fixed: Sequence[int], config: OpenVinoConfig
) -> None:
    """Compile a quantised graph in which groups can be restored, and others are for good; see SwitchedRunner."""
    global _runner
    close()
    kind = SwitchedEncoder if _judging()[0].encoder else SwitchedRunner
    _runner = kind(quantised, source, quantizer_groups.load(quantised).groups, switchable, config, fixed)


def open_swapped(source: Path, forms: Mapping[str, Path], config: OpenVinoConfig) -> None:
    """Compile a float graph whose weights can be those of several IRs; see SwapRunner."""
    global _runner
    close()
    _runner = SwapRunner(source, forms, config)


def judge_switched(restored: Sequence[int], items: Sequence[int]) -> Judged:
    """Values of the switchable model with groups restored, for items by their places."""
    runner = _open_runner()
    assert isinstance(runner, SwitchedRunner | SwitchedEncoder)
    runner.restore(restored)
    return judge_open(items)


def judge_swapped(assignment: Mapping[str, str], items: Sequence[int]) -> Judged:
    """Values of the model whose weights are in these forms, by the layers' constants, for items by their places."""
    runner = _open_runner()
    assert isinstance(runner, SwapRunner)
    runner.use(assignment)
    return judge_open(items)


def judge_open(items: Sequence[int]) -> Judged:
    """Values of the model that is open, for items by their places."""
    return _judged(_open_runner(), items)


def nncf_control(source: Path, target: Path, variant: OpenVinoVariant, windows: Tokens, settings: Settings) -> Outcome:
    """NNCF's own accuracy control; see openvino_accuracy_nncf.run."""
    from quantcurve.engines import openvino_accuracy_nncf

    close()
    return openvino_accuracy_nncf.run(
        source, target, variant, windows, lambda runner, items: _judged(runner, items).values, settings
    )


def close() -> None:
    """Free the model of this process."""
    global _runner
    _runner = None
    openvino_child.close_model()


def _judged(runner: AnyRunner, items: Sequence[int]) -> Judged:
    judge, function = _judging()
    started = time.perf_counter()
    with _model(runner) as model:
        values = validation_loading.values(function, _label(judge), model, [judge.items[i] for i in items], LOG)
    return Judged(values, time.perf_counter() - started)


@contextmanager
def _model(runner: AnyRunner) -> Iterator[LanguageModel | Encoder]:
    judge, _ = _judging()
    if isinstance(runner, CompiledEncoder | SwitchedEncoder):
        yield TextEncoder(runner, TextTokenizer(judge.texts))
        return
    numbers = [item.number for item in judge.items]
    with closing(OpenModel(runner, judge.scratch, numbers, judge.texts)) as model:
        yield model


def _label(judge: Judge) -> str:
    return f"validation {judge.function}"


def _judging() -> tuple[Judge, ValidationFunction]:
    if _judge is None or _function is None:
        raise BackendError("no validation function is loaded in this process")
    return _judge, _function


def _open_runner() -> AnyRunner:
    if _runner is None:
        raise BackendError("no model is open in this process")
    return _runner
