"""What a contract of an embedding model can be on: names of its quality budgets, its figures of the system."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Literal, NamedTuple

from quantcurve.recipe_contract import QualityLimit

if TYPE_CHECKING:
    from quantcurve.encoder_recipe import EncoderRecipe

EVERY_DOMAIN = "every domain"
SIMILARITY = "similarity"
SYSTEM = ("latency_p95", "latency_p99", "size", "peak_memory")
"""Figures of the system that an embedding model has."""
_RANKED = re.compile(r"(?P<figure>ranking|ndcg)(?:@(?P<depth>[1-9]\d{0,3}))?(?: on (?P<domain>.+))?", re.DOTALL)

Mistake = tuple[tuple[str, ...], str]
"""Place in the recipe, and what is wrong there."""


class Ranked(NamedTuple):
    """What a budget on a ranking is on."""

    figure: Literal["ranking", "ndcg"]
    """Recall or nDCG."""
    depth: int
    domain: str | None
    """None: all queries."""

    def __str__(self) -> str:
        return f"{self.figure}@{self.depth}" + (f" on {self.domain}" if self.domain else "")


def ranked(name: str, depths: Sequence[int]) -> Ranked | None:
    """`ranking`, `ranking@K`, `ndcg`, `ndcg@K`, each with ` on DOMAIN` or without; without K the largest depth. None:
    another name."""
    if not (found := _RANKED.fullmatch(name)):
        return None
    figure: Literal["ranking", "ndcg"] = "ndcg" if found["figure"] == "ndcg" else "ranking"
    return Ranked(figure, int(found["depth"] or depths[-1]), found["domain"])


def mistakes(recipe: EncoderRecipe, domains: Sequence[str] | None) -> Iterator[Mistake]:
    """What of a contract an embedding model cannot keep or break.

    Args:
        recipe: with the contract.
        domains: of the queries; None: they have not been read yet.
    """
    contract = recipe.contract
    for name, limit in contract.quality.items():
        if why := _of_quality(name, limit, recipe.retrieval.depths, domains):
            yield ("contract", "quality", name), why
    if contract.behaviour:
        names = ", ".join(contract.behaviour)
        yield ("contract", "behaviour"), f"an embedding model writes no answers that {names} could be of; leave it out"
    for name, _ in contract.system.limits():
        if why := _of_system(name, recipe):
            yield ("contract", "system", name), why


def _of_quality(name: str, limit: QualityLimit, depths: Sequence[int], domains: Sequence[str] | None) -> str:
    if limit.kind == "nats":
        return f"an embedding model has no likelihoods; give points or % in place of {limit.words!r}"
    if name in {SIMILARITY, EVERY_DOMAIN}:
        return ""
    if not (found := ranked(name, depths)):
        return f"an embedding model has no figure {name!r:.60}; {_hint(name, _names(depths, domains))}"
    if found.depth not in depths:
        near = min(depths, key=lambda k: abs(k - found.depth))
        known = ", ".join(map(str, depths))
        return f"{found.depth} is no depth of retrieval.depths ({known}); did you mean {found._replace(depth=near)}?"
    if found.domain is not None and domains is not None and found.domain not in domains:
        return f"no query is of the domain {found.domain!r:.60}; {_hint(found.domain, domains)}"
    return ""


def _names(depths: Sequence[int], domains: Sequence[str] | None) -> list[str]:
    at_depths = [f"{figure}@{k}" for figure in ("ranking", "ndcg") for k in depths]
    return ["ranking", SIMILARITY, EVERY_DOMAIN, *at_depths, *(f"ranking on {domain}" for domain in domains or ())]


def _hint(name: str, known: Sequence[str]) -> str:
    near = get_close_matches(name, known, 1)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"


def _of_system(name: str, recipe: EncoderRecipe) -> str:
    from quantcurve.budgets_system import QUANTILES
    from quantcurve.metrics.step_latency import LEAST_STEPS

    if name not in SYSTEM:
        return f"of an embedding model {name} is not measured; there are {', '.join(SYSTEM)}"
    if name == "size":
        return ""
    if recipe.benchmark is None:
        return f"{name} is not measured, since benchmark is null; leave out one of both"
    if name in QUANTILES and (passes := recipe.benchmark.passes) < (least := LEAST_STEPS[QUANTILES[name]]):
        share = round(100 * (1 - QUANTILES[name]))
        return f"the slowest {share} % of a round's passes are known from {least} on, and benchmark.passes is {passes}"
    return ""
