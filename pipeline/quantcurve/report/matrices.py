"""Figures of several kinds by variant, each in a table of its own below the trade-off table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from quantcurve.estimates import Estimate, Figure, Missing
from quantcurve.latency_records import GenAiLatency, MeanStd, VariantLatency
from quantcurve.report import words
from quantcurve.report.rows import judged, kl_mean
from quantcurve.report.task_notes import label
from quantcurve.results import RunResult, VariantResult

ACCURACY, LATENCY = "accuracy", "latency"


class MatrixRow(NamedTuple):
    """One row of figures."""

    name: str
    cells: tuple[Figure | str, ...]
    """Figures with an interval, or words."""


class Matrix(NamedTuple):
    """Figures by row and column; all have one unit, or the columns name theirs."""

    heading: str
    corner: str
    """What the rows are."""
    columns: tuple[str, ...]
    rows: tuple[MatrixRow, ...]
    kind: str
    """Of its figures: what the level of their intervals is said of."""


def matrices(run: RunResult) -> tuple[Matrix, ...]:
    """All that have something to show."""
    return tuple(_found(run))


def _found(run: RunResult) -> Iterator[Matrix]:
    if len(run.texts) > 1 and any(v.slices for v in run.variants):
        yield _kl_by_text(run)
    if run.reference.tasks:
        yield _tasks(run)
    timed = [(v, v.latency) for v in run.variants if isinstance(v.latency, VariantLatency)]
    if timed:
        yield _latency(timed)
    generated = [(v, v.genai) for v in run.variants if isinstance(v.genai, GenAiLatency)]
    if generated:
        yield _genai(generated)


def _kl_by_text(run: RunResult) -> Matrix:
    """Mean KL divergence (nats) of every variant on every text.

    Texts are ordered by the largest KL divergence that any variant has on them; discarded variants count only if
    there are no others.
    """
    shown = sorted((v for v in run.variants if v.slices), key=lambda v: v.file.size_bytes if v.file else 0)
    counted = [v for v in shown if judged(v) != "discard"] or shown
    worst_first = sorted((t.name for t in run.texts), key=lambda text: -max(_kl_value(v, text) for v in counted))
    rows = tuple(MatrixRow(words.plain(text), tuple(_kl_on(v, text) for v in shown)) for text in worst_first)
    columns = tuple(words.plain(v.name) for v in shown)
    return Matrix("KL mean (nats) by text, worst first", "text", columns, rows, ACCURACY)


def _kl_on(variant: VariantResult, text: str) -> Figure:
    return kl_mean(next((part for part in variant.slices if part.text == text), None))


def _kl_value(variant: VariantResult, text: str) -> float:
    kl = _kl_on(variant, text)
    return kl.value if isinstance(kl, Estimate) else 0.0


def _tasks(run: RunResult) -> Matrix:
    """Each metric's mean of the reference, and what every variant loses."""
    asked = [v for v in run.variants if not isinstance(v.tasks, Missing) and v.tasks]
    rows = []
    for i, task in enumerate(run.reference.tasks):
        for j, metric in enumerate(task.metrics):
            drops = [v.tasks[i].metrics[j].drop for v in asked if not isinstance(v.tasks, Missing)]
            cells = (metric.value, *(drop or Missing(missing="not compared") for drop in drops))
            rows.append(MatrixRow(words.plain(label(task, metric)), cells))
    columns = ("reference", *(f"lost by {words.plain(v.name)}" for v in asked))
    return Matrix(
        "Tasks: the reference's mean, and what variants lose (paired)", "metric", columns, tuple(rows), ACCURACY
    )


def _latency(timed: list[tuple[VariantResult, VariantLatency]]) -> Matrix:
    contexts = tuple(c.context_tokens for c in timed[0][1].contexts)
    columns = tuple(f"{what} {context}" for what in ("prefill", "decode at") for context in contexts)
    rows = tuple(
        MatrixRow(
            words.plain(variant.name),
            (*(c.prefill_ms for c in found.contexts), *(c.decode_ms_per_token for c in found.contexts)),
        )
        for variant, found in timed
    )
    heading = "Latency (ms) by benchmark_app: prefill of a context, and one token after it"
    return Matrix(heading, "variant", columns, rows, LATENCY)


def _genai(generated: list[tuple[VariantResult, GenAiLatency]]) -> Matrix:
    samples = generated[0][1].samples
    backends = [words.told(found.samples.attention_backend) for _, found in generated]
    mixed = len(set(backends)) > 1
    heading = (
        f"OpenVINO GenAI's own figures: {samples.prompt_tokens} prompt tokens, {samples.generated_tokens} new ones"
        + ("" if mixed else f", attention backend {backends[0]}")
    )
    columns = ("time to first token (ms)", "time per output token (ms)", "tokens/s, mean ± standard deviation")
    rows = tuple(
        MatrixRow(
            words.plain(variant.name),
            (
                *((backend,) * mixed),
                found.time_to_first_token_ms,
                found.time_per_output_token_ms,
                _mean_std(found.samples.throughput_tokens_per_s),
            ),
        )
        for (variant, found), backend in zip(generated, backends, strict=True)
    )
    return Matrix(heading, "variant", ("attention backend",) * mixed + columns, rows, "OpenVINO GenAI")


def _mean_std(found: MeanStd) -> str:
    """Not an interval: the spread of what was generated."""
    return f"{found.mean:.3g} ± {found.std:.2g}"
