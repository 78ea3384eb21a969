"""What has to be said below every table: where the reference is from, fallbacks, ties, doubts, failures."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from quantcurve.estimates import Figure, Missing
from quantcurve.latency_records import GenAiLatency, VariantLatency
from quantcurve.records import ModelFile
from quantcurve.report import words
from quantcurve.report.cache_notes import cache_sentences
from quantcurve.report.contract_notes import contract_sentences
from quantcurve.report.openvino_notes import openvino_sentences
from quantcurve.report.rows import judged, rows
from quantcurve.report.task_notes import task_sentences
from quantcurve.results import ReferenceResult, RunResult, Speed, VariantResult

CONTRACT = "Contract"


class Section(NamedTuple):
    """Sentences under one heading; plain text, to be escaped by whoever writes it."""

    heading: str
    sentences: tuple[str, ...]


def sections(run: RunResult) -> tuple[Section, ...]:
    """All sections that have something to say; the contract's verdicts, if any, are the last thing that is read."""
    every = (
        Section("Reference", _reference(run)),
        Section("Measured", _measured(run)),
        Section("Screen by perplexity", _verdicts(run)),
        Section("KV cache", cache_sentences(run)),
        Section("Tasks", task_sentences(run)),
        Section("OpenVINO", openvino_sentences(run)),
        Section("Fallbacks", _fallbacks(run)),
        Section("Ties", _ties(run)),
        Section("Missing figures", _missing(run)),
        Section("Notes", _notes(run)),
        Section("Warnings", tuple(words.plain(w) for w in run.warnings)),
        Section("Failed", _failures(run)),
        Section(CONTRACT, contract_sentences(run)),
    )
    return tuple(section for section in every if section.sentences)


def _reference(run: RunResult) -> tuple[str, ...]:
    reference = run.reference
    perplexity = words.spread(reference.overall.model.perplexity)
    described = f"{reference.name} ({reference.precision}, from {reference.source}), perplexity {perplexity}."
    return words.plain(described), words.plain(reference.provenance.statement)


def _measured(run: RunResult) -> tuple[str, ...]:
    machine, engine = run.machine, run.engine
    texts = (f"{words.plain(t.name)} ({t.windows_used} of {t.windows_available} windows)" for t in run.texts)
    config = run.timing_config or run.scoring_config
    return (
        f"On {words.listed(tuple(texts))}: {run.reference.overall.tokens:,} scored tokens of the reference in "
        f"{run.reference.overall.windows} windows.",
        words.plain(f"By {engine.name} {engine.version} with {config.threads} threads on {machine.processor}."),
        *_effort(run),
        *_calibration(run),
        *_imatrix(run),
        *_workload(run),
    )


def _effort(run: RunResult) -> tuple[str, ...]:
    effort = run.screen
    if effort is None or effort.tokens == effort.whole_tokens:
        return ()
    return (
        f"Early stopping: {effort.tokens:,} of {effort.whole_tokens:,} tokens were decoded for the screen "
        f"({100 * effort.saved_share:.0f} % saved); every variant visits the windows in the same random order until "
        "its verdict is certain and its KL divergence is known well enough.",
    )


def _calibration(run: RunResult) -> Iterator[str]:
    if made := run.calibration:
        shares = (f"{s.name} {100 * s.reached_share:.0f} %" for s in made.strata if s.tokens)
        yield words.plain(
            f"Calibration set: mix {made.mix}, {made.windows} windows of {made.window_tokens} tokens: "
            f"{words.listed(tuple(shares))}."
        )
        for said in (*made.notes, *made.warnings):
            yield words.plain(f"Calibration set: {said}")


def _imatrix(run: RunResult) -> tuple[str, ...]:
    if (made := run.imatrix) is None:
        return ()
    origin = "computed" if made.source == "computed" else f"from {made.source}"
    datasets = f" on {words.listed(made.datasets)}" if made.datasets else ""
    return (
        words.plain(f"Importance matrix: {origin}{datasets}, {made.windows} windows of {made.window_tokens} tokens."),
    )


def _workload(run: RunResult) -> tuple[str, ...]:
    load = run.workload
    if load is None:
        return ()
    return (
        *_latency_context(run),
        f"Speed: prefill and time to first token of {load.prompt_tokens} random tokens, {load.decode_tokens} tokens "
        f"decoded one by one after a context of {load.decode_context_tokens}.",
    )


def _latency_context(run: RunResult) -> Iterator[str]:
    context = next((row.latency.context_tokens for row in rows(run) if row.latency), None)
    if context is not None:
        yield f"Latency: benchmark_app on the deployed model, one token after a context of {context} tokens."


def _verdicts(run: RunResult) -> tuple[str, ...]:
    return tuple(
        words.plain(f"{v.name} ({judged(v)}): {v.verdict.sentence}")
        for v in run.variants
        if v.verdict and v.verdict.decision != "keep"
    )


def _fallbacks(run: RunResult) -> tuple[str, ...]:
    return tuple(
        f"{words.plain(v.name)}: {_percent(v.file.fallback_share)} of weights fell back: {_fallback_kinds(v.file)}"
        for v in run.variants
        if v.file and v.file.fallbacks
    )


def _fallback_kinds(file: ModelFile) -> str:
    tensors: dict[tuple[str, str], int] = defaultdict(int)
    weights: dict[tuple[str, str], int] = defaultdict(int)
    for fallback in file.fallbacks:
        kind = (fallback.wanted, fallback.got)
        tensors[kind] += 1
        weights[kind] += fallback.weights
    largest_first = sorted(weights, key=lambda kind: -weights[kind])
    return ", ".join(
        f"{tensors[kind]} tensor{'s' * (tensors[kind] > 1)} {words.plain(' -> '.join(kind))} "
        f"({_percent(weights[kind] / file.weights)})"
        for kind in largest_first
    )


def _ties(run: RunResult) -> tuple[str, ...]:
    sentences = []
    for index, variant in enumerate(run.variants):
        later = tuple(words.plain(v.name) for v in run.variants[index + 1 :] if v.name in variant.tied_with)
        name = words.plain(variant.name)
        if len(later) == 1:
            sentences.append(f"{name} and {later[0]} cannot be told apart in KL divergence.")
        elif later:
            sentences.append(f"{name} cannot be told apart in KL divergence from {words.listed(later)}.")
    return tuple(sentences)


def _missing(run: RunResult) -> tuple[str, ...]:
    names: dict[tuple[str, str], list[str]] = defaultdict(list)
    models: tuple[VariantResult | ReferenceResult, ...] = (*run.variants, run.reference)
    for model in models:
        if not isinstance(model, VariantResult) or model.status == "measured":
            for figure, reason in _missing_speed(model.speed):
                names[figure, reason].append(words.plain(model.name))
    for variant in run.variants:
        for figure, reason in (*_missing_divergence(variant), *_missing_latency(variant)):
            names[figure, reason].append(words.plain(variant.name))
    return tuple(words.plain(f"{figure} of {words.listed(who)}: {why}") for (figure, why), who in names.items())


def _missing_divergence(variant: VariantResult) -> Iterator[tuple[str, str]]:
    if variant.status == "failed":
        return
    if variant.overall is None or variant.overall.divergence is None:
        yield "KL divergence", "not measured"
        return
    divergence = variant.overall.divergence
    for title, figure in (
        ("perplexity ratio", divergence.perplexity_ratio),
        ("mean KL divergence", divergence.kl_mean),
        ("KL divergence p99", divergence.kl_p99),
        ("top-1 agreement", divergence.top1_agreement),
    ):
        if isinstance(figure, Missing):
            yield title, figure.missing


def _missing_latency(variant: VariantResult) -> Iterator[tuple[str, str]]:
    latency, genai = variant.latency, variant.genai
    timed: tuple[Figure, ...] = (latency,) if isinstance(latency, Missing) else ()
    if isinstance(latency, VariantLatency):
        timed = tuple(f for c in latency.contexts for f in (c.prefill_ms, c.decode_ms_per_token))
    generated: tuple[Figure, ...] = (genai,) if isinstance(genai, Missing) else ()
    if isinstance(genai, GenAiLatency):
        generated = (genai.time_to_first_token_ms, genai.time_per_output_token_ms)
    for title, figures in (("latency by benchmark_app", timed), ("times by OpenVINO GenAI", generated)):
        for reason in dict.fromkeys(f.missing for f in figures if isinstance(f, Missing)):
            yield title, reason


def _missing_speed(speed: Speed | Missing) -> Iterator[tuple[str, str]]:
    if isinstance(speed, Missing):
        yield "speed", speed.missing
        return
    for title, figure in (
        ("prefill speed", speed.prefill_tokens_per_s),
        ("decode speed", speed.decode_tokens_per_s),
        ("time to first token", speed.time_to_first_token_s),
    ):
        if isinstance(figure, Missing):
            yield title, figure.missing


def _notes(run: RunResult) -> tuple[str, ...]:
    return tuple(words.plain(f"{v.name}: {note}") for v in run.variants for note in v.notes)


def _failures(run: RunResult) -> tuple[str, ...]:
    failed = (v for v in run.variants if v.status == "failed")
    return tuple(
        words.plain(f"{v.name}: {v.failure or 'no reason given'}" + (f"; log: {v.log}" if v.log else ""))
        for v in failed
    )


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.01 else f"{100 * share:.2g} %"
