"""Calibration texts to try where a variant loses most on one kind of text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from quantcurve import resources
from quantcurve.calibration import EMBEDDED, Mix, Stratum, load_mix
from quantcurve.mend_base import Entry, Missed, flow, loss, nats
from quantcurve.mend_evidence import worst_text
from quantcurve.pick_records import Mitigation
from quantcurve.pick_weigh import Candidate
from quantcurve.recipe import Recipe
from quantcurve.recipe_contract import parts
from quantcurve.recipe_gguf import GgufVariant

STRATA: dict[str, Stratum] = {
    **{"code": "code", "json": "tool_use", "tool_call": "tool_use", "number": "math_reasoning"},
    **{"retrieval": "retrieval_long_context", "refusal": "safety_refusal", "instructions": "chat"},
}
"""Of what a slice asks, by the kind of its items."""


class _Lacking(NamedTuple):
    """A kind of text on which a variant loses more than on others."""

    name: str
    stratum: str | None
    """Of the shipped texts that are like it; None: none of them."""
    why: str


def calibrated(missed: Missed, start: Candidate, entry: Entry) -> Iterator[Mitigation]:
    """More texts of the kind on which a calibrated variant loses most: another mix, or texts of the user's own."""
    recipe = missed.known.recipe
    if recipe is None or recipe.imatrix.file or not _is_calibrated(entry):
        return
    for lacking in _lacking(missed, start):
        what, lines, cost = _mix(recipe, lacking) or _own(recipe, lacking)
        yield Mitigation(
            what=what,
            variant=start.name,
            why=lacking.why,
            under="calibration",
            recipe_lines=lines,
            extra_bytes=0,
            cost=f"the file stays about as large; all calibrated variants are made anew{cost}",
        )


def _is_calibrated(entry: Entry) -> bool:
    return entry.imatrix if isinstance(entry, GgufVariant) else entry.data_aware


def _lacking(missed: Missed, start: Candidate) -> Iterator[_Lacking]:
    """The slices whose budgets break, and the worst text."""
    card = start.variant.scorecard
    broken = [b for b in card.verdict.budgets if b.decision == "fail"] if card else []
    for one in card.slices if card else ():
        said = next((b for b in broken if one.name in {b.budget.name, parts(b.budget.name)[1]}), None)
        if said:
            yield _Lacking(one.name, STRATA.get(one.kind), f"{start.name} breaks the contract on it: {said.sentence}")
    worst = worst_text(missed.run, start.variant)
    if worst:
        name = worst.source.removeprefix("embedded:").partition("/")[0]
        why = f"{loss(start)}, on {worst.text} {nats(worst.kl)}, on the others a mean of {worst.others_nats:.4g} nats"
        yield _Lacking(worst.text, name if name in EMBEDDED else None, why)


def _mix(recipe: Recipe, lacking: _Lacking) -> tuple[str, str, str] | None:
    """The shipped mix with most of these texts, if it has more of them than the recipe's; what, lines and cost."""
    shipped = {path.stem: load_mix(path) for path in sorted(_mixes().glob("*.yaml"))}
    now = shipped.get(recipe.calibration.mix)
    if lacking.stratum is None or now is None or recipe.calibration.sources:
        return None
    best = max(shipped, key=lambda name: _share(shipped[name], lacking.stratum or ""))
    before, after = _share(now, lacking.stratum), _share(shipped[best], lacking.stratum)
    if after <= before:
        return None
    what = f"the calibration mix {best}, which has more of {lacking.stratum}"
    cost = (
        f"; {lacking.stratum} has {100 * after:.0f} % of its tokens in place of {100 * before:.0f} %, others have less"
    )
    return what, f"mix: {best}", cost


def _mixes() -> Path:
    return resources.folder("calib") / "mixes"


def _share(mix: Mix, stratum: str) -> float:
    """Of a set's tokens that are texts of an embedded stratum, 0 to 1, where the user gives no texts."""
    found = 0.0
    for part in mix.strata:
        of = sum(s.share for s in part.sources if s.source == f"embedded:{stratum}/calibration")
        found += part.weight * of / sum(s.share for s in part.sources) if part.sources else 0.0
    return found / sum(part.weight for part in mix.strata if part.sources)


def _own(recipe: Recipe, lacking: _Lacking) -> tuple[str, str, str]:
    """Texts that the user has to bring; what, lines and cost."""
    name = re.sub(r"[^\w.+-]", "-", lacking.name)[:30]
    given = [source.model_dump(exclude_defaults=True, mode="json") for source in recipe.calibration.sources]
    taken = {source.name for source in recipe.calibration.sources}
    name = f"{name}-more" if name in taken else name
    source = {"name": name, "stratum": "domain", "source": f"{name}-calibration.jsonl"}
    what = f"calibration texts like {lacking.name}"
    cost = f"; {source['source']} is yours to bring: texts like {lacking.name}, but none of those that are measured"
    return what, f"sources: {flow([*given, source])}", cost
