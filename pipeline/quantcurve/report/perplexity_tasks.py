"""What perplexity says of each evaluated variant beside what its slices and tasks lose, and whether the two agree."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from quantcurve.estimates import Estimate, Figure, Missing
from quantcurve.metrics.evidence import ALPHA
from quantcurve.records import Frozen
from quantcurve.report import words
from quantcurve.report.matrix import ACCURACY, Matrix, MatrixRow
from quantcurve.report.rows import NO_FIGURE
from quantcurve.report.slice_tables import lost_points
from quantcurve.report.task_notes import label
from quantcurve.results import RunResult, VariantResult

FEWEST = 4
"""Variants for a rank correlation: of three no order is rarer than one in six."""
NOT_ASKED = Missing(missing="not asked")


class Loss(Frozen):
    """What a variant loses on a slice or in a task's metric; above 0 it is worse."""

    name: str
    loss: Figure
    """Of a slice in points right; of a metric in its own unit."""


class VariantLosses(Frozen):
    """One variant."""

    name: str
    ln_perplexity_ratio: Figure
    kl_mean: Figure
    """Nats per token."""
    slices: tuple[Loss, ...]
    tasks: tuple[Loss, ...]

    @property
    def worst(self) -> Loss | None:
        """The slice with the greatest loss; None where no slice has one."""
        known = [(one.loss.value, one) for one in self.slices if isinstance(one.loss, Estimate)]
        return max(known, key=lambda pair: pair[0])[1] if known else None


class RankCorrelation(Frozen):
    """Kendall's tau-b (Kendall 1945, "The treatment of ties in ranking problems", Biometrika 33, 239-251) between mean
    KL divergence and the greatest loss of a slice, over variants."""

    variants: int
    tau: float | Missing
    p: float | None
    """Of H0: the orders have nothing to do with one another; two-sided."""


class PerplexityTasks(Frozen):
    """All evaluated variants, least KL divergence first."""

    variants: tuple[VariantLosses, ...]
    ranks: RankCorrelation | None
    """None where no slice was asked."""


def perplexity_tasks(run: RunResult) -> PerplexityTasks | None:
    """Perplexity beside slices and tasks; None where nothing was evaluated."""
    found = sorted((losses for v in run.variants if (losses := _losses(v))), key=lambda one: _value(one.kl_mean))
    if not found:
        return None
    ranks = rank_correlation(found) if any(one.slices for one in found) else None
    return PerplexityTasks(variants=tuple(found), ranks=ranks)


def rank_correlation(variants: Sequence[VariantLosses]) -> RankCorrelation:
    """Over the variants of which both are known."""
    pairs = [(v.kl_mean.value, _value(v.worst.loss)) for v in variants if v.worst and isinstance(v.kl_mean, Estimate)]
    if len(pairs) < FEWEST:
        return RankCorrelation(variants=len(pairs), tau=Missing(missing=f"{FEWEST} variants are needed"), p=None)
    if any(len(set(side)) == 1 for side in zip(*pairs, strict=True)):
        return RankCorrelation(variants=len(pairs), tau=Missing(missing="all variants lose the same"), p=None)
    from scipy.stats import kendalltau  # heavy to import

    result = kendalltau(*zip(*pairs, strict=True))
    return RankCorrelation(variants=len(pairs), tau=float(result.statistic), p=float(result.pvalue))


def rank_sentence(ranks: RankCorrelation) -> str:
    """Whether perplexity's order is that of the slices."""
    if isinstance(ranks.tau, Missing):
        counted = f"{ranks.variants} variant{'s' * (ranks.variants != 1)}"
        return f"Whether perplexity orders variants as slices do cannot be said of {counted}: {ranks.tau.missing}."
    assert ranks.p is not None
    if ranks.p > 2 * ALPHA:
        said = "so many variants may have that by chance, and perplexity is not shown to predict the slices' order"
    elif ranks.tau > 0:
        exceptions = "" if math.isclose(ranks.tau, 1) else ", with exceptions"
        said = f"perplexity predicted the slices' order{exceptions}"
    else:
        said = "perplexity predicted the opposite of the slices' order"
    return (
        f"Order by KL divergence and by the slice that lost most, over {ranks.variants} variants: Kendall's tau-b "
        f"{ranks.tau:+.2f}, p {_p(ranks.p)}; {said}."
    )


def perplexity_matrix(found: PerplexityTasks) -> Matrix:
    """As a table, one row a variant."""
    slices = _names(one.slices for one in found.variants)
    tasks = _names(one.tasks for one in found.variants)
    columns = ["ln PPL ratio", "KL mean (nats)", *(["most lost (points)"] if slices else [])]
    columns += [*(f"{name} (points)" for name in slices), *tasks]
    rows = []
    for one in found.variants:
        worst = (
            f"{one.worst.name} {words.spread(one.worst.loss)}" if one.worst and _value(one.worst.loss) > 0 else "none"
        )
        losses = [*_in_order(one.slices, slices), *_in_order(one.tasks, tasks)]
        cells = (one.ln_perplexity_ratio, one.kl_mean, *((worst,) if slices else ()), *losses)
        rows.append(MatrixRow(words.plain(one.name), cells))
    return Matrix(
        "Perplexity beside what slices and tasks lose, least KL divergence first",
        "variant",
        tuple(map(words.plain, columns)),
        tuple(rows),
        ACCURACY,
        tuple(_below(found, bool(slices), bool(tasks))),
    )


def _below(found: PerplexityTasks, slices: bool, tasks: bool) -> Iterator[str]:
    units = [
        *(["slices in points of items right"] if slices else []),
        *(["tasks in their metrics' units"] if tasks else []),
    ]
    yield f"Lost against the reference, paired, {words.listed(units)}; above 0 the variant is worse."
    if found.ranks:
        yield rank_sentence(found.ranks)


def _losses(variant: VariantResult) -> VariantLosses | None:
    slices = variant.scorecard.slices if variant.scorecard else ()
    tasks = () if isinstance(variant.tasks, Missing) else variant.tasks
    if not slices and not tasks:
        return None
    divergence = variant.overall.divergence if variant.overall else None
    return VariantLosses(
        name=variant.name,
        ln_perplexity_ratio=divergence.ln_perplexity_ratio if divergence else NO_FIGURE,
        kl_mean=divergence.kl_mean if divergence else NO_FIGURE,
        slices=tuple(Loss(name=one.name, loss=lost_points(one)) for one in slices),
        tasks=tuple(
            Loss(name=label(task, metric), loss=metric.drop or Missing(missing="not compared"))
            for task in tasks
            for metric in task.metrics
        ),
    )


def _names(losses: Iterator[tuple[Loss, ...]]) -> list[str]:
    return list(dict.fromkeys(one.name for some in losses for one in some))


def _in_order(losses: Sequence[Loss], names: Sequence[str]) -> list[Figure]:
    by_name = {one.name: one.loss for one in losses}
    return [by_name.get(name, NOT_ASKED) for name in names]


def _value(figure: Figure) -> float:
    return figure.value if isinstance(figure, Estimate) else math.inf


def _p(p: float) -> str:
    return f"{p:.2g}" if p >= 0.001 else "below 0.001"
