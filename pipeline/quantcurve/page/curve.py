"""What the page's curve can show: every variant with its figures on all axes, and the contract's lines on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

from quantcurve.estimates import Estimate, Figure
from quantcurve.metrics.transforms import scaled
from quantcurve.recipe_contract import Contract
from quantcurve.recipe_openvino import FLOOR
from quantcurve.records import Frozen
from quantcurve.report import words
from quantcurve.report.model_figures import Model, benchmark_app, exact, of_divergence, of_speed
from quantcurve.report.rows import NO_FIGURE, judged, kl_mean
from quantcurve.report.slice_tables import lost_points
from quantcurve.results import RunResult, VariantResult
from quantcurve.scorecard_records import Scorecard

Better = Literal["higher", "lower"]
Span = tuple[float, float, float]
"""Value, lower and upper end of the interval."""


class PageAxis(Frozen):
    """One axis that can be chosen."""

    key: str
    title: str
    unit: str
    better: Better
    side: Literal["x", "y"]
    log: bool = False
    """Whether values that span more than a factor of ten are drawn by their logarithm."""


class Point(Frozen):
    """One variant."""

    id: str
    run: int
    name: str
    lane: str
    screen: str
    contract: str
    """pass, fail, undecided, not evaluated; empty where there is no contract."""
    on_front: bool
    tied_with: tuple[str, ...]
    """Ids of variants whose paired KL divergence cannot be told from this one's."""
    spans: tuple[Span | None, ...]
    """One for each of AXES."""


class ContractLine(Frozen):
    """A budget where an axis shows it."""

    run: int
    axis: int
    value: float
    label: str


class CurveRun(Frozen):
    """What is drawn of a run beside its variants."""

    name: str
    machine: str
    reference: str
    reference_spans: tuple[Span | None, ...]
    floor_nats: float | None
    """KL divergence of the engine floor, where both engines ran."""


class Curve(Frozen):
    """Everything that the curve, the filters and the sentence below them read."""

    axes: tuple[PageAxis, ...]
    runs: tuple[CurveRun, ...]
    points: tuple[Point, ...]
    lines: tuple[ContractLine, ...]


class _Source(NamedTuple):
    """An axis, and where its figures are from."""

    axis: PageAxis
    of: Callable[[Model], Figure]


def curve(runs: Sequence[RunResult]) -> Curve:
    """Of one or more runs; variants without any figure, and the engine floor, have no point."""
    return Curve(
        axes=AXES,
        runs=tuple(_run(run) for run in runs),
        points=tuple(point for i, run in enumerate(runs) for point in _points(i, run)),
        lines=tuple(line for i, run in enumerate(runs) for line in _lines(i, run)),
    )


def point_id(run: int, name: str, names: Sequence[str]) -> str:
    """Of a variant, free of what its name may hold."""
    return f"r{run}v{names.index(name)}"


def contract_word(card: Scorecard | None) -> str:
    """The contract's verdict on a variant; empty where there is no contract."""
    return card.verdict.decision if card else ""


def worst_slice(card: Scorecard | None) -> Figure:
    """The slice that loses most, in points, of those that can show a loss."""
    slices = [one for one in (card.slices if card else ()) if not one.note]
    losses = [loss for one in slices if isinstance(loss := lost_points(one), Estimate)]
    return max(losses, key=lambda one: one.value, default=NO_FIGURE)


def _run(run: RunResult) -> CurveRun:
    floor = next((kl_mean(v.overall) for v in run.variants if v.name == FLOOR), NO_FIGURE)
    return CurveRun(
        name=words.plain(run.name),
        machine=words.plain(run.machine.processor),
        reference=words.plain(run.reference.name),
        reference_spans=_spans(run.reference),
        floor_nats=floor.value if isinstance(floor, Estimate) else None,
    )


def _points(i: int, run: RunResult) -> Iterator[Point]:
    names = [variant.name for variant in run.variants]
    for variant in run.variants:
        if variant.name == FLOOR or not any(spans := _spans(variant)):
            continue
        yield Point(
            id=point_id(i, variant.name, names),
            run=i,
            name=words.plain(variant.name),
            lane=variant.engine,
            screen=judged(variant),
            contract=contract_word(variant.scorecard),
            on_front=variant.on_front,
            tied_with=tuple(point_id(i, name, names) for name in variant.tied_with if name in names),
            spans=spans,
        )


def _spans(model: Model) -> tuple[Span | None, ...]:
    return tuple(_span(source.of(model)) for source in _SOURCES)


def _span(figure: Figure) -> Span | None:
    return (figure.value, figure.low, figure.high) if isinstance(figure, Estimate) else None


def _size(model: Model) -> Figure:
    return exact(model.file.size_bytes / words.MIB, "MiB") if model.file else NO_FIGURE


def _worst_slice(model: Model) -> Figure:
    return worst_slice(model.scorecard) if isinstance(model, VariantResult) else NO_FIGURE


_SOURCES = (
    _Source(
        PageAxis(key="decode_tokens_per_s", title="decode speed", unit="tokens/s", better="higher", side="x"),
        of_speed(lambda s: s.decode_tokens_per_s),
    ),
    _Source(
        PageAxis(key="benchmark_app", title="latency by benchmark_app", unit="ms/token", better="lower", side="x"),
        benchmark_app,
    ),
    _Source(
        PageAxis(key="latency_p95", title="latency of a decoded token, p95", unit="ms", better="lower", side="x"),
        of_speed(lambda s: scaled(s.decode_latency_p95_s, 1000, "ms")),
    ),
    _Source(
        PageAxis(key="time_to_first_token", title="time to first token", unit="ms", better="lower", side="x"),
        of_speed(lambda s: scaled(s.time_to_first_token_s, 1000, "ms")),
    ),
    _Source(PageAxis(key="size", title="file size", unit="MiB", better="lower", side="x"), _size),
    _Source(
        PageAxis(key="peak_memory", title="peak memory", unit="MiB", better="lower", side="x"),
        of_speed(lambda s: exact(s.peak_memory_bytes / words.MIB, "MiB")),
    ),
    _Source(
        PageAxis(key="kl_mean", title="mean KL divergence", unit="nats/token", better="lower", side="y", log=True),
        of_divergence(lambda d: d.kl_mean),
    ),
    _Source(
        PageAxis(key="perplexity_ratio", title="perplexity ratio", unit="", better="lower", side="y"),
        of_divergence(lambda d: d.perplexity_ratio),
    ),
    _Source(
        PageAxis(key="worst_slice", title="loss on the worst slice", unit="points", better="lower", side="y"),
        _worst_slice,
    ),
)
AXES = tuple(source.axis for source in _SOURCES)


def _lines(i: int, run: RunResult) -> Iterator[ContractLine]:
    """Of budgets that an axis shows; they are the same of all variants."""
    card = next((v.scorecard for v in run.variants if v.scorecard and v.scorecard.verdict.budgets), None)
    for verdict in card.verdict.budgets if card else ():
        budget = verdict.budget
        found = _system_line(run, budget.name, budget.words) if budget.part == "system" else None
        if budget.part == "quality":
            found = _quality_line(budget.name, budget.words)
        if found:
            label = f"contract: {budget.name} {budget.words}"
            yield ContractLine(run=i, axis=found[0], value=found[1], label=words.plain(label))


def _system_line(run: RunResult, name: str, wanted: str) -> tuple[int, float] | None:
    at = next((i for i, axis in enumerate(AXES) if axis.key == name), None)
    limit = next((limit for _, limit in Contract.model_validate({"system": {name: wanted}}).system.limits()), None)
    if at is None or limit is None:
        return None
    if limit.kind != "change":
        return at, limit.amount * {"MiB": 1 / words.MIB, "ms": 1000}.get(AXES[at].unit, 1)
    reference = _span(_SOURCES[at].of(run.reference))
    return (at, reference[0] * (1 + limit.amount)) if reference else None


def _quality_line(name: str, wanted: str) -> tuple[int, float] | None:
    if name != "every slice":
        return None
    limit = Contract.model_validate({"quality": {name: wanted}}).quality[name]
    at = next(i for i, axis in enumerate(AXES) if axis.key == "worst_slice")
    return (at, 100 * limit.amount) if limit.kind == "points" else None
