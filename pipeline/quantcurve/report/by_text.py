"""Where variants diverge: perplexity ratio, KL divergence and top-1 agreement by text, worst first."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

from quantcurve.estimates import Estimate, Figure
from quantcurve.metrics.transforms import scaled
from quantcurve.report import words
from quantcurve.report.matrix import ACCURACY, Matrix, MatrixRow
from quantcurve.report.rows import NO_FIGURE, judged
from quantcurve.results import Divergence, RunResult, VariantResult


class Measure(NamedTuple):
    """A figure of divergence."""

    title: str
    """With its unit."""
    of: Callable[[Divergence], Figure]
    worse: Literal["higher", "lower"]


KL = Measure("KL mean (nats)", lambda d: d.kl_mean, "higher")
RATIO = Measure("PPL ratio", lambda d: d.perplexity_ratio, "higher")
TOP1 = Measure("Top-1 agreement (%)", lambda d: scaled(d.top1_agreement, 100, "%"), "lower")


def by_text(run: RunResult, measure: Measure) -> Matrix | None:
    """One figure of every variant on every text; None where there is one text.

    Texts are ordered by the worst figure that any variant has on them; discarded variants count only if there are no
    others.
    """
    shown = sorted((v for v in run.variants if v.slices), key=lambda v: v.file.size_bytes if v.file else 0)
    if len(run.texts) < 2 or not shown:
        return None
    counted = [v for v in shown if judged(v) != "discard"] or shown
    texts = sorted(
        (t.name for t in run.texts), key=lambda text: -max(_badness(_on(v, text, measure), measure) for v in counted)
    )
    rows = tuple(MatrixRow(words.plain(text), tuple(_on(v, text, measure) for v in shown)) for text in texts)
    columns = tuple(words.plain(v.name) for v in shown)
    return Matrix(f"{measure.title} by text, worst first", "text", columns, rows, ACCURACY)


def _on(variant: VariantResult, text: str, measure: Measure) -> Figure:
    part = next((part for part in variant.slices if part.text == text), None)
    return measure.of(part.divergence) if part and part.divergence else NO_FIGURE


def _badness(figure: Figure, measure: Measure) -> float:
    if not isinstance(figure, Estimate):
        return -math.inf
    return figure.value if measure.worse == "higher" else -figure.value
