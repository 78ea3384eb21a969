"""What changed between runs of one recipe: settings, inputs, variants and their figures, against the first run.

Runs are not paired. A figure of quality changed if the interval of its unpaired difference excludes 0, a speed if that
of the unpaired ratio excludes 1 (metrics/unpaired.py).
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from quantcurve.compare_records import (
    NONE,
    BytesChange,
    Comparison,
    FailedVariant,
    FigureChange,
    FigureName,
    RecipeDiff,
    RunChange,
    Told,
    VariantChange,
    WordChange,
)
from quantcurve.errors import RecipeError
from quantcurve.estimates import Figure, Missing
from quantcurve.metrics import unpaired
from quantcurve.records import Frozen, SpeedSamples
from quantcurve.report import words
from quantcurve.results import Divergence, RunResult, Speed, VariantResult

RULE = (
    "The runs are not paired. KL divergence, perplexity ratio and top-1 agreement rose or fell if the interval of "
    "their difference excludes 0, speeds and times if that of their ratio excludes 1, each at 95 % by itself: of 20 "
    "figures that did not change, one may be said to have. Intervals hold what varies within a run, not what a machine "
    "does between two."
)
MOST_DIFF_LINES = 24
NOT_MEASURED = Missing(missing="not measured")


class NamedRun(NamedTuple):
    """A run, and where it is from."""

    name: str
    run: RunResult


class _Unlike(NamedTuple):
    """Why figures of two runs are not to be compared; empty where they are."""

    quality: str
    speed: str


class _Timed(NamedTuple):
    """A figure of speed and the seconds behind it."""

    figure: FigureName
    of: Callable[[Speed], Figure]
    seconds: Callable[[SpeedSamples], tuple[float, ...]]
    is_rate: bool
    """Whether more is faster."""


QUALITY: tuple[tuple[FigureName, Callable[[Divergence], Figure]], ...] = (
    ("KL mean", lambda d: d.kl_mean),
    ("PPL ratio", lambda d: d.perplexity_ratio),
    ("top-1", lambda d: d.top1_agreement),
)
TIMED = (
    _Timed("decode", lambda s: s.decode_tokens_per_s, lambda s: s.decode_s, is_rate=True),
    _Timed("prefill", lambda s: s.prefill_tokens_per_s, lambda s: s.prefill_s, is_rate=True),
    _Timed("TTFT", lambda s: s.time_to_first_token_s, lambda s: s.first_token_s, is_rate=False),
)


def compare(runs: Sequence[NamedRun]) -> Comparison:
    """What changed from the first run to each of the others.

    Raises:
        RecipeError: fewer than two runs.
    """
    if len(runs) < 2:
        given = f"one run is given ({runs[0].name})" if runs else "no run is given"
        raise RecipeError(f"compare: {given}; name two or more, the base first")
    base, *others = runs
    return Comparison(base=base.name, rule=RULE, runs=tuple(_run(base.run, other) for other in others))


def _run(base: RunResult, other: NamedRun) -> RunChange:
    run = other.run
    unlike = _Unlike(_unlike_quality(base, run), _unlike_speed(base, run))
    before, after = ({v.name: v for v in r.variants} for r in (base, run))
    both = [(v, after[v.name]) for v in base.variants if v.name in after]
    measured = [(a, b) for a, b in both if a.status == b.status == "measured"]
    return RunChange(
        run=other.name,
        first=tuple(_first(base, run, unlike)),
        settings=tuple(one for one in _settings(base, run) if one.changed),
        recipe=_diff(base.recipe_text, run.recipe_text),
        reference=WordChange(what="reference", before=_reference(base), after=_reference(run)),
        texts=tuple(_texts(base, run)),
        came=tuple(name for name in after if name not in before),
        went=tuple(name for name in before if name not in after),
        fails_now=tuple(_failed(b) for a, b in both if a.status == "measured" and b.status == "failed"),
        works_now=tuple(_failed(a) for a, b in both if a.status == "failed" and b.status == "measured"),
        fails_in_both=tuple(a.name for a, b in both if a.status == b.status == "failed"),
        variants=tuple(_variant(a, b, unlike) for a, b in measured),
    )


def _unlike_quality(base: RunResult, run: RunResult) -> str:
    """Why figures against the reference are not of the same thing."""
    if base.reference.file.content_hash != run.reference.file.content_hash:
        return "the references are not the same"
    if {(t.name, t.content_hash) for t in base.texts} != {(t.name, t.content_hash) for t in run.texts}:
        return "the evaluation texts are not the same"
    lengths = [r.reference.overall.tokens / r.reference.overall.windows for r in (base, run)]
    if lengths[0] != lengths[1]:
        return f"windows are not the same: {lengths[0]:g} and {lengths[1]:g} scored tokens in each"
    return ""


def _unlike_speed(base: RunResult, run: RunResult) -> str:
    if base.workload and run.workload and base.workload != run.workload:
        return "the workload of the benchmark is not the same"
    return ""


def _first(base: RunResult, run: RunResult, unlike: _Unlike) -> Iterator[str]:
    if base.name != run.name:
        yield f"These are runs of different recipes: {base.name} and {run.name}."
    if unlike.quality:
        yield (
            f"KL divergence, perplexity ratio and top-1 agreement are not compared: {unlike.quality}. The verdicts are "
            "each run's own."
        )
    if unlike.speed:
        yield f"Speeds and times are not compared: {unlike.speed}."
    if base.machine != run.machine:
        yield "The machines are not the same: what differs in speed and memory may be theirs."


def _settings(base: RunResult, run: RunResult) -> Iterator[WordChange]:
    yield WordChange(what="quantcurve", before=base.quantcurve_version, after=run.quantcurve_version)
    yield from _fields("llama.cpp", base.engine, run.engine)
    yield from _fields("OpenVINO", base.openvino, run.openvino)
    yield from _fields("machine", base.machine, run.machine)
    yield from _fields("workload", base.workload, run.workload)
    yield from _fields("scoring of the reference", base.scoring_config, run.scoring_config)
    yield from _fields("timing of the reference", base.timing_config, run.timing_config)


def _fields(what: str, before: Frozen | None, after: Frozen | None) -> Iterator[WordChange]:
    """Field by field of two flat records of one kind, either of which may not be there."""
    if before is None or after is None:
        there = [NONE if record is None else "there" for record in (before, after)]
        yield WordChange(what=what, before=there[0], after=there[1])
        return
    for (name, old), (_, new) in zip(before, after, strict=True):
        if name == "cpu_features":
            had, has = (set(str(features).split()) for features in (old, new))
            lost, won = (" ".join(sorted(only)) or NONE for only in (had - has, has - had))
            yield WordChange(what=f"{what}: CPU features of one only", before=lost, after=won)
        else:
            yield WordChange(what=f"{what}: {name.replace('_', ' ')}", before=str(old), after=str(new))


def _reference(run: RunResult) -> str:
    reference = run.reference
    return f"{reference.source} as {reference.precision}, {reference.file.content_hash}, {reference.provenance.kind}"


def _texts(base: RunResult, run: RunResult) -> Iterator[WordChange]:
    before, after = (
        {t.name: f"{t.windows_used} windows of {t.source}, {t.content_hash}" for t in r.texts} for r in (base, run)
    )
    for name in dict.fromkeys((*before, *after)):
        one = WordChange(what=name, before=before.get(name, NONE), after=after.get(name, NONE))
        if one.changed:
            yield one


def _diff(before: str, after: str) -> RecipeDiff:
    lines = list(difflib.unified_diff(before.splitlines(), after.splitlines(), n=1, lineterm=""))[2:]
    return RecipeDiff(lines=tuple(lines[:MOST_DIFF_LINES]), left_out=max(0, len(lines) - MOST_DIFF_LINES))


def _failed(variant: VariantResult) -> FailedVariant:
    return FailedVariant(name=variant.name, why=words.plain(variant.failure or "no reason given"))


def _variant(before: VariantResult, after: VariantResult, unlike: _Unlike) -> VariantChange:
    files = before.file, after.file
    same_file = files[0].content_hash == files[1].content_hash if files[0] and files[1] else None
    sizes = [file.size_bytes if file else NOT_MEASURED for file in files]
    return VariantChange(
        name=before.name,
        same_file=same_file,
        bytes=(_bytes(sizes[0], sizes[1]), _memory(before, after)),
        figures=(*_quality(before, after, unlike.quality), *_speeds(before, after, unlike.speed)),
        verdicts=(
            WordChange(what="screen", before=_screened(before), after=_screened(after)),
            WordChange(what="contract", before=_contract(before), after=_contract(after)),
            WordChange(what="front", before=_front(before), after=_front(after)),
        ),
    )


def _bytes(before: int | Missing, after: int | Missing) -> BytesChange:
    told: Told = "not judged"
    if isinstance(before, int) and isinstance(after, int):
        told = "same" if before == after else "rose" if after > before else "fell"
    return BytesChange(figure="size", before=before, after=after, told=told)


def _memory(before: VariantResult, after: VariantResult) -> BytesChange:
    a, b = (v.speed if isinstance(v.speed, Missing) else v.speed.peak_memory_bytes for v in (before, after))
    same = isinstance(a, int) and a == b
    return BytesChange(figure="memory", before=a, after=b, told="same" if same else "not judged")


def _quality(before: VariantResult, after: VariantResult, unlike: str) -> Iterator[FigureChange]:
    divergences = [v.overall.divergence if v.overall else None for v in (before, after)]
    for name, of in QUALITY:
        a, b = (of(d) if d else NOT_MEASURED for d in divergences)
        change = Missing(missing=unlike) if unlike else unpaired.difference(a, b)
        told = _told(change, 0.0, same=a == b)
        yield FigureChange(figure=name, before=a, after=b, by="difference", change=change, told=told)


def _speeds(before: VariantResult, after: VariantResult, unlike: str) -> Iterator[FigureChange]:
    for timed in TIMED:
        a, b = (v.speed if isinstance(v.speed, Missing) else timed.of(v.speed) for v in (before, after))
        seconds = [() if isinstance(v.speed, Missing) else timed.seconds(v.speed.samples) for v in (before, after)]
        change = Missing(missing=unlike) if unlike else _ratio(a, b, seconds[:: 1 if timed.is_rate else -1])
        told = _told(change, 1.0, same=a == b and seconds[0] == seconds[1])
        yield FigureChange(figure=timed.figure, before=a, after=b, by="ratio", change=change, told=told)


def _ratio(before: Figure, after: Figure, seconds: Sequence[tuple[float, ...]]) -> Figure:
    """The second figure over the first, from seconds of which the first stand above."""
    missing = next((figure for figure in (before, after) if isinstance(figure, Missing)), None)
    return missing or unpaired.ratio(*seconds)


def _told(change: Figure, none: float, same: bool) -> Told:
    """What is called a change, `none` being none."""
    if isinstance(change, Missing):
        return "not judged"
    if same:
        return "same"
    return "rose" if change.low > none else "fell" if change.high < none else "no change that can be told"


def _screened(variant: VariantResult) -> str:
    return variant.verdict.decision.replace("_", " ") if variant.verdict else NONE


def _contract(variant: VariantResult) -> str:
    return variant.scorecard.verdict.decision if variant.scorecard else NONE


def _front(variant: VariantResult) -> str:
    return "on it" if variant.on_front else "not on it"
