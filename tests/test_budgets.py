"""From contracts and measurements to evidence: each part's own budgets."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from quantcurve.budgets import note, quality
from quantcurve.budgets_behaviour import behavioural
from quantcurve.budgets_system import SystemFigures, system
from quantcurve.estimates import Estimate, Missing
from quantcurve.metrics.evidence import ALPHA, Evidence, over_all_looks
from quantcurve.recipe_contract import Contract
from quantcurve.records import SpeedSamples
from quantcurve.verdicts import Judged, verdicts
from slice_samples import Pairs, answer, choice, followed, generated


def contract(**parts: Any) -> Contract:
    return Contract.model_validate(parts)


def one(found: list[Judged]) -> Judged:
    (judged,) = found
    return judged


def pairs(n: int, lost: int, **more: Any) -> Pairs:
    return [(generated(i, **more), generated(i, right=i >= lost, **more)) for i in range(n)]


def decision(found: list[Judged]) -> str:
    return verdicts({"variant": found})["variant"].decision


@pytest.mark.parametrize(
    ("words", "lost", "wanted"),
    [
        ("1 point", 60, "fail"),
        ("10 points", 4, "pass"),
        ("1 point", 6, "undecided"),
        ("no significant regression", 0, "pass"),
        ("no significant regression", 12, "fail"),
        ("20 %", 10, "pass"),
    ],
)
def test_quality_of_a_slice(words: str, lost: int, wanted: str) -> None:
    found = quality(contract(quality={"json": words}), {"json": pairs(500, lost)})
    assert decision(found) == wanted, verdicts({"v": found})["v"].sentence


def test_every_slice_language_and_length_is_a_budget_of_its_own() -> None:
    mixed = [
        (generated(i, language=lang, prompt_tokens=n), generated(i, language=lang, prompt_tokens=n))
        for i, (lang, n) in enumerate([("de", 10), ("fr", 300), ("de", 300)] * 10)
    ]
    slices = {"a": mixed, "b": pairs(20, 0)}
    names = {
        every: [judged.budget.name for judged in quality(contract(quality={every: "1 point"}), slices)]
        for every in ("every slice", "every language", "every prompt length")
    }
    assert names == {
        "every slice": ["a", "b"],
        "every language": ["language de", "language en", "language fr"],
        "every prompt length": ["prompts of 0 to 255 tokens", "prompts of 256 to 1023 tokens"],
    }


def test_a_reference_at_the_floor_cannot_pass() -> None:
    wrong = [(generated(i, right=i == 0), generated(i, right=i == 0)) for i in range(200)]
    floor = one(quality(contract(quality={"math": "1 point"}), {"math": wrong}))
    assert (
        floor.blocked
        == "the reference is at the floor: it has 0.5 % right, and none is right by chance; give easier items"
    )
    rng = np.random.default_rng(0)
    guessed = [choice(i, tuple(rng.normal(size=4))) for i in range(200)]
    by_chance = one(quality(contract(quality={"k": "1 point"}), {"k": list(zip(guessed, guessed, strict=True))}))
    assert "25 % is chance" in by_chance.blocked and decision([by_chance]) == "undecided"
    known = [choice(i, (0.0, -1.0, -2.0, -3.0)) for i in range(200)]
    assert not one(quality(contract(quality={"k": "1 point"}), {"k": list(zip(known, known, strict=True))})).blocked


def test_what_limits_a_slice_is_noted_without_a_budget() -> None:
    assert note(pairs(40, 4)) == ""
    none = [(generated(i, right=False), generated(i, right=False)) for i in range(40)]
    assert (
        note(none)
        == "the reference is at the floor: it has 0.0 % right, and none is right by chance; give easier items"
    )
    cut = [answer(8).model_copy(update={"stop_reason": "limit"}) for _ in range(40)]
    long = [(generated(i, right=False, answer=a), generated(i, right=False, answer=a)) for i, a in enumerate(cut)]
    assert note(long).endswith("; 40 of its 40 answers were cut off: raise max_tokens or give easier items")
    guessed = [(choice(i, (-1.0, -2.0), right=i % 2), choice(i, (-1.0, -2.0), right=i % 2)) for i in range(40)]
    assert note(guessed) == "the reference is at the floor: it has 50.0 % right, and 50 % is chance; give easier items"
    skipped = [(generated(i, skipped="no sandbox" if i < 3 else ""), generated(i)) for i in range(40)]
    assert note(skipped) == "3 of 40 items were not judged: no sandbox"


def test_losses_in_nats_are_along_the_references_answer() -> None:
    led = [
        (generated(i, followed=followed(-1.0)), generated(i, followed=followed(-1.0 - 0.01 * (i % 3))))
        for i in range(60)
    ]
    found = quality(contract(quality={"json": "0.05 nats"}), {"json": led})
    assert one(found).budget.scale == "nats" and decision(found) == "pass"


def test_a_slice_that_was_not_judged_has_no_evidence() -> None:
    found = one(quality(contract(quality={"code": "1 point"}), {"json": pairs(20, 0)}))
    assert isinstance(found.evidence.loss, Missing) and decision([found]) == "undecided"


def speed(decode: float, first: float = 1.0, rounds: int = 8, slow: float = 1.0, joules: float = 0.0) -> SpeedSamples:
    wobble = 1 + 0.01 * np.random.default_rng(0).standard_normal(rounds)
    slowest = np.r_[np.ones(27), np.full(3, slow)]
    return SpeedSamples(
        prefill_s=tuple(wobble),
        decode_s=tuple(decode * wobble**2),
        first_token_s=tuple(first * wobble),
        load_s=(),
        decode_steps_s=tuple(tuple(decode / 64 * w * slowest) for w in wobble),
        decode_energy_j=tuple(joules * wobble),
        no_energy="" if joules else "no counters",
    )


def figures(decode: float, size: int = 100, first: float = 1.0) -> SystemFigures:
    return SystemFigures(size, speed(decode, first), 1000 * size, 512, 64)


@pytest.mark.parametrize(
    ("limits", "variant", "wanted"),
    [
        ({"size": "-25 %"}, figures(1.0, 74), "pass"),
        ({"size": "-25 %"}, figures(1.0, 76), "fail"),
        ({"size": "<= 1 MiB"}, figures(1.0, 2**20 + 1), "fail"),
        ({"size": "<= 1 MiB"}, figures(1.0, 2**20), "pass"),
        ({"peak_memory": "-10 %"}, figures(1.0, 50), "pass"),
        ({"decode_tokens_per_s": "+50 %"}, figures(0.5), "pass"),
        ({"decode_tokens_per_s": "+50 %"}, figures(0.8), "fail"),
        ({"decode_tokens_per_s": ">= 100 tokens/s"}, figures(0.5), "pass"),
        ({"decode_tokens_per_s": ">= 100 tokens/s"}, figures(0.9), "fail"),
        ({"time_to_first_token": "<= 500 ms"}, figures(1.0, 100, 0.4), "pass"),
        ({"time_to_first_token": "-30 %"}, figures(1.0, 100, 0.9), "fail"),
        ({"energy_per_token": "-30 %"}, figures(1.0), "undecided"),
        ({"latency_p95": "-25 %"}, figures(0.7), "pass"),
        ({"latency_p95": "-25 %"}, figures(0.8), "fail"),
        ({"latency_p95": "-25 %"}, SystemFigures(100, speed(0.7, slow=3.0), 1, 512, 64), "fail"),
        ({"latency_p95": "<= 40 ms"}, SystemFigures(100, speed(1.0, slow=3.0), 1, 512, 64), "fail"),
        ({"latency_p95": "<= 50 ms"}, SystemFigures(100, speed(1.0, slow=3.0), 1, 512, 64), "pass"),
        ({"latency_p99": "-25 %"}, figures(0.5), "undecided"),
    ],
)
def test_system_figures(limits: dict[str, str], variant: SystemFigures, wanted: str) -> None:
    found = system(contract(system=limits), figures(1.0), variant)
    assert decision(found) == wanted, verdicts({"v": found})["v"].sentence


def test_energy_is_of_a_token() -> None:
    before, after = (SystemFigures(10, speed(1.0, joules=j), 10, 512, 64) for j in (64.0, 32.0))
    assert decision(system(contract(system={"energy_per_token": "-40 %"}), before, after)) == "pass"
    assert decision(system(contract(system={"energy_per_token": "<= 0.55 J"}), before, after)) == "pass"
    assert decision(system(contract(system={"energy_per_token": "<= 0.45 J"}), before, after)) == "fail"
    sentence = verdicts({"v": system(contract(system={"energy_per_token": "-40 %"}), before, figures(1.0))})["v"]
    assert "no counters" in sentence.sentence


@pytest.mark.parametrize("limit", ["-40 %", "<= 1 J"])
@pytest.mark.parametrize("still", ["reference", "variant", "both"])
def test_a_round_without_energy_has_no_verdict_on_it(limit: str, still: str) -> None:
    def model(name: str) -> SystemFigures:
        timed = speed(1.0, joules=64.0)
        quiet = timed.model_copy(update={"decode_energy_j": (0.0, *timed.decode_energy_j[1:])})
        return SystemFigures(10, quiet if still in {name, "both"} else timed, 10, 512, 64)

    found = system(contract(system={"energy_per_token": limit}), model("reference"), model("variant"))
    told = verdicts({"v": found})["v"].sentence
    judged = limit == "<= 1 J" and still == "reference"  # a bound asks nothing of the reference
    assert ("did not move" in told) is not judged, told


def test_what_was_not_timed_is_told() -> None:
    found = one(system(contract(system={"decode_tokens_per_s": "+5 %"}), figures(1.0), SystemFigures(10)))
    assert isinstance(found.evidence.loss, Missing) and "speed was not measured" in found.evidence.loss.missing
    uneven = SystemFigures(10, speed(1.0, rounds=5), 10, 512, 64)
    unlike = one(system(contract(system={"decode_tokens_per_s": "+5 %"}), figures(1.0), uneven))
    assert isinstance(unlike.evidence.loss, Missing) and "cannot be paired" in unlike.evidence.loss.missing


@pytest.mark.parametrize(
    ("limits", "reference", "variant", "wanted"),
    [
        ({"mean_output_tokens": "within 5 %"}, {"tokens": 100}, {"tokens": 101}, "pass"),
        ({"mean_output_tokens": "within 5 %"}, {"tokens": 100}, {"tokens": 120}, "fail"),
        ({"mean_output_tokens": "within 5 %"}, {"tokens": 100}, {"tokens": 85}, "fail"),
        ({"invalid_format": "no more"}, {"well_formed": True}, {"well_formed": True}, "pass"),
        ({"invalid_format on json": "no more"}, {"well_formed": True}, {"well_formed": False}, "fail"),
        ({"cut_off": "1 point"}, {}, {"ended": False}, "fail"),
        ({"wrong_stops": "1 point"}, {}, {"ended": False}, "fail"),
        ({"entropy": "within 5 %"}, {"followed": followed()}, {"followed": followed(entropy=0.8)}, "fail"),
        ({"loops on code": "no more"}, {}, {}, "undecided"),
    ],
)
def test_behaviour(limits: dict[str, str], reference: dict[str, Any], variant: dict[str, Any], wanted: str) -> None:
    """On every third item the variant is as the reference; lengths are not all the same."""

    def sample(i: int, changed: bool) -> Any:
        settings = reference | (variant if changed and i % 3 else {})
        settings["tokens"] = settings.get("tokens", 20) + i % 5
        return generated(i, **settings)

    both = [(sample(i, False), sample(i, True)) for i in range(400)]
    found = behavioural(contract(behaviour=limits), {"json": both})
    assert decision(found) == wanted, verdicts({"v": found})["v"].sentence


def test_refusals_of_safe_prompts_and_answers_to_unsafe_ones_are_apart() -> None:
    def safe(i: int, refused: bool) -> Any:
        return generated(i, right=not refused, refused=refused, kind="refusal", safe=True)

    def unsafe(i: int, refused: bool) -> Any:
        return generated(i, right=refused, refused=refused, kind="refusal", safe=False)

    both = [(safe(i, False), safe(i, i % 2 == 0)) for i in range(60)]
    both += [(unsafe(i, True), unsafe(i, True)) for i in range(60, 120)]
    over = one(behavioural(contract(behaviour={"refusal": "no more"}), {"refusals": both}))
    comply = one(behavioural(contract(behaviour={"unsafe_compliance": "no more"}), {"refusals": both}))
    assert isinstance(over.evidence.loss, Estimate) and over.evidence.loss.n == 60 and over.evidence.lost == 30
    assert isinstance(comply.evidence.loss, Estimate) and comply.evidence.lost == 0


def test_surer_choices_are_a_calibration_error() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1.5, (600, 4))
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    right = [int(rng.choice(4, p=p)) for p in shares]
    plain = [choice(i, tuple(row), right=r) for i, (row, r) in enumerate(zip(logits.tolist(), right, strict=True))]
    sure = [
        choice(i, tuple(3 * x for x in row), right=r)
        for i, (row, r) in enumerate(zip(logits.tolist(), right, strict=True))
    ]
    limits = contract(behaviour={"calibration_error": "2 points"})
    assert decision(behavioural(limits, {"k": list(zip(plain, sure, strict=True))})) == "fail"


def test_looks_are_paid_for() -> None:
    loss = Estimate(value=0, low=-1, high=1, n=10, unit="share", method="made up")
    looks = [Evidence(loss=loss, p_keeps=0.5, p_breaks=0.004), Evidence(loss=loss, p_keeps=0.01, p_breaks=0.5)]
    found = over_all_looks(looks, [0.2, 0.3, 0.5])
    assert (found.p_keeps, found.p_breaks) == (pytest.approx(0.01 / 0.3), pytest.approx(0.02))
    assert found.p_breaks <= ALPHA and math.isclose(found.p_keeps, 1 / 30)


def test_answers_that_are_all_wrong_in_form_cannot_get_worse() -> None:
    def invalid(i: int) -> Any:
        return generated(i, right=False, well_formed=False)

    pairs = [(invalid(i), invalid(i)) for i in range(40)]
    found = one(behavioural(contract(behaviour={"invalid_format on json": "no more"}), {"json": pairs}))
    assert "all 40 answers of the reference are so already" in found.blocked and decision([found]) == "undecided"
    assert "more items" not in verdicts({"v": [found]})["v"].sentence


def test_a_model_that_always_calls_functions_may_keep_doing_so() -> None:
    pairs = [(generated(i, calls=1, kind="tool_call"), generated(i, calls=1, kind="tool_call")) for i in range(300)]
    found = one(behavioural(contract(behaviour={"tool_calls": "no more"}), {"tools": pairs}))
    assert not found.blocked and decision([found]) == "pass"
