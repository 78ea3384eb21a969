"""A slice on two models: paired figures of the whole slice and of its parts, and which of all changes are real.

Every generated slice has figures of what the model writes, and beside them figures along the reference's own answer,
which a small model gives also where it solves nothing: how likely it finds that answer, its end, and the bracket that
closes it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from quantcurve.errors import RecipeError
from quantcurve.estimates import Estimate, Figure
from quantcurve.metrics.evidence import ALPHA, Evidence, Lines, holm, of_items
from quantcurve.metrics.paired import item_mean
from quantcurve.records import Frozen
from quantcurve.slices.certainty import right_shares
from quantcurve.slices.records import FollowedAnswer, SliceSample

Statistic = Literal[
    "right",
    "right_choice_likelihood",
    "right_choice_share",
    "well_formed",
    "answer_likelihood",
    "stop_likelihood",
    "stop_first",
    "close_likelihood",
    "close_first",
    "entropy",
    "choice_entropy",
    "value",
]
NAMES: dict[Statistic, str] = {
    "right": "right answers",
    "right_choice_likelihood": "log-likelihood of the right choice",
    "right_choice_share": "log-probability of the right choice among its choices, certainty apart",
    "well_formed": "well-formed answers",
    "answer_likelihood": "log-likelihood of the reference's answer",
    "stop_likelihood": "log-probability of the end where the reference ended",
    "stop_first": "the end is the likeliest token where the reference ended",
    "close_likelihood": "log-probability of the closing bracket",
    "close_first": "the closing bracket is the likeliest token",
    "entropy": "entropy along the reference's answer",
    "choice_entropy": "entropy over the choices",
    "value": "mean value",
}
TWO_SIDED: tuple[Statistic, ...] = ("entropy", "choice_entropy")
"""A change either way is one: a surer model is another model."""
CERTAINTY: tuple[Statistic, ...] = ("right_choice_likelihood",)
"""Falls where a model is only surer than the reference, which the entropies say by name; no finding by itself, since
`right_choice_share` has what is left of it at the reference's certainty."""
LENGTHS = (256, 1024, 4096)
"""Prompts are told apart by these numbers of tokens."""
EXACT = Lines(0.0, 0.0)


class SliceFigure(Frozen):
    """A statistic over items on both models; higher is better, but for those of TWO_SIDED."""

    slice: str
    part: str
    """Such as `language de` or `prompts of 256 to 1023 tokens`; empty: the whole slice."""
    statistic: Statistic
    unit: str
    reference: Figure
    variant: Figure
    evidence: Evidence
    """Of a loss above 0; of TWO_SIDED, of a change from 0."""


class Finding(Frozen):
    """A loss that is there, whatever else was looked at."""

    variant: str
    figure: SliceFigure
    p: float
    """Adjusted over all figures of all variants (Holm)."""
    sentence: str


class _Kind(NamedTuple):
    """How a statistic is read from a sample."""

    unit: str
    of: Callable[[SliceSample], float | None] | None
    """None: it is made of all pairs together (certainty.right_shares)."""


def figures(reference: Sequence[SliceSample], variant: Sequence[SliceSample]) -> list[SliceFigure]:
    """All statistics of one slice, whole and in parts; a statistic that no item has is left out.

    Args:
        reference: every item on the reference.
        variant: the same items on the variant.

    Raises:
        RecipeError: the two were asked otherwise.
    """
    pairs = paired(reference, variant)
    found = [figure for name in _KINDS for figure in _figure(pairs, name, "")]
    for part, some in _parts(pairs).items():
        found += [figure for name in _KINDS for figure in _figure(some, name, part)]
    return found


def paired(reference: Sequence[SliceSample], variant: Sequence[SliceSample]) -> list[tuple[SliceSample, SliceSample]]:
    """Samples of the same items, in the reference's order. Of a check the records are compared, not the prompts that
    its function made of them.

    Raises:
        RecipeError: an item is missing, or a model was given other tokens: its template, tokenizer or settings differ.
    """
    others = {sample.item: sample for sample in variant}
    if missing := [sample.item for sample in reference if sample.item not in others]:
        raise RecipeError(f"slice {reference[0].slice}: item {missing[0]} is not there on both models")
    pairs = [(sample, others[sample.item]) for sample in reference]
    different = [a.item for a, b in pairs if a.prompt_hash != b.prompt_hash]
    if different:
        raise RecipeError(
            f"slice {reference[0].slice}: settings mismatch: {len(different)} of {len(pairs)} prompts, first item "
            f"{different[0]}, are other tokens on the variant than on the reference; a model is compared only with the "
            "same template, system message and tokenizer"
        )
    return pairs


def findings(by_variant: Mapping[str, Iterable[SliceFigure]], alpha: float = ALPHA) -> list[Finding]:
    """Losses that are there by Holm's correction over everything that was looked at, surest first.

    Args:
        by_variant: figures of every variant.
        alpha: probability of any wrong finding.
    """
    every = [(n, figure) for n, some in by_variant.items() for figure in some if figure.statistic not in CERTAINTY]
    adjusted = holm([figure.evidence.p_breaks for _, figure in every]) if every else []
    found = [
        Finding(variant=name, figure=figure, p=p, sentence=sentence(figure))
        for (name, figure), p in zip(every, adjusted, strict=True)
        if p <= alpha
    ]
    return sorted(found, key=lambda one: (one.p, one.figure.evidence.p_breaks))


def sentence(figure: SliceFigure) -> str:
    """Slice, statistic, both values."""
    where = f"{figure.slice}, {figure.part}" if figure.part else figure.slice
    values = [_value(side, figure.unit) for side in (figure.reference, figure.variant)]
    return f"{where}: {NAMES[figure.statistic]}: {values[0]} -> {values[1]}"


def values(pairs: Sequence[tuple[SliceSample, SliceSample]], statistic: Statistic) -> tuple[list[float], list[float]]:
    """Of the items that have the statistic on both models: the reference's and the variant's."""
    of = _KINDS[statistic].of
    if of is None:
        return right_shares(pairs)
    both = [(of(a), of(b)) for a, b in pairs]
    known = [(x, y) for x, y in both if x is not None and y is not None]
    return [x for x, _ in known], [y for _, y in known]


def _figure(pairs: Sequence[tuple[SliceSample, SliceSample]], statistic: Statistic, part: str) -> list[SliceFigure]:
    before, after = values(pairs, statistic)
    if not before:
        return []
    unit = _KINDS[statistic].unit
    return [
        SliceFigure(
            slice=pairs[0][0].slice,
            part=part,
            statistic=statistic,
            unit=unit,
            reference=item_mean(before, unit),
            variant=item_mean(after, unit),
            evidence=_evidence(before, after, statistic, unit),
        )
    ]


def _evidence(before: Sequence[float], after: Sequence[float], statistic: Statistic, unit: str) -> Evidence:
    lost = of_items(before, after, EXACT, unit)
    if statistic not in TWO_SIDED:
        return lost
    won = of_items(after, before, EXACT, unit)
    return lost.model_copy(update={"p_breaks": min(1.0, 2 * min(lost.p_breaks, won.p_breaks)), "p_keeps": 1.0})


def _parts(pairs: Sequence[tuple[SliceSample, SliceSample]]) -> dict[str, list[tuple[SliceSample, SliceSample]]]:
    """By language, group and length of the prompt, where there is more than one of them."""
    found: dict[str, list[tuple[SliceSample, SliceSample]]] = {}
    for name in (_language, lambda s: s.group, lambda s: length_of(s.prompt_tokens)):
        by_name = defaultdict[str, list[tuple[SliceSample, SliceSample]]](list)
        for pair in pairs:
            by_name[name(pair[0])].append(pair)
        if len(by_name) > 1:
            found |= {key: some for key, some in sorted(by_name.items()) if key}
    return found


def _language(sample: SliceSample) -> str:
    return sample.language and f"language {sample.language}"


def length_of(tokens: int | None) -> str:
    """The part that a prompt of so many tokens belongs to; empty where it is not known."""
    if tokens is None:
        return ""
    low = max((n for n in LENGTHS if n <= tokens), default=0)
    high = min((n for n in LENGTHS if n > tokens), default=None)
    return f"prompts of {low} to {high - 1} tokens" if high else f"prompts of {low} tokens or more"


def chosen(sample: SliceSample) -> int:
    """Place of the likeliest choice by length."""
    lengths = np.maximum(np.array(sample.lengths, np.float64), 1)
    return int(np.argmax(np.array(sample.likelihoods) / lengths))


def is_right(sample: SliceSample) -> float | None:
    """1 where it is, 0 where not; None where nothing was judged."""
    if sample.right is not None:
        return float(chosen(sample) == sample.right)
    judged = sample.judgement
    return None if judged is None or judged.skipped else float(judged.right)


def _right_choice(sample: SliceSample) -> float | None:
    return None if sample.right is None else sample.likelihoods[sample.right]


def _choice_entropy(sample: SliceSample) -> float | None:
    """Of the softmax of likelihoods by length, nats."""
    if sample.right is None:
        return None
    values = np.array(sample.likelihoods) / np.maximum(np.array(sample.lengths, np.float64), 1)
    shares = np.exp(values - values.max())
    shares /= shares.sum()
    return float(-(shares * np.log(np.maximum(shares, np.finfo(np.float64).tiny))).sum())


def _well_formed(sample: SliceSample) -> float | None:
    judged = sample.judgement
    return None if judged is None or judged.skipped or judged.well_formed is None else float(judged.well_formed)


def _of_followed(read: Callable[[FollowedAnswer], float | None]) -> Callable[[SliceSample], float | None]:
    return lambda sample: None if sample.followed is None else read(sample.followed)


_KINDS: dict[Statistic, _Kind] = {
    "right": _Kind("share", is_right),
    "right_choice_likelihood": _Kind("nats", _right_choice),
    "right_choice_share": _Kind("nats", None),
    "well_formed": _Kind("share", _well_formed),
    "answer_likelihood": _Kind("nats per token", _of_followed(lambda f: f.nats_per_token)),
    "stop_likelihood": _Kind("nats", _of_followed(lambda f: f.stop_log_probability)),
    "stop_first": _Kind("share", _of_followed(lambda f: None if f.stop_rank is None else float(f.stop_rank == 1))),
    "close_likelihood": _Kind("nats", _of_followed(lambda f: f.close_log_probability)),
    "close_first": _Kind("share", _of_followed(lambda f: None if f.close_rank is None else float(f.close_rank == 1))),
    "entropy": _Kind("nats", _of_followed(lambda f: f.entropy)),
    "choice_entropy": _Kind("nats", _choice_entropy),
    "value": _Kind("value", lambda sample: sample.value),
}


def _value(figure: Figure, unit: str) -> str:
    if not isinstance(figure, Estimate):
        return "?"
    if unit == "value":
        return f"{figure.value:.3f}"
    return f"{100 * figure.value:.1f} %" if unit == "share" else f"{figure.value:.3f} {unit}"
