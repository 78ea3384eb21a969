"""From an embedding model's contract and what was measured to verdicts.

All variants are judged on all queries and pairs at once: there is no shortlist, and one look.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from quantcurve.budgets import at_floor, lines_of
from quantcurve.budgets_system import SystemFigures, system
from quantcurve.encoder_limits import EVERY_DOMAIN, SIMILARITY, Ranked, ranked
from quantcurve.encoder_quality import Embeddings
from quantcurve.encoder_recipe import EncoderRecipe
from quantcurve.encoder_results import EncoderLatency
from quantcurve.engines.base import Doubles
from quantcurve.estimates import Missing
from quantcurve.metrics import embedding as figures
from quantcurve.metrics.evidence import Lines, missing, of_estimate, of_shares
from quantcurve.recipe_contract import QualityLimit
from quantcurve.records import SpeedSamples
from quantcurve.verdicts import Budget, Judged, VariantVerdict, verdicts


class MeasuredEncoder(NamedTuple):
    """What a model made of its texts, and what it takes."""

    embeddings: Embeddings
    size_bytes: int
    latency: EncoderLatency | Missing | None = None
    """None: the recipe leaves it out."""


def judge(
    recipe: EncoderRecipe, reference: MeasuredEncoder, variants: Mapping[str, MeasuredEncoder]
) -> dict[str, VariantVerdict]:
    """Verdicts by variant; empty where the contract has no budgets, or there are no variants.

    Args:
        recipe: with a contract that `encoder_recipe.refuse` let pass.
        reference: the float model.
        variants: those that were measured, by name.
    """
    if recipe.contract.empty:
        return {}
    judged = {
        name: [
            *quality(recipe, reference.embeddings, variant.embeddings),
            *_system(recipe, reference, variant),
        ]
        for name, variant in variants.items()
    }
    return verdicts(judged)


def quality(recipe: EncoderRecipe, reference: Embeddings, variant: Embeddings) -> list[Judged]:
    """Budgets on rankings, paired by query, and on rank correlation, paired by the resamples of its bootstrap."""
    found = []
    for name, limit in recipe.contract.quality.items():
        if name == SIMILARITY:
            found.append(_similarity(recipe, limit, reference, variant))
            continue
        for label, on in _named(name, recipe.retrieval.depths, reference):
            found.append(_ranking(label, on, limit, recipe.contract.margin, (reference, variant)))
    return found


def _named(name: str, depths: Sequence[int], reference: Embeddings) -> list[tuple[str, Ranked]]:
    if name == EVERY_DOMAIN:
        domains = reference.texts.retrieval.domains
        return [(f"ranking on {domain}", Ranked("ranking", depths[-1], domain)) for domain in domains]
    on = ranked(name, depths)
    assert on is not None  # encoder_recipe.refuse
    return [(name, on)]


def _ranking(
    name: str, on: Ranked, limit: QualityLimit, margin: QualityLimit, models: tuple[Embeddings, Embeddings]
) -> Judged:
    budget = Budget(part="quality", name=name, words=limit.words, scale="points")
    before, after = (_values(model, on) for model in models)
    lines = lines_of(limit, margin, float(before.mean()))
    unit = "recall" if on.figure == "ranking" else "nDCG"
    return Judged(budget, of_shares(before, after, lines, f"{unit}@{on.depth}"), _floor(models[0], on, before, lines))


def _values(model: Embeddings, on: Ranked) -> Doubles:
    """Of the queries of a domain, (n,)."""
    asked = model.texts.retrieval.queries
    of = figures.recalls if on.figure == "ranking" else figures.ndcgs
    values = of(model.ranking(), [q.relevant for q in asked], on.depth)
    return values[[on.domain in {None, q.domain} for q in asked]]


def _floor(reference: Embeddings, on: Ranked, before: Doubles, lines: Lines) -> str:
    found = reference.texts.retrieval
    passages = len(found.passages)
    if on.figure == "ranking":
        return at_floor(before, figures.chance_recall(passages, on.depth), lines)
    relevant = [q.relevant for q in found.queries if on.domain in {None, q.domain}]
    return at_floor(before, figures.chance_ndcg(relevant, passages, on.depth), lines)


def _similarity(recipe: EncoderRecipe, limit: QualityLimit, reference: Embeddings, variant: Embeddings) -> Judged:
    budget = Budget(part="quality", name=SIMILARITY, words=limit.words, scale="points")
    graded, before, seed = reference.texts.pairs.graded, reference.cosines(), recipe.seed
    rho = figures.spearman(graded, before, seed)
    change = figures.spearman_difference(graded, variant.cosines(), before, seed)
    if isinstance(rho, Missing) or isinstance(change, Missing):
        why = next(figure.missing for figure in (rho, change) if isinstance(figure, Missing))
        return Judged(budget, missing(why))
    lines = lines_of(limit, recipe.contract.margin, rho.value)
    loss = change.model_copy(update={"value": -change.value, "low": -change.high, "high": -change.low})
    floor = "" if rho.low > max(lines.keeps, 0.0) else f"the reference is at the floor: its rho is {rho.value:.3f}"
    return Judged(budget, of_estimate(loss, lines), floor)


def _system(recipe: EncoderRecipe, reference: MeasuredEncoder, variant: MeasuredEncoder) -> list[Judged]:
    found = system(recipe.contract, _taken(reference), _taken(variant))
    lost = next((m.latency.missing for m in (variant, reference) if isinstance(m.latency, Missing)), "")
    if not lost:
        return found
    return [one if one.budget.name == "size" else one._replace(evidence=missing(lost)) for one in found]


def _taken(model: MeasuredEncoder) -> SystemFigures:
    """A forward pass stands where a language model has a decoded token."""
    latency = model.latency
    if not isinstance(latency, EncoderLatency):
        return SystemFigures(model.size_bytes)
    passes = tuple(tuple(np.array(times) / 1e3) for times in latency.samples_ms)
    speed = SpeedSamples(prefill_s=(), decode_s=(), first_token_s=(), load_s=(), decode_steps_s=passes)
    return SystemFigures(model.size_bytes, speed, latency.peak_memory_bytes)
