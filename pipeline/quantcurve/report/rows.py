"""The trade-off table without its looks: rows, columns, and the order in which columns fill the room there is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from quantcurve.estimates import Figure, Missing
from quantcurve.latency_records import ContextLatency, VariantLatency
from quantcurve.records import EffectiveConfig, LlamaCppEffective, ModelFile
from quantcurve.report import words
from quantcurve.results import Divergence, RunResult, Slice, Speed, VariantResult

NO_FIGURE = Missing(missing="")
FRONT_MARK, FALLBACK_MARK = "*", "†"
EXPLAINED = {
    FRONT_MARK: "on the Pareto front",
    FALLBACK_MARK: "part of its weights fell back to another type, see below",
}


@dataclass(frozen=True)
class Row:
    """The reference or one variant."""

    name: str
    verdict: str
    """reference, keep, suspect, at line, discard, failed, or "-" where nothing was screened."""
    file: ModelFile | None
    divergence: Divergence | None
    speed: Speed | None
    on_front: bool = False
    windows: int | None = None
    """Windows that it was scored on."""
    latency: ContextLatency | None = None
    """By benchmark_app, at the middle one of the contexts."""
    setting: str = "-"
    """How its engine ran it, in short."""

    @property
    def marks(self) -> str:
        """Marks that `legend` explains."""
        fell_back = self.file is not None and bool(self.file.fallbacks)
        return (FRONT_MARK if self.on_front else "") + (FALLBACK_MARK if fell_back else "")


@dataclass(frozen=True)
class Column:
    """One measured column."""

    title: str
    unit: str
    cell: Callable[[Row], Figure | str]
    """A figure in SI units or nats, or words."""
    scale: float = 1.0
    """From the figure's unit to the column's."""
    with_interval: bool = False
    """Whether the interval is shown where room is short."""
    rank: int = 0
    """Order in which columns are tried for the room there is; 0 is always shown."""

    @property
    def full_title(self) -> str:
        """Title and unit on one line."""
        return f"{self.title} ({self.unit})" if self.unit else self.title

    def compact(self, row: Row) -> str:
        """The cell for a terminal."""
        cell = self.cell(row)
        if isinstance(cell, str):
            return cell
        return words.spread(cell, self.scale) if self.with_interval else words.alone(cell, self.scale)

    def full(self, row: Row) -> str:
        """The cell with its interval's bounds."""
        cell = self.cell(row)
        return cell if isinstance(cell, str) else words.bounds(cell, self.scale)


def rows(run: RunResult) -> tuple[Row, ...]:
    """The reference, then the variants by size; variants without a file come last."""
    variants = sorted(run.variants, key=lambda v: (v.file is None, v.file.size_bytes if v.file else 0, v.name))
    return (_reference_row(run), *(_variant_row(variant) for variant in variants))


def legend(run: RunResult) -> str:
    """The marks that stand in a run's table, explained."""
    used = {mark for row in rows(run) for mark in row.marks}
    return "   ".join(f"{mark} {meaning}" for mark, meaning in EXPLAINED.items() if mark in used)


def judged(variant: VariantResult) -> str:
    """The verdict on a variant in words."""
    if variant.status == "failed":
        return "failed"
    return variant.verdict.decision.replace("_", " ") if variant.verdict else "-"


def kl_mean(part: Slice | None) -> Figure:
    """Mean KL divergence of a slice, or the empty figure."""
    return part.divergence.kl_mean if part and part.divergence else NO_FIGURE


def _variant_row(variant: VariantResult) -> Row:
    return Row(
        words.plain(variant.name),
        judged(variant),
        variant.file,
        variant.overall.divergence if variant.overall else None,
        _speed(variant.speed),
        variant.on_front,
        variant.overall.windows if variant.overall else None,
        _latency(variant.latency),
        _setting(variant.scoring_config),
    )


def _reference_row(run: RunResult) -> Row:
    reference = run.reference
    return Row(
        words.plain(reference.name),
        "reference",
        reference.file,
        None,
        _speed(reference.speed),
        windows=reference.overall.windows,
        setting=_setting(run.scoring_config),
    )


def _speed(found: Speed | Missing) -> Speed | None:
    return found if isinstance(found, Speed) else None


def _latency(found: VariantLatency | Missing | None) -> ContextLatency | None:
    return found.contexts[len(found.contexts) // 2] if isinstance(found, VariantLatency) else None


def _setting(config: EffectiveConfig | None) -> str:
    if config is None:
        return "-"
    if isinstance(config, LlamaCppEffective):
        return words.plain(f"{_where(config)}, KV {_both(config.k_type, config.v_type)}")
    quantised = config.activations in {"quantised", "partly quantised"}
    activations = f", activations /{config.dynamic_quantization_group}" if quantised else ""
    cache = _both(words.told(config.key_cache_precision), words.told(config.value_cache_precision))
    precision = config.inference_precision or f"arithmetic {words.NOT_TOLD}"
    return words.plain(f"{_where(config)}, {precision}, KV {cache}{activations}")


def _where(config: EffectiveConfig) -> str:
    """Device and threads; a device that is no processor counts none."""
    threads = f", {config.threads} thread{'s' * (config.threads > 1)}" if config.threads else ""
    return f"{config.device}{threads}"


def _both(k: str, v: str) -> str:
    return k if k == v else f"{k} and {v}"


def _of_file(pick: Callable[[ModelFile], str]) -> Callable[[Row], str]:
    return lambda row: pick(row.file) if row.file else "-"


def _of_divergence(pick: Callable[[Divergence], Figure]) -> Callable[[Row], Figure]:
    return lambda row: pick(row.divergence) if row.divergence else NO_FIGURE


def _of_speed(pick: Callable[[Speed], Figure]) -> Callable[[Row], Figure]:
    return lambda row: pick(row.speed) if row.speed else NO_FIGURE


def _memory(row: Row) -> str:
    return f"{row.speed.peak_memory_bytes / words.MIB:.0f}" if row.speed else "-"


COLUMNS = (
    Column("size", "MiB", _of_file(lambda f: f"{f.size_bytes / words.MIB:.1f}")),
    Column("bits/weight", "", _of_file(lambda f: f"{f.bits_per_weight:.2f}"), rank=8),
    Column("PPL ratio", "", _of_divergence(lambda d: d.perplexity_ratio), with_interval=True, rank=1),
    Column("KL mean", "nats", _of_divergence(lambda d: d.kl_mean), with_interval=True),
    Column("KL p99", "nats", _of_divergence(lambda d: d.kl_p99), rank=5),
    Column("top-1", "%", _of_divergence(lambda d: d.top1_agreement), scale=100, rank=2),
    Column("prefill", "t/s", _of_speed(lambda s: s.prefill_tokens_per_s), rank=6),
    Column("decode", "t/s", _of_speed(lambda s: s.decode_tokens_per_s), with_interval=True),
    Column("TTFT", "ms", _of_speed(lambda s: s.time_to_first_token_s), scale=1000, rank=7),
    Column("latency", "ms/token", lambda row: row.latency.decode_ms_per_token if row.latency else NO_FIGURE, rank=3),
    Column("memory", "MiB", _memory, rank=4),
    Column("windows", "", lambda row: str(row.windows) if row.windows else "-", rank=9),
    Column("run as", "", lambda row: row.setting, rank=10),
)
