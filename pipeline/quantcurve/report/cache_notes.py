"""What is said of variants with another KV cache than F16."""

from __future__ import annotations

from collections.abc import Iterator

from quantcurve.estimates import Estimate, Figure, Missing
from quantcurve.records import EffectiveConfig, LlamaCppEffective
from quantcurve.report import words
from quantcurve.results import CacheFigures, RunResult, VariantResult


def cache_sentences(run: RunResult) -> tuple[str, ...]:
    """Two sentences for each variant and context length: against the same weights, and the 2 x 2 with the weights."""
    return tuple(words.plain(sentence) for variant in run.variants for sentence in _of_variant(variant))


def _of_variant(variant: VariantResult) -> Iterator[str]:
    if isinstance(variant.kv_cache, Missing):
        yield f"{variant.name}: the cache's own loss was not measured: {variant.kv_cache.missing}"
        return
    for figures in variant.kv_cache:
        where = f"{variant.name} at {figures.context_tokens} tokens ({figures.windows} windows)"
        yield (
            f"{where}: {_setting(figures, variant.scoring_config)}. KL divergence from the same weights with an F16 "
            f"cache {words.bounds(figures.kl_from_f16_cache, unit='nats')}, ln perplexity ratio "
            f"{words.bounds(figures.ln_perplexity_ratio_to_f16_cache)}."
        )
        yield f"{where}: {_two_by_two(figures)}"


def _setting(figures: CacheFigures, config: EffectiveConfig | None) -> str:
    types = f"K {figures.k_type}, V {figures.v_type}"
    if not isinstance(config, LlamaCppEffective):
        return types
    rotated = words.listed([side for side, on in (("K", config.k_rotated), ("V", config.v_rotated)) if on])
    return f"{types}, flash attention {config.flash_attention}, {rotated or 'nothing'} rotated"


def _two_by_two(figures: CacheFigures) -> str:
    alone = (
        f"from the reference, weights alone {words.bounds(figures.kl_weights_alone)}, cache alone "
        f"{words.bounds(figures.kl_cache_alone)}, both {words.bounds(figures.kl_both)} nats"
    )
    return (
        f"{alone}; interaction {_interaction(figures.interaction_kl, 'nats')}, in ln perplexity ratio "
        f"{_interaction(figures.interaction_ln_perplexity_ratio)}"
    )


def _interaction(figure: Figure, unit: str = "") -> str:
    if not isinstance(figure, Estimate):
        return "not measured"
    if figure.low <= 0 <= figure.high:
        meaning = "the losses add, as far as the data tell"
    else:
        meaning = f"together {'more' if figure.value > 0 else 'less'} than the sum"
    return f"{words.bounds(figure, unit=unit)} ({meaning})"
