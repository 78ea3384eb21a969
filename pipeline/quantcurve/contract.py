"""Verdicts: what measured figures say about lines that the recipe drew before."""

from __future__ import annotations

import math

from quantcurve.estimates import Estimate, Figure, Missing
from quantcurve.recipe import Screen
from quantcurve.results import Decision, ScreenVerdict


def screen_verdict(ln_ratio: Figure, lines: Screen, basis: str = "") -> ScreenVerdict:
    """Judge a variant's paired ln-perplexity ratio against the discard and suspect lines by its whole interval.

    `discard`: the interval lies above the discard line; `keep`: below the suspect line; `suspect`: between the
    two; `at_line`: it contains a line, so the data cannot tell, and the variant is kept.

    ln_ratio: with its interval, which may be a point; basis: words on what it rests on, for the sentence.
    """
    if isinstance(ln_ratio, Missing):
        return ScreenVerdict(decision="at_line", judged=ln_ratio, sentence=f"not judged: {ln_ratio.missing}")
    decision, words = _decide(ln_ratio, lines)
    sentence = f"perplexity {_percent(ln_ratio)}{basis}: {words}"
    return ScreenVerdict(decision=decision, judged=ln_ratio, sentence=sentence)


def _decide(ln_ratio: Estimate, lines: Screen) -> tuple[Decision, str]:
    suspect_percent, discard_percent = lines.suspect_above_percent, lines.discard_above_percent
    suspect, discard = math.log1p(suspect_percent / 100), math.log1p(discard_percent / 100)
    if ln_ratio.low > discard:
        return "discard", f"above {discard_percent:g} %"
    if ln_ratio.high < suspect:
        return "keep", f"below {suspect_percent:g} %"
    if ln_ratio.low > suspect and ln_ratio.high < discard:
        return "suspect", f"in the band of {suspect_percent:g} to {discard_percent:g} %"
    crossed = dict.fromkeys(  # one, if both lines are the same
        f"{line:g} %"
        for line, at in ((suspect_percent, suspect), (discard_percent, discard))
        if ln_ratio.low <= at <= ln_ratio.high
    )
    return "at_line", f"the interval contains the {' and the '.join(crossed)} line; more windows would tell"


def _percent(ln_ratio: Estimate) -> str:
    value, low, high = (100 * math.expm1(x) for x in (ln_ratio.value, ln_ratio.low, ln_ratio.high))
    if low == high:
        return f"{value:+.2f} %"
    return f"{value:+.2f} % [{low:+.2f}, {high:+.2f}]"
