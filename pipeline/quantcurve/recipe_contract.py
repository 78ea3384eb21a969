"""The recipe's contract: what a variant must win, and what it may lose.

Each limit is a few words, so that it is read aloud as it is written:

    contract: {system: {latency_p95: -25 %}, quality: {routing: 0.3 points}}
    contract: {quality: {production: no significant regression}}
    contract: {behaviour: {mean_output_tokens: within 5 %}}
    contract: {quality: {code: 1 point}, behaviour: {invalid_format on json: no more}}
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from quantcurve.records import Frozen

RATES = ("invalid_format", "refusal", "unsafe_compliance", "loops", "cut_off", "tool_calls", "wrong_stops")
"""Shares of answers; a limit is on the increase."""
RATIOS = ("mean_output_tokens", "p95_output_tokens", "verbosity", "entropy", "margin")
"""Figures of which a limit says how far they may go either way."""
BEHAVIOUR = (*RATES, *RATIOS, "calibration_error")
EVERY = ("every slice", "every language", "every prompt length")
"""Names that stand for all slices, or for parts of all of them."""
NO_REGRESSION = ("no significant regression", "no more")

_NUMBER = r"(?P<number>\d+(?:\.\d+)?)"
_QUALITY = re.compile(rf"(?:at most )?{_NUMBER} ?(?P<unit>points?|%|nats?)(?: lost)?")
_CHANGE = re.compile(rf"(?P<sign>[-+\u2212]) ?{_NUMBER} ?%")
_BOUND = re.compile(rf"(?P<sign><=?|>=?) ?{_NUMBER} ?(?P<unit>tokens/s|s|ms|MiB|GiB|MB|GB|J)")
_WITHIN = re.compile(rf"(?:within |\u00b1 ?)?{_NUMBER} ?%")
_RATE = re.compile(rf"(?:at most )?{_NUMBER} ?points?(?: more)?")
SCALES = {
    **{"tokens/s": 1.0, "s": 1.0, "ms": 1e-3, "J": 1.0},
    **{"MiB": 2.0**20, "GiB": 2.0**30, "MB": 1e6, "GB": 1e9},
}
UNITS = {
    "decode_tokens_per_s": ("tokens/s",),
    "prefill_tokens_per_s": ("tokens/s",),
    "time_to_first_token": ("s", "ms"),
    "latency_p95": ("s", "ms"),
    "latency_p99": ("s", "ms"),
    "size": ("MiB", "GiB", "MB", "GB"),
    "peak_memory": ("MiB", "GiB", "MB", "GB"),
    "energy_per_token": ("J",),
}


class SystemLimit(Frozen):
    """A change against the reference (`-25 %`: at least a quarter less), or a bound (`<= 40 ms`)."""

    words: str
    kind: Literal["change", "at_most", "at_least"]
    amount: float
    """Of a change a share, below 0 for less; of a bound seconds, bytes, tokens/s or joules."""
    unit: str = "%"


class QualityLimit(Frozen):
    """What may be lost."""

    words: str
    kind: Literal["points", "share", "nats", "no_regression"]
    amount: float = 0.0
    """Points are hundredths; a share is of the reference's value."""


class BehaviourLimit(Frozen):
    """How far a figure may move."""

    words: str
    kind: Literal["more", "within", "no_more"]
    amount: float = 0.0
    """`more`: a share of answers, upwards; `within`: a share of the figure, either way."""


def _error(words: object, wanted: str) -> PydanticCustomError:
    return PydanticCustomError("limit", "no limit that can be read; give {wanted}", {"wanted": wanted, "words": words})


def _system(words: Any) -> Any:
    if not isinstance(words, str):
        return words if isinstance(words, SystemLimit | dict) else _refuse(words, "'-25 %', '+10 %' or '<= 40 ms'")
    if found := _CHANGE.fullmatch(words.strip()):
        sign = 1 if found["sign"] == "+" else -1
        return SystemLimit(words=words, kind="change", amount=sign * float(found["number"]) / 100)
    if found := _BOUND.fullmatch(words.strip()):
        kind: Literal["at_most", "at_least"] = "at_most" if found["sign"][0] == "<" else "at_least"
        return SystemLimit(
            words=words, kind=kind, amount=float(found["number"]) * SCALES[found["unit"]], unit=found["unit"]
        )
    return _refuse(words, "'-25 %', '+10 %' or '<= 40 ms'")


def _quality(words: Any) -> Any:
    wanted = "'1 point', '2 %', '0.05 nats' or 'no significant regression'"
    if not isinstance(words, str):
        return words if isinstance(words, QualityLimit | dict) else _refuse(words, wanted)
    if words.strip() in NO_REGRESSION:
        return QualityLimit(words=words, kind="no_regression")
    if not (found := _QUALITY.fullmatch(words.strip())):
        return _refuse(words, wanted)
    number, unit = float(found["number"]), found["unit"]
    if unit.startswith("nat"):
        return QualityLimit(words=words, kind="nats", amount=number)
    kind: Literal["points", "share"] = "share" if unit == "%" else "points"
    return QualityLimit(words=words, kind=kind, amount=number / 100)


def _behaviour(words: Any) -> Any:
    wanted = "'within 5 %', '1 point' or 'no more'"
    if not isinstance(words, str):
        return words if isinstance(words, BehaviourLimit | dict) else _refuse(words, wanted)
    if words.strip() in NO_REGRESSION:
        return BehaviourLimit(words=words, kind="no_more")
    if found := _WITHIN.fullmatch(words.strip()):
        return BehaviourLimit(words=words, kind="within", amount=float(found["number"]) / 100)
    if found := _RATE.fullmatch(words.strip()):
        return BehaviourLimit(words=words, kind="more", amount=float(found["number"]) / 100)
    return _refuse(words, wanted)


def _refuse(words: object, wanted: str) -> Any:
    raise _error(words, wanted)


_SystemLimit = Annotated[SystemLimit, BeforeValidator(_system)]


class System(Frozen):
    """Figures that must change, on this machine; those in tokens/s are better when larger, the others when smaller."""

    decode_tokens_per_s: _SystemLimit | None = None
    prefill_tokens_per_s: _SystemLimit | None = None
    time_to_first_token: _SystemLimit | None = None
    latency_p95: _SystemLimit | None = Field(None, description="of one decoded token")
    latency_p99: _SystemLimit | None = Field(None, description="needs benchmark.decode_tokens of 100 or more")
    size: _SystemLimit | None = Field(None, description="of the file")
    peak_memory: _SystemLimit | None = None
    energy_per_token: _SystemLimit | None = Field(None, description="of the processor's package, where it tells")

    def limits(self) -> list[tuple[str, SystemLimit]]:
        """Figures and their limits."""
        return [(name, limit) for name in type(self).model_fields if (limit := getattr(self, name)) is not None]

    @model_validator(mode="after")
    def _possible(self) -> System:
        for name, limit in self.limits():
            if limit.kind == "change":
                continue
            if limit.unit not in UNITS[name]:
                words = {"name": name, "wanted": " or ".join(UNITS[name]), "unit": limit.unit}
                raise PydanticCustomError("unit", "{name} is measured in {wanted}, not in {unit}", words)
            if (limit.kind == "at_least") != rises(name):
                words = {"name": name, "better": ">=" if rises(name) else "<="}
                raise PydanticCustomError("bound", "{name} is bounded by {better}", words)
        return self


class Debug(Frozen):
    """What is kept where a budget fails."""

    keep: Literal["failing", "all", "none"] = Field(
        "failing", description="items that a variant loses, with both answers: where a budget is not kept, or always"
    )
    items: int = Field(20, ge=1, le=100_000, description="of each slice, at most")


class Contract(Frozen):
    """Budgets, how sure a verdict must be, and how much is asked for it."""

    mode: Literal["quick", "full"] = Field(
        "full",
        description="quick: what 6 minutes a variant allow; full: as many items as budgets need, in three looks",
    )
    shortlist: int = Field(3, ge=1, le=100, description="variants of each lane that are evaluated, from the screen")
    margin: Annotated[QualityLimit, BeforeValidator(_quality)] = Field(
        QualityLimit(words="2 points", kind="points", amount=0.02),
        description="what 'no significant regression' must have excluded before it passes",
    )
    system: System = System()
    quality: dict[str, Annotated[QualityLimit, BeforeValidator(_quality)]] = Field(
        {}, description="slices, tasks and checks, or " + ", ".join(EVERY)
    )
    behaviour: dict[str, Annotated[BehaviourLimit, BeforeValidator(_behaviour)]] = Field(
        {}, description="FIGURE or FIGURE on SLICE: " + ", ".join(BEHAVIOUR)
    )
    debug: Debug = Debug()

    @field_validator("margin")
    @classmethod
    def _of_answers(cls, margin: QualityLimit) -> QualityLimit:
        if margin.kind != "points":
            raise PydanticCustomError("margin", "a margin is in points of right answers, such as '2 points'")
        return margin

    @model_validator(mode="after")
    def _known(self) -> Contract:
        for name, found in self.behaviour.items():
            figure = name.partition(" on ")[0]
            _require(figure)
            if (found.kind == "within") != (figure in RATIOS):
                wanted = "'within 5 %'" if figure in RATIOS else "'1 point' or 'no more'"
                raise PydanticCustomError("limit", "a limit on {f} is {w}", {"f": figure, "w": wanted})
        return self

    @property
    def empty(self) -> bool:
        """Whether there is no budget."""
        return not (self.system.limits() or self.quality or self.behaviour)


def parts(name: str) -> tuple[str, str]:
    """Figure and slice of a behaviour limit's name; no slice: all answers."""
    figure, _, on = name.partition(" on ")
    return figure, on


def rises(figure: str) -> bool:
    """Whether a figure of the system is better when larger."""
    return figure.endswith("_per_s")


def _require(figure: str) -> None:
    if figure not in BEHAVIOUR:
        near = get_close_matches(figure, BEHAVIOUR, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(BEHAVIOUR)}"
        raise PydanticCustomError("unknown", "there is no figure {name}; {hint}", {"name": figure, "hint": hint})
