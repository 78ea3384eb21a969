"""Speed on this machine by llama-bench's protocol, in rounds over all models so that drift hits all alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from quantcurve import machine
from quantcurve.energy import joules_per_token
from quantcurve.engines.base import CacheTypes, LlamaCppConfig, Runtime
from quantcurve.engines.opening import Opened, open_model
from quantcurve.engines.pool import ModelPool
from quantcurve.errors import BackendError
from quantcurve.estimates import Figure, Missing
from quantcurve.metrics.statistics import median_estimate
from quantcurve.metrics.step_latency import quantile_estimate
from quantcurve.recipe import Benchmark, Recipe
from quantcurve.records import EffectiveConfig, EngineIdentity, Frozen, MachineFacts, SpeedSamples, Workload
from quantcurve.results import Speed
from quantcurve.session import Event, Session
from quantcurve.stages.scoring import Model

LOADS = 3
"""Times a model is loaded for the load time."""


class TimedModel(Frozen):
    """A model by its content, and how it is run."""

    content_hash: str
    runtime: Runtime
    engine: EngineIdentity


class SpeedInputs(Frozen):
    """Key of a benchmark: all models together, since rounds over them are paired."""

    version: Literal[6] = 6
    models: tuple[TimedModel, ...]
    config: LlamaCppConfig
    workload: Workload
    repetitions: int
    machine: MachineFacts


class ModelSpeed(Frozen):
    """Raw seconds and peak memory of one model."""

    samples: SpeedSamples
    peak_memory_bytes: int
    config: EffectiveConfig


class SpeedStep(Frozen):
    """What was measured, in the order of the key's models."""

    models: tuple[ModelSpeed, ...]


class Timed(NamedTuple):
    """Speed and configuration by model name, and the workload; a model whose engine failed has no configuration."""

    speeds: dict[str, Speed | Missing]
    configs: dict[str, EffectiveConfig]
    workload: Workload


class _ModelError(Exception):
    """One model's engine failed."""

    def __init__(self, name: str, cause: BackendError) -> None:
        super().__init__(name)
        self.name, self.cause = name, cause


def workload_of(recipe: Recipe, bench: Benchmark) -> Workload:
    """What one repetition does."""
    return Workload(
        prompt_tokens=bench.prompt_tokens,
        decode_tokens=bench.decode_tokens,
        decode_context_tokens=bench.decode_context_tokens,
        seed=recipe.seed,
    )


def timing_config(recipe: Recipe, bench: Benchmark, session: Session) -> LlamaCppConfig:
    """How models are opened for timing: one sequence, a context that just holds the workload (llama-bench)."""
    return LlamaCppConfig(
        device=session.device,
        threads=session.threads,
        window_tokens=max(bench.prompt_tokens, bench.decode_context_tokens + bench.decode_tokens),
        batch_tokens=recipe.engine.batch_tokens,
        micro_batch_tokens=recipe.engine.micro_batch_tokens,
        flash_attention=recipe.engine.flash_attention,
    )


def speed_inputs(recipe: Recipe, bench: Benchmark, models: Sequence[Model], session: Session) -> SpeedInputs:
    """Key of the benchmark of these models."""

    def key(model: Model) -> TimedModel:
        runtime = model.runtime if isinstance(model.runtime, CacheTypes) else model.runtime.without_generation()
        return TimedModel(content_hash=model.content_hash, runtime=runtime, engine=session.engine_of(runtime))

    return SpeedInputs(
        models=tuple(key(m) for m in models),
        config=timing_config(recipe, bench, session),
        workload=workload_of(recipe, bench),
        repetitions=bench.repetitions,
        machine=machine.facts(),
    )


def benchmark(recipe: Recipe, bench: Benchmark | None, models: Sequence[Model], session: Session) -> Timed | None:
    """Time all models, also discarded ones: the curve shows what they would buy. None if the recipe leaves speed out.

    A variant whose engine fails is Missing, and the rounds are begun anew over the others, since they are paired.

    Args:
        recipe: for the engine's settings and the seed.
        bench: what is timed.
        models: the reference first.
        session: store, threads, logs.

    Raises:
        BackendError: the engine died on the reference.
    """
    if bench is None:
        return None
    speeds: dict[str, Speed | Missing] = {}
    while True:
        left = [m for m in models if m.name not in speeds]
        inputs = speed_inputs(recipe, bench, left, session)
        try:
            step, _ = session.make("benchmark", inputs, SpeedStep, partial(_measured, inputs, left, session))
            break
        except _ModelError as error:
            if error.name == models[0].name:
                raise error.cause from error
            speeds[error.name] = Missing(missing=error.cause.message.removeprefix(f"{error.name}: "))
    configs = {m.name: s.config for m, s in zip(left, step.models, strict=True)}
    for model, measured in zip(left, step.models, strict=True):
        speeds[model.name] = speed(measured, inputs.workload)
    return Timed(speeds, configs, inputs.workload)


def speed(measured: ModelSpeed, workload: Workload) -> Speed:
    """Medians with their intervals from raw seconds."""
    samples = measured.samples
    return Speed(
        prefill_tokens_per_s=median_estimate(workload.prompt_tokens / np.array(samples.prefill_s), "tokens/s"),
        decode_tokens_per_s=median_estimate(workload.decode_tokens / np.array(samples.decode_s), "tokens/s"),
        time_to_first_token_s=median_estimate(np.array(samples.first_token_s), "s"),
        load_time_s=median_estimate(np.array(samples.load_s), "s"),
        peak_memory_bytes=measured.peak_memory_bytes,
        samples=samples,
        decode_latency_p95_s=quantile_estimate(samples.decode_steps_s, 0.95),
        decode_latency_p99_s=quantile_estimate(samples.decode_steps_s, 0.99),
        decode_energy_j_per_token=_energy(samples, workload),
    )


def _energy(samples: SpeedSamples, workload: Workload) -> Figure:
    found = joules_per_token(samples, workload.decode_tokens)
    return found if isinstance(found, Missing) else median_estimate(np.array(found), "J/token")


def _measured(inputs: SpeedInputs, models: Sequence[Model], session: Session, _: Path) -> SpeedStep:
    by_name = {m.name: m for m in models}
    rounds: dict[str, list[SpeedSamples]] = {m.name: [] for m in models}
    loads: dict[str, list[float]] = {m.name: [] for m in models}
    peaks = dict.fromkeys(by_name, 0)
    configs: dict[str, EffectiveConfig] = {}
    total = len(models) * (inputs.repetitions + 1)

    def opened(name: str) -> Opened:
        model = by_name[name]
        return open_model(model.path, inputs.config.of(model.runtime), name, session.log(name))

    with ModelPool(opened, lambda name: int(1.2 * by_name[name].size_bytes)) as pool:
        for i, name in enumerate(by_name):
            session.progress(Event("benchmark", i, total, name))
            with _of_model(name):
                loads[name] = [pool.get(name).time_load() for _ in range(LOADS)]
                pool.get(name).warm_up(inputs.workload)
                pool.note_size(name)
        for repetition in range(inputs.repetitions):
            for i, name in enumerate(by_name):
                session.progress(Event("benchmark", len(models) * (repetition + 1) + i, total, name))
                with _of_model(name):
                    cold = not pool.is_open(name)
                    loaded = pool.get(name)
                    if cold:
                        loaded.warm_up(inputs.workload)
                    rounds[name].append(loaded.time(inputs.workload))
                    peaks[name] = max(peaks[name], loaded.peak_memory_bytes())
                    configs[name] = loaded.effective_config
    session.progress(Event("benchmark", total, total, "done"))
    joined = (
        ModelSpeed(samples=_joined(rounds[n], loads[n]), peak_memory_bytes=peaks[n], config=configs[n]) for n in by_name
    )
    return SpeedStep(models=tuple(joined))


@contextmanager
def _of_model(name: str) -> Iterator[None]:
    """Say which model an engine's error belongs to."""
    try:
        yield
    except BackendError as error:
        raise _ModelError(name, error) from error


def _joined(rounds: Sequence[SpeedSamples], loads: Sequence[float]) -> SpeedSamples:
    return SpeedSamples(
        prefill_s=tuple(s for r in rounds for s in r.prefill_s),
        decode_s=tuple(s for r in rounds for s in r.decode_s),
        first_token_s=tuple(s for r in rounds for s in r.first_token_s),
        load_s=tuple(loads),
        decode_steps_s=tuple(steps for r in rounds for steps in r.decode_steps_s),
        decode_energy_j=tuple(j for r in rounds for j in r.decode_energy_j),
        no_energy=next((r.no_energy for r in rounds if r.no_energy), ""),
    )
