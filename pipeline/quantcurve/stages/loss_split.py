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
from pydantic import ValidationError

from quantcurve.engines.base import Doubles, LlamaCppConfig, OpenVinoRuntime
from quantcurve.errors import BackendError
from quantcurve.estimates import Missing
from quantcurve.metrics.statistics import mean_estimate
from quantcurve.records import PLAIN_CACHE, EffectiveConfig, OpenVinoEffective
from quantcurve.results import LossSplit
from quantcurve.session import Event, Session
from quantcurve.stages.figures import NATS, not_negative
from quantcurve.stages.route import Chunk, Route, chunks
from quantcurve.stages.scoring import Kept, Model, Scorer
from quantcurve.stages.tokenize import Windowed


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
        BackendError: the reference cannot be scored; what fails for a variant is `Missing`, also where the device
            does not tell how it ran a cell, or ran it in another way than it was asked for.
        PrerequisiteError: too little disk for the logits of a chunk.
    """
    wanted = [v for v in task.variants if isinstance(v.runtime, OpenVinoRuntime)]
    taken = task.along._replace(order=task.along.order[: task.windows])
    parts = chunks(task.texts, taken, 1)
    made = {v.name: _cells(v, configs.get(v.name)) for v in wanted}
    failed = {name: cells for name, cells in made.items() if isinstance(cells, Missing)}
    every = {name: cells for name, cells in made.items() if not isinstance(cells, Missing)}
    models = {m.name: m for cells in every.values() for m in cells.values()} | {task.reference.name: task.reference}
    progress = _Progress(session, len(parts) * len(models))
    found: dict[str, dict[str, list[Doubles]]] = {name: {cell: [] for cell in cells} for name, cells in every.items()}
    if not every:
        return dict(failed)
    vocabulary = task.texts[0].step.vocabulary
    with Scorer("loss_split", list(models.values()), vocabulary, task.config, session, progress) as scorer:
        for chunk in parts:
            there = all(scorer.cached(m, chunk, task.reference) for m in models.values() if m is not task.reference)
            with scorer.keep(task.reference, chunk, not there) as base:
                for name, cells in every.items():
                    if name not in failed:
                        _score(scorer, name, cells, chunk, base, found, failed)
    session.progress(Event("loss_split", progress.total, progress.total, "done"))
    return {v.name: failed.get(v.name) or _split(found[v.name], task) for v in wanted}


class _Progress:
    """Counts scored chunks."""

    def __init__(self, session: Session, total: int) -> None:
        self.session, self.total, self.done = session, total, 0

    def __call__(self, name: str, windows: int) -> None:
        self.done = min(self.total, self.done + bool(windows))
        self.session.progress(Event("loss_split", self.done, self.total, name))


def _cells(variant: Model, config: EffectiveConfig | None) -> dict[str, Model] | Missing:
    """The variant as deployed, and with one thing after the other switched off. A cell that is the variant as it is,
    since the thing is off already, is that very model.

    config: as read back from the variant as deployed. Where the device does not tell how it keeps the cache, or keeps
    K and V in types that cannot be asked for, the rest cannot be changed with the cache left as it is: Missing.
    """
    deployed = variant.runtime
    assert isinstance(deployed, OpenVinoRuntime) and isinstance(config, OpenVinoEffective)
    if config.activations == "measured ranges":
        return Missing(
            missing="its activations are quantised in the graph, where no setting of a device switches them off"
        )
    caches = {config.key_cache_precision, config.value_cache_precision}
    if None in caches:
        return Missing(missing="the device does not tell the precision of its KV cache")
    if len(caches) > 1:
        return Missing(missing="K and V have different precisions in the KV cache; a device can be asked for one only")
    cache: Any = config.key_cache_precision
    try:
        arithmetic = OpenVinoRuntime(
            device=deployed.device, inference_precision="f32", dynamic_quantization_group=0, kv_cache=cache
        )
    except ValidationError:
        return Missing(missing=f"a KV cache in {cache} cannot be asked for")
    runtimes = {
        "deployed": deployed,
        "exact": OpenVinoRuntime(device=deployed.device, execution="accuracy"),
        "float_arithmetic": deployed if _is_float(config) else arithmetic,
        "plain_cache": deployed if config.plain_cache else deployed.model_copy(update={"kv_cache": "f16"}),
    }
    return {
        cell: variant if runtime == deployed else variant._replace(name=f"{variant.name}+{cell}", runtime=runtime)
        for cell, runtime in runtimes.items()
    }


def _is_float(config: OpenVinoEffective) -> bool:
    return config.inference_precision == "f32" and config.activations in {"float", "not applicable"}


def not_run(cell: str, found: OpenVinoEffective, deployed: OpenVinoEffective) -> str | None:
    """What a device does not run, or does not tell that it runs, of what a cell asks of it; None if it is the cell.

    Args:
        cell: one of the split's.
        found: as read back from the cell.
        deployed: as read back from the variant as deployed.
    """
    caches = {found.key_cache_precision, found.value_cache_precision}
    if cell in {"exact", "float_arithmetic"} and not _is_float(found):
        told = f"{found.inference_precision or 'no precision'}, activations {found.activations or 'not told'}"
        return f"float32 arithmetic without quantised activations was asked for, and the device tells {told}"
    wanted: dict[str, set[str | None]] = {
        "deployed": {deployed.key_cache_precision},
        "exact": {"f32"},
        "float_arithmetic": {deployed.key_cache_precision},
        "plain_cache": {*PLAIN_CACHE},
    }
    if caches <= wanted[cell]:
        return None
    told = " and ".join(sorted(c or "no precision" for c in caches))
    return (
        f"a KV cache in {' or '.join(sorted(c for c in wanted[cell] if c))} was asked for, and the device tells {told}"
    )


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
        effective, deployed = (scorer.effective[cells[c].name] for c in (cell, "deployed"))
        assert isinstance(effective, OpenVinoEffective) and isinstance(deployed, OpenVinoEffective)
        if reason := not_run(cell, effective, deployed):
            failed[name] = Missing(missing=reason)
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
