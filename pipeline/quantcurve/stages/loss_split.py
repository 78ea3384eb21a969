"""Where an OpenVINO variant's loss comes from: weights, activations, KV cache, each measured with the others off or on.

    weights       its weights run exactly: float32, float32 cache, no dynamic quantization
    activations   as deployed, less the same with float32 arithmetic and no dynamic quantization
    cache         as deployed, less the same with a cache that is not quantised
    interaction   as deployed, less the three

All in mean KL divergence from the reference, token by token on the same windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from quantcurve.engines.base import Doubles, LlamaCppConfig, OpenVinoRuntime
from quantcurve.errors import BackendError
from quantcurve.estimates import Missing
from quantcurve.metrics.statistics import mean_estimate
from quantcurve.records import EffectiveConfig, OpenVinoEffective
from quantcurve.results import LossSplit
from quantcurve.session import Event, Session
from quantcurve.stages.figures import NATS, not_negative
from quantcurve.stages.route import Chunk, Route, chunks
from quantcurve.stages.scoring import Kept, Model, Scorer
from quantcurve.stages.tokenize import Windowed

PLAIN_CACHE = {"f32", "f16", "bf16"}
"""Precisions of a cache that is not quantised."""
PARTS = ("exact", "float_arithmetic", "plain_cache")


class Task(NamedTuple):
    """What is split, and on which windows."""

    reference: Model
    variants: Sequence[Model]
    texts: Sequence[Windowed]
    along: Route
    windows: int
    """At most so many, the first of the route."""
    config: LlamaCppConfig


def measure(task: Task, configs: dict[str, EffectiveConfig], session: Session) -> dict[str, LossSplit | Missing]:
    """The split of every OpenVINO variant, by name.

    Args:
        task: what.
        configs: as read back when the variants were scored, by name.
        session: the run's surroundings.

    Raises:
        BackendError: the reference cannot be scored; what fails for a variant is `Missing`.
        PrerequisiteError: too little disk for the logits of a chunk.
    """
    wanted = [v for v in task.variants if isinstance(v.runtime, OpenVinoRuntime)]
    taken = task.along._replace(order=task.along.order[: task.windows])
    parts = chunks(task.texts, taken, 1)
    cells = {v.name: _cells(v, configs.get(v.name)) for v in wanted}
    models = {m.name: m for v in wanted for m in cells[v.name].values()} | {task.reference.name: task.reference}
    progress = _Progress(session, len(parts) * len(models))
    failed: dict[str, Missing] = {}
    found: dict[str, dict[str, list[Doubles]]] = {v.name: {cell: [] for cell in cells[v.name]} for v in wanted}
    if not wanted:
        return {}
    vocabulary = task.texts[0].step.vocabulary
    with Scorer("loss_split", list(models.values()), vocabulary, task.config, session, progress) as scorer:
        for chunk in parts:
            there = all(scorer.cached(m, chunk, task.reference) for m in models.values() if m is not task.reference)
            with scorer.keep(task.reference, chunk, not there) as base:
                for variant in wanted:
                    if variant.name not in failed:
                        _score(scorer, variant.name, cells[variant.name], chunk, base, found, failed)
    session.progress(Event("loss_split", progress.total, progress.total, "done"))
    return {v.name: failed.get(v.name) or _split(found[v.name], task) for v in wanted}


class _Progress:
    """Counts scored chunks."""

    def __init__(self, session: Session, total: int) -> None:
        self.session, self.total, self.done = session, total, 0

    def __call__(self, name: str, windows: int) -> None:
        self.done = min(self.total, self.done + bool(windows))
        self.session.progress(Event("loss_split", self.done, self.total, name))


def _cells(variant: Model, config: EffectiveConfig | None) -> dict[str, Model]:
    """The variant as deployed, and with one thing after the other switched off. A cell that is the variant as it is,
    since the thing is off already, is that very model."""
    deployed = variant.runtime
    assert isinstance(deployed, OpenVinoRuntime) and isinstance(config, OpenVinoEffective)
    exact = OpenVinoRuntime(device=deployed.device, execution="accuracy")
    quantised = config.key_cache_precision not in PLAIN_CACHE or config.value_cache_precision not in PLAIN_CACHE
    floats = config.inference_precision == "f32" and config.dynamic_quantization_group == 0
    cache: Any = config.key_cache_precision
    arithmetic = OpenVinoRuntime(
        device=deployed.device, inference_precision="f32", dynamic_quantization_group=0, kv_cache=cache
    )
    runtimes = {
        "deployed": deployed,
        "exact": exact,
        "float_arithmetic": deployed if floats else arithmetic,
        "plain_cache": deployed.model_copy(update={"kv_cache": "f16"}) if quantised else deployed,
    }
    return {
        cell: variant if runtime == deployed else variant._replace(name=f"{variant.name}+{cell}", runtime=runtime)
        for cell, runtime in runtimes.items()
    }


def _score(
    scorer: Scorer,
    name: str,
    cells: dict[str, Model],
    chunk: Chunk,
    base: Kept,
    found: dict[str, dict[str, list[Doubles]]],
    failed: dict[str, Missing],
) -> None:
    for cell, model in cells.items():
        try:
            scores = scorer.score(model, chunk, base)
        except BackendError as error:
            failed[name] = Missing(missing=error.message)
            return
        assert scores.kl is not None
        found[name][cell].append(scores.kl)


def _split(found: dict[str, list[Doubles]], task: Task) -> LossSplit:
    windows = sum(len(part) for part in found["deployed"])
    rows, segments = task.along.sorted_rows(windows)
    kl = {cell: np.concatenate(parts)[rows] for cell, parts in found.items()}
    activations = kl["deployed"] - kl["float_arithmetic"]
    cache = kl["deployed"] - kl["plain_cache"]
    return LossSplit(
        windows=windows,
        kl_deployed=not_negative(mean_estimate(kl["deployed"], segments, NATS)),
        kl_weights=not_negative(mean_estimate(kl["exact"], segments, NATS)),
        kl_activations=mean_estimate(activations, segments, NATS),
        kl_cache=mean_estimate(cache, segments, NATS),
        kl_interaction=mean_estimate(kl["deployed"] - kl["exact"] - activations - cache, segments, NATS),
    )
