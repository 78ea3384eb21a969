"""What a variant was picked on: its figures and what was said of it, as the manifest and the model card have them."""

from __future__ import annotations

from collections.abc import Iterator

from quantcurve.deploy.bundle import NamedFigure
from quantcurve.estimates import Figure, Missing
from quantcurve.latency_records import GenAiLatency
from quantcurve.recipe import Recipe
from quantcurve.report import words
from quantcurve.report.explain import summary
from quantcurve.results import Speed, VariantResult

BARE = frozenset({"1", "ratio", "share"})
"""Units that are not written."""


def figures(variant: VariantResult) -> tuple[NamedFigure, ...]:
    """Quality against the reference, and speed on the machine that measured."""
    return tuple(NamedFigure(name=name, figure=figure) for name, figure in _figures(variant))


def _figures(variant: VariantResult) -> Iterator[tuple[str, Figure]]:
    if variant.overall and (divergence := variant.overall.divergence):
        yield "mean KL divergence from the reference", divergence.kl_mean
        yield "99th percentile of the KL divergence", divergence.kl_p99
        yield "perplexity over the reference's", divergence.perplexity_ratio
        yield "top-1 agreement with the reference", divergence.top1_agreement
    if isinstance(variant.speed, Speed):
        yield "prefill", variant.speed.prefill_tokens_per_s
        yield "decode", variant.speed.decode_tokens_per_s
        yield "time to first token", variant.speed.time_to_first_token_s
    if isinstance(variant.genai, GenAiLatency):
        backend = variant.genai.samples.attention_backend
        told = f" ({backend})" if backend else ""
        yield f"time per output token in OpenVINO GenAI{told}", variant.genai.time_per_output_token_ms


def shown(figure: Figure) -> str:
    """A figure with its interval, its level and how many independent units it has; or why there is none."""
    if isinstance(figure, Missing):
        return f"missing: {figure.missing}"
    unit = "" if figure.unit in BARE else figure.unit
    return f"{words.bounds(figure, unit=unit)} ({figure.level:.0%} interval, n = {figure.n})"


def verdicts(variant: VariantResult) -> tuple[str, ...]:
    """What the screen, the contract and accuracy control say, one sentence each."""
    found = []
    if variant.scorecard:
        verdict = variant.scorecard.verdict
        said = verdict.sentence if verdict.decision == "not evaluated" else f"{verdict.decision}: {verdict.sentence}"
        found.append(f"contract: {said}")
        found += [f"contract, {other}" for other in verdict.others()]
    else:
        found.append("contract: the recipe has none")
    if variant.verdict:
        found.append(f"perplexity screen: {variant.verdict.decision.replace('_', ' ')}: {variant.verdict.sentence}")
    if variant.accuracy_control:
        found.append(f"accuracy control: {summary(variant.accuracy_control)}")
    return tuple(words.plain(sentence) for sentence in found)


def longest_measured(recipe: Recipe, variant: VariantResult) -> int:
    """Longest sequence that a variant was measured at, tokens."""
    found = [recipe.windows.tokens]
    if recipe.benchmark and isinstance(variant.speed, Speed):
        bench = recipe.benchmark
        found.append(max(bench.prompt_tokens, bench.decode_context_tokens + bench.decode_tokens))
    if not isinstance(variant.kv_cache, Missing):
        found += [cache.context_tokens for cache in variant.kv_cache]
    asked = bool(variant.scorecard and variant.scorecard.slices)
    asked |= isinstance(variant.tasks, tuple) and bool(variant.tasks)
    if recipe.evaluate and asked:
        found.append(recipe.evaluate.context_tokens)
    return max(found)
