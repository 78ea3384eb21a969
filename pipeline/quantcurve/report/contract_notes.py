"""What is said of the contract: a verdict for every variant with one sentence of why, and what changed beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from quantcurve.estimates import Estimate
from quantcurve.recipe_contract import parts
from quantcurve.report import words
from quantcurve.report.slice_tables import refusal_error, refusals_by_rules
from quantcurve.results import RunResult
from quantcurve.scorecard_records import Scorecard
from quantcurve.slices.compare import TWO_SIDED, Finding, findings

MOST_FINDINGS = 5
"""Of each variant; the record has all figures."""


def contract_sentences(run: RunResult) -> tuple[str, ...]:
    """One sentence for each variant; of those that were evaluated each other budget, and what else changed."""
    found = run_findings(run)
    cards = [(variant.name, variant.scorecard) for variant in run.variants if variant.scorecard]
    sentences = list[str]()
    for name, card in cards:
        decision = card.verdict.decision
        said = card.verdict.sentence if decision == "not evaluated" else f"{decision}: {card.verdict.sentence}"
        sentences.append(f"{name}: {said}.")
        sentences += [f"{name}, {other}." for other in card.verdict.others()]
        sentences += _changed(name, [one for one in found if one.variant == name])
        sentences += _flipped(name, card)
    if any(_refusals_by_rules(card) for _, card in cards):
        sentences.append(f"Refusals: {refusal_error()}")
    return tuple(words.plain(sentence) for sentence in sentences)


def run_findings(run: RunResult) -> list[Finding]:
    """Changes that are there by Holm's correction over all figures of all slices and variants."""
    evaluated = {v.name: v.scorecard for v in run.variants if v.scorecard and v.scorecard.slices}
    return findings({name: [f for one in card.slices for f in one.figures] for name, card in evaluated.items()})


def _changed(name: str, own: Sequence[Finding]) -> Iterator[str]:
    for one in own[:MOST_FINDINGS]:
        what = "changed" if one.figure.statistic in TWO_SIDED else "lost"
        loss = one.figure.evidence.loss
        items = f"{loss.n:,} items, " if isinstance(loss, Estimate) else ""
        yield f"{name}, also {what}: {one.sentence} ({items}p {one.p:.1g})."
    if len(own) > MOST_FINDINGS:
        yield f"{name}: {len(own) - MOST_FINDINGS} more of these are in results.json."


def _flipped(name: str, card: Scorecard) -> Iterator[str]:
    """Slices whose mean hides that items flipped."""
    for one in card.slices:
        right = one.whole("right")
        if right and right.evidence.lost and right.evidence.lost == right.evidence.won:
            lost, items = right.evidence.lost, f"{one.items:,} items"
            yield f"{name}, {one.name}: as many right as on the reference, yet {lost:,} of {items} lost, {lost:,} won."


def _refusals_by_rules(card: Scorecard) -> bool:
    """Whether a budget counts refusals by the built-in rules, and no slice of refusals is there to say so."""
    if any(refusals_by_rules(one) for one in card.slices):
        return False
    answered = {one.name for one in card.slices if one.kind != "refusal" and one.behaviour}
    named = [parts(b.budget.name) for b in card.verdict.budgets if b.budget.part == "behaviour"]
    return any(figure == "refusal" and (answered if not on else on in answered) for figure, on in named)
