"""What is said of the contract: a verdict for every variant with one sentence of why, and what changed beside it."""

from __future__ import annotations

from quantcurve.report import words
from quantcurve.results import RunResult
from quantcurve.slices.compare import Finding, findings

MOST_FINDINGS = 5
"""Of each variant; the record has all figures."""


def contract_sentences(run: RunResult) -> tuple[str, ...]:
    """One sentence for each variant; of those that were evaluated what else was lost."""
    found = run_findings(run)
    sentences = []
    for variant in run.variants:
        if (card := variant.scorecard) is None:
            continue
        decision = card.verdict.decision
        said = card.verdict.sentence if decision == "not evaluated" else f"{decision}: {card.verdict.sentence}"
        sentences.append(f"{variant.name}: {said}.")
        own = [one for one in found if one.variant == variant.name]
        sentences += [f"{variant.name}, also lost: {one.sentence}." for one in own[:MOST_FINDINGS]]
        if len(own) > MOST_FINDINGS:
            sentences.append(f"{variant.name}: {len(own) - MOST_FINDINGS} more losses are in results.json.")
    return tuple(words.plain(sentence) for sentence in sentences)


def run_findings(run: RunResult) -> list[Finding]:
    """Losses that are there by Holm's correction over all figures of all slices and variants."""
    evaluated = {v.name: v.scorecard for v in run.variants if v.scorecard and v.scorecard.slices}
    return findings({name: [f for one in card.slices for f in one.figures] for name, card in evaluated.items()})
