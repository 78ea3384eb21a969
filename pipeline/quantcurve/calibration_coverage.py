"""What a calibration set covers, and what it lacks, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from quantcurve.calibration import (
    DOMAIN,
    CalibrationResult,
    LanguageCoverage,
    LengthCoverage,
    SpecialToken,
    StratumCoverage,
)
from quantcurve.calibration_items import MOST_ITEMS, NOT_SAID, Item, ItemSource, Offered
from quantcurve.calibration_sift import Fate
from quantcurve.calibration_texts import Written
from quantcurve.engines.base import Tokens

MISSING = {
    "chat": "no general chat: expect regressions in conversation",
    "code": "no code: expect regressions in code",
    "math_reasoning": "no math or reasoning: expect regressions in reasoning over several steps",
    "retrieval_long_context": "no retrieval or long-context texts: expect regressions in answers from long prompts",
    "safety_refusal": "no safety or refusal texts: expect refusals to change",
}
SHORT_OF = 0.97
"""A set with less of the tokens it was to have is short."""


class Entry(NamedTuple):
    """One item in the course of the making."""

    item: Item
    stratum: str
    fate: Fate
    tokens: int = 0
    """Of the whole item; 0 for one that is not kept."""
    used: int = 0
    """Tokens of it in the windows."""


def strata_coverage(
    offered: Offered, shares: NDArray[np.float64], entries: Sequence[Entry], wanted: Sequence[int]
) -> tuple[StratumCoverage, ...]:
    """One record for each stratum of the mix.

    Args:
        offered: the mix.
        shares: wanted, (strata,).
        entries: all items.
        wanted: tokens, (strata,).
    """
    total = max(1, sum(e.used for e in entries))
    rows = []
    for stratum, share, asked in zip(offered.mix.strata, shares, wanted, strict=True):
        own = [e for e in entries if e.stratum == stratum.name]
        tokens = sum(e.used for e in own)
        counts = {fate: sum(e.fate is fate for e in own) for fate in Fate}
        rows.append(
            StratumCoverage(
                name=stratum.name,
                wanted_share=float(share),
                reached_share=tokens / total,
                tokens=tokens,
                wanted_tokens=int(asked),
                available_tokens=sum(e.tokens for e in own),
                offered=len(own),
                used=sum(e.used > 0 for e in own),
                duplicates=counts[Fate.DUPLICATE],
                near_duplicates=counts[Fate.NEAR_DUPLICATE],
                overlapping=counts[Fate.OVERLAPPING],
                refused=counts[Fate.REFUSED],
            )
        )
    return tuple(rows)


def languages(entries: Sequence[Entry]) -> tuple[LanguageCoverage, ...]:
    """Languages of the items in use, most tokens first."""
    names = dict.fromkeys(e.item.language for e in entries if e.used)
    found = []
    for name in names:
        own = [e.used for e in entries if e.used and e.item.language == name]
        found.append(LanguageCoverage(language=name, items=len(own), tokens=sum(own)))
    return tuple(sorted(found, key=lambda c: (-c.tokens, c.language)))


def lengths(entries: Sequence[Entry]) -> LengthCoverage:
    """Quantiles of the items in use, whole items."""
    quantiles = np.quantile([e.tokens for e in entries if e.used], [0, 0.25, 0.5, 0.75, 1], method="nearest")
    names = ("shortest", "lower_quartile", "median", "upper_quartile", "longest")
    return LengthCoverage(**{name: int(q) for name, q in zip(names, quantiles, strict=True)})


def special_tokens(
    windows: Tokens, control: Mapping[int, str], template: str | None
) -> tuple[tuple[SpecialToken, ...], tuple[str, ...]]:
    """Control tokens that occur, most often first, and those that the template names and do not."""
    ids, counts = np.unique(windows, return_counts=True)
    found = {control[int(i)]: int(n) for i, n in zip(ids, counts, strict=True) if int(i) in control}
    seen = tuple(SpecialToken(text=t, count=n) for t, n in sorted(found.items(), key=lambda pair: (-pair[1], pair[0])))
    named = sorted({t for t in control.values() if t and t in (template or "")} - set(found))
    return seen, tuple(named)


def notes(offered: Offered, result: CalibrationResult, written: Written) -> tuple[str, ...]:
    """How the set was made, where that is not plain."""
    found = [_spread_note(offered, name) for name in offered.spread]
    found += [
        f"{s.name}: its texts have {s.available_tokens:,} of {s.wanted_tokens:,} tokens wanted, and none is repeated"
        for s in result.strata
        if s.available_tokens < s.wanted_tokens
    ]
    found += [f"{s.name}: {MOST_ITEMS:,} of {s.records:,} records were sampled" for s in offered.sources if _cut(s)]
    if written.kind == "none":
        found.append("the model has no chat template: chats are plain text, their messages separated by blank lines")
    if result.lengths.longest > result.window_tokens:
        found.append(
            f"items of up to {result.lengths.longest:,} tokens are cut at windows of {result.window_tokens:,}: "
            "positions beyond are not seen (calibration.window_tokens)"
        )
    if written.adapted:
        found.append(
            f"the chat template refuses {written.adapted} chats as they are ({written.refusal}): "
            "the system message stands before the user's first, and answers of tools are the user's"
        )
    return tuple(found)


def warnings(entries: Sequence[Entry], result: CalibrationResult, written: Written, asked: int) -> tuple[str, ...]:
    """What is missing of the `asked` tokens, and what to expect of that."""
    used = [e for e in entries if e.used]
    found = [text for name, text in MISSING.items() if not any(e.stratum == name for e in used)]
    if not any(e.stratum == "tool_use" or e.item.uses_tools for e in used):
        found.append("no tool calls: expect tool-use regressions")
    if all(e.item.language in {"en", NOT_SAID} for e in used):
        found.append("no language but English is named: expect regressions in other languages")
    if result.lengths.longest < result.window_tokens:
        longest = result.lengths.longest
        found.append(f"longest item {longest} tokens: activation ranges of long contexts are not seen")
    if result.special_tokens_missing:
        names = ", ".join(result.special_tokens_missing)
        found.append(f"control tokens that the chat template writes and the set has not: {names}")
    if result.chat_template == "unusable":
        found.append(f"the model's chat template cannot be used ({written.refusal}): chats are plain text")
    if written.left_out:
        found.append(f"the chat template leaves out messages of {written.left_out} chats: their text is not seen")
    if refused := sum(s.refused for s in result.strata):
        found.append(f"the chat template refuses {refused} chats in any form ({written.refusal}): they are left out")
    if result.tokens < SHORT_OF * asked - result.window_tokens:
        found.append(f"{result.tokens:,} of {asked:,} tokens asked for: add texts, or lower calibration.tokens")
    return tuple(found)


def _spread_note(offered: Offered, name: str) -> str:
    weight = next(s.weight for s in offered.mix.strata if s.name == name)
    percent = 100 * weight / sum(s.weight for s in offered.mix.strata)
    what = "no texts of your own domain" if name == DOMAIN else f"no texts for the stratum {name}"
    how = f"give calibration.sources with `stratum: {name}`"
    return f"{what}: its {percent:.3g} % are spread over the other strata in proportion ({how})"


def _cut(source: ItemSource) -> bool:
    return source.records > len(source.items)
