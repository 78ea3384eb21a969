"""The trade-off table for other programs: CSV or Parquet, one row a model, every figure with both ends of its
interval."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, NamedTuple

from quantcurve import disk
from quantcurve.errors import PrerequisiteError, RecipeError
from quantcurve.estimates import Estimate, Figure
from quantcurve.metrics.transforms import scaled
from quantcurve.report.model_figures import Model, benchmark_app, exact, of_divergence, of_speed
from quantcurve.report.rows import NO_FIGURE, judged
from quantcurve.report.slice_tables import lost_points
from quantcurve.results import RunResult, VariantResult

FORMATS = (".csv", ".parquet")
FIX = "free some space there, or give another file"
Value = str | float | int | bool | None


class _Exported(NamedTuple):
    """A figure's columns: NAME, NAME_low, NAME_high."""

    name: str
    """With its unit."""
    of: Callable[[Model], Figure]


def save_table(run: RunResult, path: Path) -> None:
    """Write the table to a .csv or .parquet file, which appears whole or not at all; an empty cell is no figure.

    Raises:
        RecipeError: another suffix, or a file that cannot be written.
        PrerequisiteError: a full disk, or pyarrow is missing.
    """
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise RecipeError(f"{path}: tables are written as .csv or .parquet, not as {suffix or 'a file without suffix'}")
    models: tuple[Model, ...] = (run.reference, *run.variants)
    names, rows = columns(run), [tuple(cells(run, model)) for model in models]
    write = _csv if suffix == ".csv" else _parquet
    with disk.written(path, "the table", FIX) as draft, draft.open("wb") as sink:
        write(names, rows, sink)


def columns(run: RunResult) -> list[str]:
    """Names of the columns."""
    fixed = ["run", "name", "engine", "status", "screen", "contract", "on_front", "dominated_by", "tied_with"]
    fixed += ["sha256", "size_bytes", "bits_per_weight", "windows"]
    return [*fixed, *(f"{e.name}{end}" for e in _exported(run) for end in ("", "_low", "_high"))]


def cells(run: RunResult, model: Model) -> Iterator[Value]:
    """One model's, in the columns' order."""
    variant = model if isinstance(model, VariantResult) else None
    yield from (run.name, model.name, variant.engine if variant else run.engine.name)
    yield variant.status if variant else "measured"
    yield judged(variant) if variant else "reference"
    yield variant.scorecard.verdict.decision if variant and variant.scorecard else None
    yield from (
        (variant.on_front, " ".join(variant.dominated_by), " ".join(variant.tied_with)) if variant else (None,) * 3
    )
    file = model.file
    yield from (file.content_hash, file.size_bytes, file.bits_per_weight) if file else (None,) * 3
    yield model.overall.windows if model.overall else None
    for exported in _exported(run):
        figure = exported.of(model)
        yield from (figure.value, figure.low, figure.high) if isinstance(figure, Estimate) else (None,) * 3


def _exported(run: RunResult) -> list[_Exported]:
    slices = dict.fromkeys(s.name for v in run.variants if v.scorecard for s in v.scorecard.slices)
    return [
        *_FIGURES,
        *(_Exported(f"kl_mean_nats[{text.name}]", _by_text(text.name)) for text in run.texts[1:] and run.texts),
        *(_Exported(f"lost_points[{name}]", _by_slice(name)) for name in slices),
    ]


def _by_text(name: str) -> Callable[[Model], Figure]:
    def of(model: Model) -> Figure:
        part = next((part for part in model.slices if part.text == name), None)
        return part.divergence.kl_mean if part and part.divergence else NO_FIGURE

    return of


def _by_slice(name: str) -> Callable[[Model], Figure]:
    def of(model: Model) -> Figure:
        card = model.scorecard if isinstance(model, VariantResult) else None
        return next((lost_points(one) for one in (card.slices if card else ()) if one.name == name), NO_FIGURE)

    return of


_FIGURES = (
    _Exported("perplexity", lambda model: model.overall.model.perplexity if model.overall else NO_FIGURE),
    _Exported("perplexity_ratio", of_divergence(lambda d: d.perplexity_ratio)),
    _Exported("kl_mean_nats", of_divergence(lambda d: d.kl_mean)),
    _Exported("kl_median_nats", of_divergence(lambda d: d.kl_median)),
    _Exported("kl_p99_nats", of_divergence(lambda d: d.kl_p99)),
    _Exported("top1_agreement", of_divergence(lambda d: d.top1_agreement)),
    _Exported("prefill_tokens_per_s", of_speed(lambda s: s.prefill_tokens_per_s)),
    _Exported("decode_tokens_per_s", of_speed(lambda s: s.decode_tokens_per_s)),
    _Exported("time_to_first_token_ms", of_speed(lambda s: scaled(s.time_to_first_token_s, 1000, "ms"))),
    _Exported("decode_latency_p95_ms", of_speed(lambda s: scaled(s.decode_latency_p95_s, 1000, "ms"))),
    _Exported("decode_latency_p99_ms", of_speed(lambda s: scaled(s.decode_latency_p99_s, 1000, "ms"))),
    _Exported("load_time_ms", of_speed(lambda s: scaled(s.load_time_s, 1000, "ms"))),
    _Exported("peak_memory_bytes", of_speed(lambda s: exact(s.peak_memory_bytes, "bytes"))),
    _Exported("benchmark_app_ms_per_token", benchmark_app),
)


def _csv(names: list[str], rows: list[tuple[Value, ...]], sink: IO[bytes]) -> None:
    import io

    text = io.TextIOWrapper(sink, encoding="utf-8", newline="")
    csv.writer(text).writerows([names, *(map(_safe, row) for row in rows)])
    text.flush()
    text.detach()


def _safe(value: Value) -> Value:
    """Spreadsheets take text that begins so for a formula: an apostrophe keeps it text."""
    return f"'{value}" if isinstance(value, str) and value[:1] in {"=", "+", "-", "@", "\t", "\r"} else value


def _parquet(names: list[str], rows: list[tuple[Value, ...]], sink: IO[bytes]) -> None:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise PrerequisiteError("writing Parquet needs pyarrow", "pip install 'quantcurve[parquet]'") from None
    columns = {name: list(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}
    parquet.write_table(pyarrow.table(columns), sink)
