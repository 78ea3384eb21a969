"""Verdicts: what measured figures say about lines that the recipe drew before."""

from __future__ import annotations

import math

from quantcurve.recipe import Screen
from quantcurve.results import Estimate, Figure, Missing, ScreenVerdict


def screen_verdict(ln_ratio: Figure, lines: Screen) -> ScreenVerdict:
    """Judge a variant's paired ln-perplexity ratio against the discard and suspect lines by its whole interval.

    `discard`: the interval lies above the discard line; `keep`: below the suspect line; `suspect`: between the
    two; `at_line`: it contains a line, so the data cannot tell, and the variant is kept.
    """
    if isinstance(ln_ratio, Missing):
        return ScreenVerdict(decision="at_line", sentence=f"not judged: {ln_ratio.missing}")
    suspect = math.log1p(lines.suspect_above_percent / 100)
    discard = math.log1p(lines.discard_above_percent / 100)
    found = f"perplexity {_percent(ln_ratio)}"
    if ln_ratio.low > discard:
        return ScreenVerdict(decision="discard", sentence=f"{found}: above {lines.discard_above_percent:g} %")
    if ln_ratio.high < suspect:
        return ScreenVerdict(decision="keep", sentence=f"{found}: below {lines.suspect_above_percent:g} %")
    if ln_ratio.low > suspect and ln_ratio.high < discard:
        between = f"{lines.suspect_above_percent:g} to {lines.discard_above_percent:g} %"
        return ScreenVerdict(decision="suspect", sentence=f"{found}: in the band of {between}")
    crossed = dict.fromkeys(  # one, if both lines are the same
        f"{line:g} %"
        for line, at in ((lines.suspect_above_percent, suspect), (lines.discard_above_percent, discard))
        if ln_ratio.low <= at <= ln_ratio.high
    )
    return ScreenVerdict(
        decision="at_line",
        sentence=f"{found}: the interval contains the {' and the '.join(crossed)} line; more windows would tell",
    )


def _percent(ln_ratio: Estimate) -> str:
    value, low, high = (100 * math.expm1(x) for x in (ln_ratio.value, ln_ratio.low, ln_ratio.high))
    return f"{value:+.2f} % [{low:+.2f}, {high:+.2f}]"
