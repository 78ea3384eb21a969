"""What a run does for OpenVINO: export, the tokenizer gate, compression, where losses come from, latency."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from quantcurve.engines import benchmark_app, openvino_devices
from quantcurve.engines.base import Tokens
from quantcurve.engines.child import Child
from quantcurve.engines.openvino_layers import layers
from quantcurve.errors import BackendError, PrerequisiteError
from quantcurve.estimates import Missing
from quantcurve.latency_records import GenAiLatency, VariantLatency
from quantcurve.recipe import LoadedRecipe, Recipe, at, place
from quantcurve.recipe_accuracy import chosen
from quantcurve.recipe_openvino import FLOOR, OpenVinoVariant
from quantcurve.records import TokenizersResult
from quantcurve.results import LossSplit
from quantcurve.session import Session
from quantcurve.stages import (
    accuracy_control,
    controls,
    export,
    genai,
    ir_check,
    latency,
    loss_split,
    screen,
    tokenize,
    tokenizer_gate,
    validation_sets,
)
from quantcurve.stages import compress as compression
from quantcurve.stages.calibrate import Calibrated
from quantcurve.stages.resolve import Failed, Reference
from quantcurve.stages.scoring import Model
from quantcurve.texts import LoadedText


class Exported(NamedTuple):
    """The float32 IR, and the tokenizers that agreed on every text."""

    source: export.Ir
    tokenizers: TokenizersResult


class Latencies(NamedTuple):
    """What OpenVINO's own tools measured, by variant; empty where the recipe does not ask."""

    benchmark_app: Mapping[str, VariantLatency | Missing] = {}
    genai: Mapping[str, GenAiLatency | Missing] = {}


def names(recipe: Recipe) -> tuple[str, ...]:
    """Of what OpenVINO runs: the float32 IR first, if there are variants."""
    labels = tuple(v.label for v in recipe.variants.openvino)
    return (FLOOR, *labels) if labels else ()


def require_devices(loaded: LoadedRecipe, session: Session) -> None:
    """Refuse a recipe with variants for devices that are not there, before anything is made.

    Raises:
        PrerequisiteError: with every such variant's place in the recipe, and the devices that are there.
    """
    named: list[tuple[tuple[str | int, ...], str]] = []
    for i, variant in enumerate(loaded.recipe.variants.openvino):
        named.append((("variants", "openvino", i, "runtime", "device"), variant.runtime.device))
        if variant.accuracy_control and (judged := variant.accuracy_control.runtime):
            named.append((("variants", "openvino", i, "accuracy_control", "runtime", "device"), judged.device))
    if {device for _, device in named} <= {openvino_devices.ALWAYS}:
        return
    with Child("OpenVINO", session.log("devices")) as child:
        found = child.call(openvino_devices.available)
    reasons = [(where, openvino_devices.refusal(device, found)) for where, device in named]
    refused = [f"{place(loaded, *where)}: {reason}" for where, reason in reasons if reason]
    if refused:
        raise PrerequisiteError("\n".join(refused), "quantcurve doctor   # lists the devices that OpenVINO finds")


def require_tools(recipe: Recipe) -> None:
    """Look for what the last stages run, before anything is made for them.

    Raises:
        PrerequisiteError: benchmark_app is not installed, and the recipe asks for latency.
    """
    if recipe.variants.openvino and latency_plan(recipe):
        benchmark_app.program()


def export_checked(
    loaded: LoadedRecipe, texts: Sequence[LoadedText], reference: Reference, session: Session
) -> Exported | Failed | None:
    """The float32 IR if the recipe has OpenVINO variants, once its tokenizers are proved equal to llama.cpp's on the
    texts that are going to be measured. Calibration texts have no part in that: their ids come from llama.cpp alone.
    A model that cannot be exported, or that memory or disk are too small for, is `Failed`, since the other lane goes
    on.

    Raises:
        BackendError: a tokenizer differs.
        RecipeError: a rule for single layers has no effect.
    """
    if not loaded.recipe.variants.openvino:
        return None
    try:
        with session.timed("export"), at(loaded, "model", "source"):
            source = export.export(reference, session)
    except (BackendError, PrerequisiteError) as error:
        return export.failed(FLOOR, error, session.log("export"))
    with at(loaded, "variants", "openvino"):
        ir_check.check_rules(layers(source.path), loaded.recipe.variants.openvino)
    with session.timed(tokenizer_gate.STAGE), at(loaded, "model", "source"):
        content_hash = reference.step.file.content_hash
        agreed = tokenizer_gate.check(reference.path, content_hash, source.path, texts, session, reference.folder)
        return Exported(source, agreed)


def compress(
    loaded: LoadedRecipe,
    exported: Exported | Failed | None,
    calibrated: Calibrated | Failed | None,
    windowed: Sequence[tokenize.Windowed],
    reference: Reference,
    session: Session,
) -> list[export.Ir | Failed]:
    """The float32 IR and all variants made from it.

    Args:
        loaded: the recipe.
        exported: the float32 IR, or why there is none.
        calibrated: the calibration set, if one is needed.
        windowed: evaluation texts, which no validation of accuracy control may share.
        reference: whose tokenizer cuts the texts of validations.
        session: the run's surroundings.

    Raises:
        RecipeError: a validation's items or its function are wrong.
    """
    if exported is None:
        return []
    if isinstance(exported, Failed):
        reason = f"{FLOOR}, which it is made from, could not be exported"
        return [exported, *(Failed(v.label, reason, exported.log) for v in loaded.recipe.variants.openvino)]
    source, entries = exported.source, loaded.recipe.variants.openvino
    calibration = calibrated if isinstance(calibrated, Failed) else calibration_of(calibrated)
    apart = apart_from(windowed, calibrated if isinstance(calibrated, Calibrated) else None)
    with session.timed(accuracy_control.STAGE):
        prepared = validation_sets.prepare(loaded, source.path, apart, reference, session)
    with accuracy_control.references(source.path, session) as references:

        def controlled(entry: OpenVinoVariant, usable: compression.Calibration | None) -> export.Ir:
            assert entry.accuracy_control
            validation = chosen(entry.accuracy_control, loaded.recipe.validations)
            assert validation
            with session.timed(accuracy_control.STAGE):
                return controls.control(source, entry, usable, prepared[validation.name], references, session)

        with session.timed("compress"), at(loaded, "variants", "openvino"):
            return [source, *compression.compress(source, entries, calibration, session, controlled)]


def apart_from(windowed: Sequence[tokenize.Windowed], calibrated: Calibrated | None) -> list[Tokens]:
    """Windows that no validation of accuracy control may share a passage with."""
    return [w.windows for w in windowed] + ([calibrated.windows] if calibrated else [])


def calibration_of(calibrated: Calibrated | None) -> compression.Calibration | None:
    """A calibration set as NNCF takes it."""
    return compression.Calibration(calibrated.result.content_hash, calibrated.windows) if calibrated else None


def splits(
    recipe: Recipe,
    reference: Model,
    variants: Sequence[Model],
    windowed: Sequence[tokenize.Windowed],
    screened: screen.Screened,
    session: Session,
) -> dict[str, LossSplit | Missing]:
    """Where the OpenVINO variants' losses come from, if the recipe asks."""
    windows = recipe.openvino.split_windows
    if windows is None:
        return {}
    config = session.scoring_config(recipe.engine, recipe.windows.tokens)
    compared = [v for v in variants if v.name != FLOOR]
    task = loss_split.Task(reference, compared, windowed, screened.route, windows, config)
    with session.timed("loss_split"):
        return loss_split.measure(task, screened.configs, session)


def latencies(recipe: Recipe, models: Sequence[Model], session: Session) -> Latencies:
    """Latency of the OpenVINO variants among some models, as far as the recipe asks for it."""
    compared = [m for m in models if m.name in names(recipe)]
    plan = latency_plan(recipe)
    workload = recipe.benchmark.genai if recipe.benchmark else None
    with session.timed("latency"):
        by_tool = latency.measure(compared, plan, session) if plan and compared else {}
    with session.timed("genai"):
        by_genai = genai.measure(compared, workload, session) if workload and compared else {}
    return Latencies(by_tool, by_genai)


def latency_plan(recipe: Recipe) -> latency.LatencyPlan | None:
    """What benchmark_app is to time, if the recipe asks."""
    settings = recipe.benchmark.latency if recipe.benchmark else None
    if settings is None:
        return None
    return latency.LatencyPlan(contexts=settings.contexts, rounds=settings.rounds, seed=recipe.seed)
