"""The table of an encoder's run, and sentences about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from quantcurve.encoder_results import EncoderLatency, EncoderQuality, EncoderResult, EncoderVariantResult
from quantcurve.estimates import Figure, Missing
from quantcurve.report.explain import summary
from quantcurve.report.markdown import escape, plain_table
from quantcurve.report.words import plain

if TYPE_CHECKING:
    from rich.table import Table

NONE = "-"


def encoder_table(result: EncoderResult) -> Table:
    """A row for the reference and for each variant, for the terminal: changes as intervals, the others as values."""
    from rich.table import Table

    name, *columns = _header(result)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(name, no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for row in _rows(result, _TERMINAL):
        table.add_row(*row)
    return table


def encoder_markdown(result: EncoderResult) -> str:
    """The same for a pull request or a model card."""
    said = "\n".join(f"- {escape(sentence)}" for sentence in sentences(result))
    return f"## {escape(result.name)}\n\n{plain_table(_header(result), _rows(result, _MARKDOWN))}\n\n{said}\n"


def sentences(result: EncoderResult) -> Iterator[str]:
    """What the contract says of each variant, what the figures are of, and what is to be known of single variants."""
    for variant in result.variants:
        if verdict := variant.verdict:
            yield plain(f"{variant.name}: {verdict.decision}: {verdict.sentence}")
            yield from (plain(f"{variant.name}, {other}") for other in verdict.others())
    yield f"{result.model}: {result.pipeline}"
    yield (
        f"Spearman: {result.similarity.items} graded pairs ({result.similarity.source}); recall: "
        f"{result.retrieval.items} queries over {result.retrieval.passages} passages ({result.retrieval.source}); "
        "changes are paired, drift is 1 - cosine to the float32 reference, tau is Kendall's between both rankings "
        "of all passages; 95 % intervals"
    )
    if found := result.calibration:
        out = f", {found.left_out} more left out since the model is judged on them" if found.left_out else ""
        yield f"W8A8 calibrated on {found.items} sentences ({found.source}{out})"
    if work := result.workload:
        yield (
            f"ms: median of one pass over {work.batch} x {work.tokens} tokens with {result.threads} threads on "
            f"{result.machine.processor}; app: benchmark_app's median on static shapes"
        )
    for variant in result.variants:
        if variant.status == "failed":
            yield f"{variant.name} failed: {variant.reason}"
        if variant.accuracy_control:
            yield f"{variant.name}: accuracy control: {summary(variant.accuracy_control)}"
        yield from (f"{variant.name}: {note}" for note in variant.notes)


class _Style(NamedTuple):
    """How figures are shown."""

    value: Callable[[Figure, int], str]
    change: Callable[[Figure, int], str]


def _header(result: EncoderResult) -> tuple[str, ...]:
    quality = result.reference.quality
    recall = f"recall@{quality.ranking.recall[0].k}" if quality else "recall"
    return ("variant", "MB", "Spearman", "change", "drift", recall, "change", "tau", "ms", "app ms", "peak MB")


def _rows(result: EncoderResult, style: _Style) -> list[tuple[str, ...]]:
    return [(variant.name, *_cells(variant, style)) for variant in (result.reference, *result.variants)]


def _cells(variant: EncoderVariantResult, style: _Style) -> tuple[str, ...]:
    if variant.quality is None:
        return (variant.status, *(NONE for _ in range(9)))
    size = f"{variant.file.size_bytes / 1e6:.1f}" if variant.file else NONE
    return size, *_quality(variant.quality, style), *_times(variant.latency, style)


def _quality(quality: EncoderQuality, style: _Style) -> tuple[str, ...]:
    ranking, change, drift = quality.ranking, quality.spearman_change, quality.drift
    return (
        style.value(quality.spearman, 3),
        style.change(change, 3) if change else NONE,
        f"{drift.mean.value:.2g}" if drift else NONE,
        style.value(ranking.recall[0].figure, 3),
        style.change(ranking.recall_change[0].figure, 3) if ranking.recall_change else NONE,
        style.value(ranking.tau, 3) if ranking.tau else NONE,
    )


def _times(latency: EncoderLatency | Missing | None, style: _Style) -> tuple[str, str, str]:
    if not isinstance(latency, EncoderLatency):
        return NONE, NONE, NONE
    app = latency.benchmark_app_ms
    return (
        style.value(latency.pass_ms, 1),
        f"{app:.1f}" if isinstance(app, float) else NONE,
        f"{latency.peak_memory_bytes / 1e6:.0f}",
    )


def _value(figure: Figure, digits: int) -> str:
    return NONE if isinstance(figure, Missing) else f"{figure.value:.{digits}f}"


def _interval(figure: Figure, digits: int) -> str:
    return NONE if isinstance(figure, Missing) else f"[{figure.low:+.{digits}f}, {figure.high:+.{digits}f}]"


def _bounds(figure: Figure, digits: int) -> str:
    if isinstance(figure, Missing):
        return NONE
    return f"{figure.value:.{digits}f} [{figure.low:.{digits}f}, {figure.high:.{digits}f}]"


_TERMINAL, _MARKDOWN = _Style(_value, _interval), _Style(_bounds, _bounds)
