"""What lm-eval calls for quantcurve_humaneval.yaml."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from quantcurve.code_runs import pass_at_k, passes

CUTS = (1, 10, 100)


def programs(answers: Sequence[Sequence[str]], documents: Sequence[Mapping[str, str]]) -> list[list[str]]:
    """Whole programs: a document's prompt with each answer behind it."""
    return [[document["prompt"] + a for a in some] for some, document in zip(answers, documents, strict=True)]


def process_results(document: Mapping[str, str], results: Sequence[Sequence[str]]) -> dict[str, float]:
    """pass@k for every k that there are answers for."""
    tail = f"\n{document['test']}\ncheck({document['entry_point']})\n"
    right = sum(passes([program + tail for program in results[0]]))
    return {f"pass@{k}": pass_at_k(len(results[0]), right, k) for k in CUTS if k <= len(results[0])}
