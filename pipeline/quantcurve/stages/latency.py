"""Latency of IRs at exact contexts by OpenVINO's benchmark_app, checked against a direct loop.

Decoding is timed in the deployed form: the stateful IR, one process a round, in which one sequence grows from context
to context. Prefill is timed on the stateless twin at an empty cache. The same passes run in the direct loop on the
deployed model, so that a round has both within seconds: after the tool in one round, before it in the next. Rounds go
over all models, so that drift hits all alike. Every round of every model is a step of its own in the store: a run that
was stopped goes on, more rounds add to those that are there, and a model that fails takes no other with it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from quantcurve import machine
from quantcurve.engines.base import OpenVinoConfig, OpenVinoRuntime
from quantcurve.engines.benchmark_app import DeployedModel, ToolRun
from quantcurve.engines.passes import Pass, decode_passes, decode_times, prefill_passes
from quantcurve.engines.pool import ModelPool
from quantcurve.errors import BackendError, PrerequisiteError, reason
from quantcurve.estimates import Figure, Missing
from quantcurve.latency_records import (
    DECODE_STEPS,
    Agreement,
    ContextLatency,
    ContextSamples,
    LatencyRound,
    VariantLatency,
)
from quantcurve.metrics.statistics import log_ratio_estimate, median_estimate
from quantcurve.records import EngineIdentity, Frozen, MachineFacts
from quantcurve.session import Event, Session
from quantcurve.stages.scoring import Model

Tool = Callable[[Sequence[Pass], int, Path, Path], ToolRun]
"""A way to run benchmark_app: passes, seed, folder, log."""
PREFILLS = 2
"""Timed prefills of every context in a round, after one that is not counted (kernels are made for its shape)."""
AGREE = (0.9, 1.1)
"""benchmark_app over the direct loop: the interval of the ratio must meet this one."""
NOISE = 0.1
"""Width of the ratio's interval, as a share of the ratio, beyond which nothing can be said."""


class LatencyPlan(Frozen):
    """What is timed."""

    contexts: tuple[int, ...]
    rounds: int
    decode_steps: int = DECODE_STEPS
    prefills: int = PREFILLS
    seed: int = 0


class LatencyInputs(Frozen):
    """Key of one round of one model."""

    version: Literal[2] = 2
    content_hash: str
    config: OpenVinoConfig
    contexts: tuple[int, ...]
    decode_steps: int
    prefills: int
    seed: int
    round: int
    engine: EngineIdentity
    machine: MachineFacts


def measure(models: Sequence[Model], plan: LatencyPlan, session: Session) -> dict[str, VariantLatency | Missing]:
    """Latency of IRs by name; a model that fails, or that the disk is too small for, is Missing with the reason.

    Args:
        models: their runtime is an OpenVinoRuntime; `path` is the IR's folder.
        plan: what is timed.
        session: store, threads, logs.

    Raises:
        RecipeError: contexts that are too close, or not ascending.
    """
    decode_passes(plan.contexts, plan.decode_steps)
    rounds: dict[str, list[LatencyRound]] = {m.name: [] for m in models}
    failed: dict[str, Missing] = {}
    by_name = {m.name: m for m in models}

    def opened(name: str) -> DeployedModel:
        model = by_name[name]
        return DeployedModel(model.path, timing_config(model, plan, session), name, session.log(name))

    total = plan.rounds * len(models)
    # The tool holds the model a second time, and its twin.
    with ModelPool(opened, lambda name: int(3 * by_name[name].size_bytes)) as pool:
        for number in range(plan.rounds):
            for i, model in enumerate(models):
                session.progress(Event("latency", number * len(models) + i, total, model.name))
                if model.name in failed:
                    continue
                try:
                    rounds[model.name].append(_round(model, plan, number, pool.get, session))
                except (BackendError, PrerequisiteError) as error:
                    failed[model.name] = Missing(missing=reason(error, model.name))
                    pool.drop(model.name)
    session.progress(Event("latency", total, total, "done"))
    return {m.name: failed.get(m.name) or summary(rounds[m.name]) for m in models}


def timing_config(model: Model, plan: LatencyPlan, session: Session) -> OpenVinoConfig:
    """How a model is opened."""
    assert isinstance(model.runtime, OpenVinoRuntime)
    longest = max(plan.contexts) + plan.decode_steps
    return OpenVinoConfig(threads=session.threads, window_tokens=longest, runtime=model.runtime.without_generation())


def latency_inputs(model: Model, plan: LatencyPlan, number: int, session: Session) -> LatencyInputs:
    """Key of one round of one model."""
    return LatencyInputs(
        content_hash=model.content_hash,
        config=timing_config(model, plan, session),
        contexts=plan.contexts,
        decode_steps=plan.decode_steps,
        prefills=plan.prefills,
        seed=plan.seed,
        round=number,
        engine=session.engine_of(model.runtime),
        machine=machine.facts(),
    )


def _round(
    model: Model, plan: LatencyPlan, number: int, opened: Callable[[str], DeployedModel], session: Session
) -> LatencyRound:
    inputs = latency_inputs(model, plan, number, session)
    log = session.log(f"{model.name}.benchmark_app")

    def work(draft: Path) -> LatencyRound:
        try:
            return _timed(opened(model.name), plan, number, draft, log)
        finally:
            for folder in ("decode", "prefill"):
                shutil.rmtree(draft / folder, ignore_errors=True)

    return session.make("latency", inputs, LatencyRound, work)[0]


def _timed(model: DeployedModel, plan: LatencyPlan, number: int, draft: Path, log: Path) -> LatencyRound:
    decode = decode_passes(plan.contexts, plan.decode_steps)
    prefill = prefill_passes(plan.contexts, 1 + plan.prefills)
    for folder in ("decode", "prefill"):
        (draft / folder).mkdir()

    def by_both(tool: Tool, passes: Sequence[Pass], folder: Path) -> tuple[ToolRun, list[float]]:
        """The tool and the direct loop, whichever goes first in this round."""
        if number % 2 == 0:
            return tool(passes, plan.seed, folder, log), model.time_passes(passes, plan.seed)
        by_loop = model.time_passes(passes, plan.seed)
        return tool(passes, plan.seed, folder, log), by_loop

    decoded, decoded_by_loop = by_both(model.run_tool, decode, draft / "decode")
    prefilled, prefilled_by_loop = by_both(model.run_tool_on_twin, prefill, draft / "prefill")
    contexts = tuple(
        ContextSamples(
            context_tokens=context,
            prefill_ms=_warm(prefill, prefilled.times_ms, context),
            decode_ms=decode_times(decode, decoded.times_ms, context, plan.decode_steps),
            loop_prefill_ms=_warm(prefill, prefilled_by_loop, context),
            loop_decode_ms=decode_times(decode, decoded_by_loop, context, plan.decode_steps),
        )
        for context in plan.contexts
    )
    return LatencyRound(contexts=contexts, decode=decoded.report, prefill=prefilled.report)


def _warm(passes: Sequence[Pass], times_ms: Sequence[float], context: int) -> tuple[float, ...]:
    """Prefills of a context but for the first."""
    return tuple(t for p, t in zip(passes, times_ms, strict=True) if p.tokens == context)[1:]


def summary(rounds: Sequence[LatencyRound]) -> VariantLatency:
    """Figures over rounds; each round counts by the median of its passes.

    rounds: at least one, of the same contexts.
    """
    last = rounds[-1]
    return VariantLatency(
        contexts=tuple(context_latency([r.contexts[i] for r in rounds]) for i in range(len(last.contexts))),
        rounds=tuple(r.contexts for r in rounds),
        reports=(last.decode, last.prefill),
    )


def context_latency(rounds: Sequence[ContextSamples]) -> ContextLatency:
    """Figures at one context over rounds: medians, and the geometric mean of the paired ratios to the direct loop."""

    def medians(of: Callable[[ContextSamples], Sequence[float]]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        return np.array([np.median(of(r)) for r in rounds])

    prefill, decode = medians(lambda r: r.prefill_ms), medians(lambda r: r.decode_ms)
    prefill_ratio = log_ratio_estimate(prefill, medians(lambda r: r.loop_prefill_ms), "ratio of times")
    decode_ratio = log_ratio_estimate(decode, medians(lambda r: r.loop_decode_ms), "ratio of times")
    return ContextLatency(
        context_tokens=rounds[0].context_tokens,
        prefill_ms=median_estimate(prefill, "ms"),
        decode_ms_per_token=median_estimate(decode, "ms"),
        ratio_to_direct_loop=decode_ratio,
        agreement=agreement(decode_ratio),
        prefill_ratio_to_direct_loop=prefill_ratio,
        prefill_agreement=agreement(prefill_ratio),
    )


def agreement(ratio: Figure) -> Agreement:
    """What an interval of the ratio to the direct loop says; fewer than three rounds have none."""
    if isinstance(ratio, Missing):
        return "not checked"
    if ratio.low > AGREE[1] or ratio.high < AGREE[0]:
        return "disagrees"
    return "too noisy" if ratio.high - ratio.low > NOISE * ratio.value else "agrees"
