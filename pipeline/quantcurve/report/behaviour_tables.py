"""How answers are, and how sure choices: every evaluated variant beside the reference, slice by slice."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from quantcurve.estimates import Estimate, Figure
from quantcurve.metrics.behaviour import Behaviour
from quantcurve.metrics.confidence import Confidence
from quantcurve.metrics.item_changes import Compared
from quantcurve.metrics.transforms import scaled
from quantcurve.report import words
from quantcurve.report.matrix import ACCURACY, Matrix, MatrixRow
from quantcurve.results import RunResult, VariantResult
from quantcurve.scorecard_records import SliceResult

BEHAVIOUR = (
    *("output tokens, mean", "output tokens, p95", "length ratio", "verbosity ratio", "cut off (%)", "loops (%)"),
    *("repetition (%)", "entropy (nats)", "margin (logits)", "same answer (%)", "first other token"),
)
_HOW = (
    "From the reference to the variant. Length ratio: mean tokens over the reference's; verbosity ratio: geometric "
    "mean of the prompts' ratios. Cut off: ended by the limit. Loops: ended in three or more repeats of one block. "
    "Repetition: 4-grams of tokens that occurred before. Entropy and margin: over the steps that both took after the "
    "same tokens. First other token: median of the answers that differ."
)
CONFIDENCE = (
    *("right (%)", "confidence", "ECE", "change of ECE", "Brier score", "change of Brier score"),
    *("entropy (nats)", "temperature"),
)
BINNED = 40
"""Items from which on ten bins are shown; the record has them anyway."""
_SURE = (
    "From the reference to the variant. ECE: expected calibration error in 10 bins of equal mass, corrected for "
    "chance. Temperature: what the variant's log-likelihoods are to be divided by to come closest to the reference's "
    "probabilities; above 1 it is surer."
)


def behaviour_matrices(run: RunResult) -> Iterator[Matrix]:
    """Of answers that were generated."""
    for i, (variant, slices) in enumerate(_of_slices(run, lambda s: s.behaviour is not None)):
        rows = [MatrixRow(words.plain(s.name), _behaviour(s.behaviour)) for s in slices if s.behaviour]
        yield Matrix(
            f"Answers of {words.plain(variant.name)}", "slice", BEHAVIOUR, tuple(rows), ACCURACY, () if i else (_HOW,)
        )


def confidence_matrices(run: RunResult) -> Iterator[Matrix]:
    """Of multiple choice."""
    for i, (variant, slices) in enumerate(_sure(run)):
        rows = tuple(MatrixRow(words.plain(s.name), _confidence(s)) for s in slices)
        name = words.plain(variant.name)
        yield Matrix(f"Certainty of {name}", "slice", CONFIDENCE, rows, ACCURACY, () if i else (_SURE,))


def reliability_matrices(run: RunResult) -> Iterator[Matrix]:
    """How often choices of about one confidence are right."""
    for variant, slices in _sure(run):
        yield from (_reliability(words.plain(variant.name), one) for one in slices if one.items >= BINNED)


def _sure(run: RunResult) -> Iterator[tuple[VariantResult, list[SliceResult]]]:
    return _of_slices(run, lambda s: s.variant_confidence is not None)


def _of_slices(
    run: RunResult, known: Callable[[SliceResult], bool]
) -> Iterator[tuple[VariantResult, list[SliceResult]]]:
    for variant in run.variants:
        if variant.scorecard and (some := [s for s in variant.scorecard.slices if known(s)]):
            yield variant, some


def _behaviour(found: Behaviour) -> tuple[Figure | str, ...]:
    return (
        _both(found.tokens),
        _both(found.tokens_p95),
        found.length_ratio,
        found.verbosity_ratio,
        _both(found.limit, 100),
        _both(found.loops, 100),
        _both(found.repetition, 100),
        _both(found.shared_entropy),
        _both(found.shared_margin),
        scaled(found.agreement, 100, "%"),
        found.first_divergence,
    )


def _confidence(found: SliceResult) -> tuple[Figure | str, ...]:
    a, b, change = found.reference_confidence, found.variant_confidence, found.confidence
    assert a and b and change
    return (
        _arrow(a.accuracy, b.accuracy, 100),
        _arrow(a.confidence, b.confidence),
        _arrow(a.calibration[0].error, b.calibration[0].error),
        change.calibration[0].change,
        _arrow(a.brier, b.brier),
        change.brier,
        _arrow(a.entropy, b.entropy),
        change.temperature,
    )


def _reliability(name: str, found: SliceResult) -> Matrix:
    sides = (("reference", found.reference_confidence), (name, found.variant_confidence))
    rows = [row for label, one in sides if one for row in _bins(label, one)]
    columns = ("items", "mean confidence", "right (share)")
    heading = f"Reliability of {name} on {words.plain(found.name)}, by bins of confidence"
    return Matrix(heading, "model, confidence", columns, tuple(rows), ACCURACY)


def _bins(label: str, one: Confidence) -> Iterator[MatrixRow]:
    for each in one.calibration[0].reliability:
        cells = (f"{each.items:,}", f"{each.confidence:.3f}", each.accuracy)
        yield MatrixRow(f"{label}, {each.low:.2f} to {each.high:.2f}", cells)


def _both(found: Compared, factor: float = 1.0) -> str:
    return _arrow(found.reference, found.variant, factor)


def _arrow(reference: Figure, variant: Figure, factor: float = 1.0) -> str:
    sides: Sequence[Figure] = (reference, variant)
    return " -> ".join(f"{factor * side.value:.3g}" if isinstance(side, Estimate) else "-" for side in sides)
