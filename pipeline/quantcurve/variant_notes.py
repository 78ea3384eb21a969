"""What is to be known of single variants beside their figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from quantcurve.engines.gguf_types import BY_NAME
from quantcurve.engines.tensor_types import llama_quantize_options, overridable
from quantcurve.estimates import Missing
from quantcurve.latency_records import GenAiLatency
from quantcurve.records import EffectiveConfig, OpenVinoEffective
from quantcurve.report.explain import summary
from quantcurve.stages import export, resolve

Made = resolve.Variant | export.Ir | resolve.Failed


class Runs(NamedTuple):
    """All variants, and how they ran."""

    made: Sequence[Made]
    configs: Mapping[str, EffectiveConfig]
    """As read back when they were scored, by name."""
    generated: Mapping[str, GenAiLatency | Missing]
    """OpenVINO GenAI's figures, by name."""


def notes(variant: resolve.Variant | export.Ir, runs: Runs) -> tuple[str, ...]:
    """Sentences on one variant that was measured."""
    if isinstance(variant, export.Ir):
        ran = (*_attention_note(variant, runs), *_generation_note(variant, runs), *_same_run_note(variant, runs))
        control = variant.step.control
        return (*variant.step.notes, *((f"accuracy control: {summary(control)}",) if control else ()), *ran)
    made = runs.made
    return (*_main_type_note(variant), *_tensors_note(variant), *_importance_note(variant), *_twins_note(variant, made))


def _main_type_note(variant: resolve.Variant) -> tuple[str, ...]:
    """Said where most weights are not of the type that the variant is named after."""
    main, base = variant.file.types[0], BY_NAME[variant.entry.type].base
    if main.type == base:
        return ()
    return (f"{100 * main.share:.0f} % of its weights are {main.type}, the largest part; its name stands for {base}",)


def _tensors_note(variant: resolve.Variant) -> tuple[str, ...]:
    if not variant.step.tensor_types:
        return ()
    options = " ".join(llama_quantize_options(variant.entry.type))
    command = f"llama-quantize --tensor-type-file tensor-types/{variant.name}.txt {options} REFERENCE OUT"
    return (f"{' '.join(command.split())} {overridable(variant.entry.type)} gives its tensors the same types",)


def _importance_note(variant: resolve.Variant) -> tuple[str, ...]:
    without = variant.step.without_importance
    if not without:
        return ()
    more = f" and {len(without) - 1} more" if len(without) > 1 else ""
    return (f"the importance matrix says nothing of {without[0]}{more}: all columns count the same there",)


def _twins_note(variant: resolve.Variant, made: Sequence[Made]) -> tuple[str, ...]:
    twins = [
        m.name
        for m in made
        if isinstance(m, resolve.Variant)
        and m.name != variant.name
        and m.file.content_hash == variant.file.content_hash
        and m.entry.cache == variant.entry.cache
    ]
    return (f"the same file as {', '.join(twins)}, byte for byte",) if twins else ()


def _attention_note(ir: export.Ir, runs: Runs) -> tuple[str, ...]:
    """Said where the attention that was asked for is not the one in the graph: only OpenVINO GenAI transforms it."""
    config, asked = runs.configs[ir.name], ir.runtime.attention
    assert isinstance(config, OpenVinoEffective)
    if asked is None or asked == config.attention_backend:
        return ()
    graph = f"{config.attention_backend}, the" if config.attention_backend else "the"
    return (
        f"scores, tokens/s and benchmark_app latency are of {graph} attention in its graph; only OpenVINO GenAI runs "
        f"{asked}",
    )


def _generation_note(ir: export.Ir, runs: Runs) -> tuple[str, ...]:
    """Said where OpenVINO GenAI took another attention than it was told to."""
    generated, asked = runs.generated.get(ir.name), ir.runtime.attention
    took = generated.samples.attention_backend if isinstance(generated, GenAiLatency) else None
    if asked is None or took is None or took == asked:
        return ()
    return (f"OpenVINO GenAI was asked for {asked} attention and took {took}",)


def _same_run_note(ir: export.Ir, runs: Runs) -> tuple[str, ...]:
    """Said where another variant is the same to the device: W4A8 is INT4_SYM where that quantises activations too."""
    twins = [
        m.name
        for m in runs.made
        if isinstance(m, export.Ir)
        and m.name != ir.name
        and m.file.content_hash == ir.file.content_hash
        and m.runtime.attention == ir.runtime.attention
        and _run_alike(ir.name, m.name, runs.configs)
    ]
    return (f"the same weights as {', '.join(twins)}, and the device runs them in the same way",) if twins else ()


def _run_alike(a: str, b: str, configs: Mapping[str, EffectiveConfig]) -> bool:
    """Whether all that is told of how two models ran is the same, and nothing that tells runs apart is not told."""
    config = configs.get(a)
    if not isinstance(config, OpenVinoEffective) or config != configs.get(b):
        return False
    return None not in (
        config.threads,
        config.execution_mode,
        config.inference_precision,
        config.key_cache_precision,
        config.value_cache_precision,
        config.activations,
    )
