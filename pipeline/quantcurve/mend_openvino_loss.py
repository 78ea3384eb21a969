"""OpenVINO variants that lose less by how they are run, or by accuracy control."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from quantcurve.calibration import EMBEDDED
from quantcurve.estimates import Estimate
from quantcurve.mend_base import Idea, Missed, changed, flow, loss, nats
from quantcurve.pick_records import RecipeLines
from quantcurve.pick_weigh import Candidate
from quantcurve.recipe_accuracy import Validation
from quantcurve.recipe_openvino import OpenVinoVariant
from quantcurve.records import OpenVinoEffective
from quantcurve.report.explain import figure
from quantcurve.results import LossSplit
from quantcurve.weight_formats import STATIC, UNCOMPRESSED

KL, CROSS_ENTROPY = "negative_kl_divergence", "negative_cross_entropy"
ITEM_TOKENS, ITEMS = 128, 32
"""Of the validation that is suggested."""


class _Judge(NamedTuple):
    """A validation, and what may be lost by it."""

    name: str
    budget_nats: float
    also: RecipeLines | None
    """The validation itself, where the recipe has none."""


def closer_run(start: Candidate, entry: OpenVinoVariant) -> Iterator[Idea]:
    """Exact arithmetic or a KV cache in floats, where the device's own cost more than the weights."""
    split, config = start.variant.loss_split, start.variant.scoring_config
    if not isinstance(split, LossSplit) or not isinstance(split.kl_weights, Estimate):
        return
    if not isinstance(config, OpenVinoEffective):
        return
    exact: dict[str, Any] = {} if config.inference_precision == "f32" else {"inference_precision": "f32"}
    if config.activations in {"quantised", "partly quantised"}:
        exact["dynamic_quantization_group"] = 0
    weights, runtime = split.kl_weights, entry.runtime.model_dump()
    for part, what, origin, fields in (
        (split.kl_activations, "arithmetic in float32", "the device's arithmetic", exact),
        (split.kl_cache, "a KV cache in F16", "the KV cache", {"kv_cache": "f16"}),
    ):
        if isinstance(part, Estimate) and part.low > 0 and part.value > weights.value:
            why = f"of that {nats(part)} are from {origin}, {nats(weights)} from the weights"
            yield Idea(what, f"{loss(start)}; {why}", changed(entry, runtime=runtime | fields), 0, "it may be slower")


def controlled(missed: Missed, start: Candidate, entry: OpenVinoVariant) -> Iterator[Idea]:
    """Layers restored until a validation keeps the limit on KL divergence or perplexity."""
    judge, before = _judge(missed), entry.accuracy_control
    if judge is None or entry.weights in UNCOMPRESSED or (before and before.max_drop <= judge.budget_nats):
        return
    control = {"validation": judge.name, "max_drop": judge.budget_nats}
    beside = "the search for layers takes many times as long as compressing"
    if entry.weights in STATIC:
        beside += "; layers that it restores are floats"
    yield Idea(
        "accuracy control with the limit as its budget",
        "; ".join(part for part in (loss(start), _seen(missed)) if part),
        changed(entry, accuracy_control=(before.model_dump() if before else {}) | {**control, "drop": "absolute"}),
        None,
        beside,
        judge.also,
    )


def _seen(missed: Missed) -> str:
    """What accuracy control was worth in this run."""
    for variant in missed.run.variants:
        if control := variant.accuracy_control:
            return f"under it {variant.name} lost {figure(control.drop)}, {figure(control.plain_drop)} without"
    return ""


def _judge(missed: Missed) -> _Judge | None:
    recipe, limits = missed.known.recipe, missed.limits
    if recipe is None:
        return None
    percent = limits.max_perplexity_increase_percent
    if limits.max_kl is None and percent is None:
        percent = recipe.screen.discard_above_percent
    wanted = [(KL, limits.max_kl or 0.0), (CROSS_ENTROPY, math.log1p(percent / 100) if percent else 0.0)]
    wanted = [(function, float(f"{budget:.4g}")) for function, budget in wanted if budget > 0]
    for function, budget in wanted:
        if there := next((v for v in recipe.validations if v.function == function), None):
            return _Judge(there.name, budget, None)
    if recipe.validations or not wanted:
        return None
    function, budget = wanted[0]
    measured = {text.source for text in recipe.texts}
    texts = [{"name": name, "source": f"embedded:{name}"} for name in EMBEDDED if f"embedded:{name}" not in measured]
    if not texts:
        return None
    made = Validation.model_validate(
        {"name": "loss", "function": function, "texts": texts, "item_tokens": ITEM_TOKENS, "items": ITEMS}
    )
    lines = f"- {flow(made.model_dump(exclude_defaults=True, mode='json') | {'held_out': made.held_out})}"
    return _Judge(made.name, budget, RecipeLines(under="validations", lines=lines))
