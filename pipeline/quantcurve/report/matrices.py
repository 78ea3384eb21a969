"""Figures of several kinds by variant, each in a table of its own below the trade-off table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from quantcurve.estimates import Missing
from quantcurve.latency_records import GenAiLatency, MeanStd, VariantLatency
from quantcurve.report import words
from quantcurve.report.behaviour_tables import behaviour_matrices, confidence_matrices, reliability_matrices
from quantcurve.report.by_text import KL, RATIO, TOP1, Measure, by_text
from quantcurve.report.matrix import ACCURACY, LATENCY, Matrix, MatrixRow
from quantcurve.report.perplexity_tasks import perplexity_matrix, perplexity_tasks
from quantcurve.report.slice_tables import COMPACT, FULL, SliceView, slice_matrices
from quantcurve.report.task_notes import label
from quantcurve.results import RunResult, VariantResult


def matrices(run: RunResult) -> tuple[Matrix, ...]:
    """All that have something to show, as a terminal has room for them."""
    return tuple(_found(run, (KL,), COMPACT))


def detailed_matrices(run: RunResult) -> tuple[Matrix, ...]:
    """The same with more columns, and with more figures by text."""
    return tuple(_found(run, (RATIO, KL, TOP1), FULL))


def _found(run: RunResult, measures: Sequence[Measure], view: SliceView) -> Iterator[Matrix]:
    yield from (found for measure in measures if (found := by_text(run, measure)))
    if compared := perplexity_tasks(run):
        yield perplexity_matrix(compared)
    yield from slice_matrices(run, view)
    if view is FULL:
        yield from behaviour_matrices(run)
        yield from confidence_matrices(run)
        yield from reliability_matrices(run)
    yield from task_and_latency_matrices(run)


def task_and_latency_matrices(run: RunResult) -> Iterator[Matrix]:
    """Tasks of lm-evaluation-harness, benchmark_app and OpenVINO GenAI, where they ran."""
    if run.reference.tasks:
        yield _tasks(run)
    timed = [(v, v.latency) for v in run.variants if isinstance(v.latency, VariantLatency)]
    if timed:
        yield _latency(timed)
    generated = [(v, v.genai) for v in run.variants if isinstance(v.genai, GenAiLatency)]
    if generated:
        yield _genai(generated)


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
