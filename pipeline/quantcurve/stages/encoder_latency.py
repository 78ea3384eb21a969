"""Latency of encoders: one forward pass over random tokens, in rounds over all models so that drift hits all alike."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from quantcurve import machine
from quantcurve.encoder_results import EncoderLatency, EncoderWorkload
from quantcurve.engines.base import OpenVinoConfig
from quantcurve.engines.encoder import OpenEncoder
from quantcurve.engines.pool import ModelPool
from quantcurve.errors import BackendError, PrerequisiteError, reason
from quantcurve.estimates import Missing
from quantcurve.latency_records import BenchmarkAppReport
from quantcurve.metrics.statistics import median_estimate
from quantcurve.records import EngineIdentity, Frozen, MachineFacts
from quantcurve.session import Event, Session
from quantcurve.stages.encoder import EncoderIr

LOADS = 3
"""Times a model is loaded for the load time."""
APP_PASSES = 50
"""Iterations of benchmark_app at least: it has no rounds."""


class TimedEncoder(Frozen):
    """A model by its content, and how it is run."""

    content_hash: str
    config: OpenVinoConfig


class EncoderSpeedInputs(Frozen):
    """Key of a benchmark: all models together, since rounds over them are paired."""

    version: Literal[1] = 1
    kind: Literal["encoder"] = "encoder"
    models: tuple[TimedEncoder, ...]
    workload: EncoderWorkload
    rounds: int
    engine: EngineIdentity
    machine: MachineFacts


class EncoderSpeed(Frozen):
    """Raw times and peak memory of one model."""

    pass_ms: tuple[tuple[float, ...], ...]
    load_s: tuple[float, ...]
    peak_memory_bytes: int


class EncoderSpeedStep(Frozen):
    """What was measured, in the order of the key's models; a model that failed has its reason."""

    models: tuple[EncoderSpeed | Missing, ...]


class AppInputs(Frozen):
    """Key of benchmark_app's figure of one model."""

    version: Literal[1] = 1
    kind: Literal["encoder"] = "encoder"
    model: TimedEncoder
    workload: EncoderWorkload
    engine: EngineIdentity
    machine: MachineFacts


class AppStep(Frozen):
    """What benchmark_app said."""

    median_ms: float
    report: BenchmarkAppReport


def measure(
    models: Sequence[EncoderIr], workload: EncoderWorkload, rounds: int, with_app: bool, session: Session
) -> dict[str, EncoderLatency | Missing]:
    """Latency by name; a model that fails is Missing with the reason.

    Args:
        models: the reference first.
        workload: what a round does.
        rounds: over all models.
        with_app: whether benchmark_app is asked too.
        session: store, threads, logs.

    Raises:
        PrerequisiteError: benchmark_app is not installed, and is to be asked; or the disk is full.
    """
    inputs = speed_inputs(models, workload, rounds, session)
    work = partial(_measured, models, inputs, session)
    step, _ = session.make("benchmark", inputs, EncoderSpeedStep, work)
    found: dict[str, EncoderLatency | Missing] = {}
    for i, (model, speed) in enumerate(zip(models, step.models, strict=True)):
        session.progress(Event("latency", i, len(models), model.name))
        found[model.name] = speed if isinstance(speed, Missing) else _latency(model, speed, workload, with_app, session)
    session.progress(Event("latency", len(models), len(models), "done"))
    return found


def speed_inputs(
    models: Sequence[EncoderIr], workload: EncoderWorkload, rounds: int, session: Session
) -> EncoderSpeedInputs:
    """Key of the benchmark of these models."""
    assert session.openvino
    return EncoderSpeedInputs(
        models=tuple(_timed(m, session) for m in models),
        workload=workload,
        rounds=rounds,
        engine=session.openvino,
        machine=machine.facts(),
    )


def is_measured(models: Sequence[EncoderIr], workload: EncoderWorkload, rounds: int, session: Session) -> bool:
    """Whether the store has the benchmark of these models; writes nothing."""
    return session.peek("benchmark", speed_inputs(models, workload, rounds, session), EncoderSpeedStep) is not None


def is_by_app(model: EncoderIr, workload: EncoderWorkload, session: Session) -> bool:
    """Whether the store has benchmark_app's figure of a model; writes nothing."""
    return session.peek("latency", _app_inputs(model, workload, session), AppStep) is not None


def _timed(model: EncoderIr, session: Session) -> TimedEncoder:
    return TimedEncoder(content_hash=model.step.file.content_hash, config=model.config(session.threads))


def _latency(
    model: EncoderIr, speed: EncoderSpeed, workload: EncoderWorkload, with_app: bool, session: Session
) -> EncoderLatency:
    app = _by_app(model, workload, session) if with_app else None
    return EncoderLatency(
        pass_ms=median_estimate(np.array([np.median(times) for times in speed.pass_ms]), "ms"),
        samples_ms=speed.pass_ms,
        load_s=median_estimate(np.array(speed.load_s), "s"),
        peak_memory_bytes=speed.peak_memory_bytes,
        benchmark_app_ms=app.median_ms if isinstance(app, AppStep) else app,
        report=app.report if isinstance(app, AppStep) else None,
    )


def _by_app(model: EncoderIr, workload: EncoderWorkload, session: Session) -> AppStep | Missing:
    inputs = _app_inputs(model, workload, session)
    try:
        return session.make("latency", inputs, AppStep, partial(_run_app, model, inputs.workload, session))[0]
    except BackendError as error:
        return Missing(missing=reason(error, model.name))


def _app_inputs(model: EncoderIr, workload: EncoderWorkload, session: Session) -> AppInputs:
    assert session.openvino
    longer = workload.model_copy(update={"passes": max(workload.passes, APP_PASSES)})
    return AppInputs(model=_timed(model, session), workload=longer, engine=session.openvino, machine=machine.facts())


def _run_app(model: EncoderIr, workload: EncoderWorkload, session: Session, _: Path) -> AppStep:
    opened = _open(model, session)
    try:
        with session.store.scratch("benchmark_app") as folder:
            run = opened.run_tool(workload, folder, session.log(f"{model.name}.benchmark_app"))
    finally:
        opened.close()
    return AppStep(median_ms=run.median_ms, report=run.report)


def _open(model: EncoderIr, session: Session) -> OpenEncoder:
    return OpenEncoder(model.path, model.config(session.threads), model.name, session.log(model.name))


def _measured(models: Sequence[EncoderIr], inputs: EncoderSpeedInputs, session: Session, _: Path) -> EncoderSpeedStep:
    by_name = {m.name: m for m in models}
    rounds: dict[str, list[tuple[float, ...]]] = {name: [] for name in by_name}
    loads: dict[str, list[float]] = {}
    peaks = dict.fromkeys(by_name, 0)
    lost: dict[str, Missing] = {}
    sizes = {name: 2 * model.step.file.size_bytes for name, model in by_name.items()}
    with ModelPool(lambda name: _open(by_name[name], session), sizes.__getitem__) as pool:
        for number in range(-1, inputs.rounds):
            for i, name in enumerate(by_name):
                if name in lost:
                    continue
                done = len(by_name) * (number + 1) + i
                session.progress(Event("benchmark", done, len(by_name) * (inputs.rounds + 1), name))
                try:
                    cold = not pool.is_open(name)
                    model = pool.get(name)
                    if number < 0:
                        loads[name] = [model.time_load() for _ in range(LOADS)]
                    if cold or number < 0:
                        model.warm_up(inputs.workload)
                        pool.note_size(name)
                    if number >= 0:
                        rounds[name].append(tuple(model.time(inputs.workload)))
                    peaks[name] = max(peaks[name], model.peak_memory_bytes())
                except (BackendError, PrerequisiteError) as error:
                    lost[name] = Missing(missing=reason(error, name))
                    pool.drop(name)
    return EncoderSpeedStep(
        models=tuple(
            lost.get(n) or EncoderSpeed(pass_ms=tuple(rounds[n]), load_s=tuple(loads[n]), peak_memory_bytes=peaks[n])
            for n in by_name
        )
    )
