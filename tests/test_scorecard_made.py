"""From samples to a scorecard: failing items of every kind, behaviour and certainty, and how a report tells them."""

from __future__ import annotations

from typing import Any

import numpy as np

from factories_scorecard import run_with
from quantcurve.recipe_contract import Contract
from quantcurve.report.markdown import markdown
from quantcurve.scorecard import NO_BUDGETS, Scored
from quantcurve.scorecard_made import scorecard_of
from quantcurve.scorecard_records import BUILT_IN, Scorecard
from slice_samples import Pairs, answer, choice, generated

KEEP_ALL: dict[str, Any] = {"debug": {"keep": "all", "items": 3}}


def of(contract: dict[str, Any], **slices: Pairs) -> Scorecard:
    judges = dict.fromkeys(slices, BUILT_IN)
    return scorecard_of(Scored(NO_BUDGETS, slices), judges, Contract.model_validate(contract))


def answers(items: int = 40) -> Pairs:
    found = []
    for i in range(items):
        reference = generated(i, answer=answer(20 + i % 5))
        tokens = (*reference.answer.tokens[:7], 1, *reference.answer.tokens[8:])  # type: ignore[union-attr]
        variant = reference.answer.model_copy(update={"tokens": (*tokens, *tokens[:4]), "stop_reason": "limit"})  # type: ignore[union-attr]
        found.append((reference, generated(i, right=i >= 5, answer=variant)))
    return found


def choices(items: int = 60) -> Pairs:
    rng = np.random.default_rng(0)
    found = []
    for i in range(items):
        nats = -rng.uniform(1, 8, 4)
        reference = choice(i, tuple(nats), right=int(nats.argmax()) if i % 2 else 0, lengths=(3, 3, 3, 3))
        found.append((reference, reference.model_copy(update={"likelihoods": tuple(1.5 * nats[::-1])})))
    return found


def test_failing_items_of_answers_and_choices() -> None:
    card = of(KEEP_ALL, json=answers(), knowledge=choices())
    written = [one for one in card.failing if one.slice == "json"]
    assert [one.item for one in written] == ["0", "1", "2"], "as many of a slice as the contract keeps"
    assert written[0].first_divergent_token == 7
    chosen = [one for one in card.failing if one.slice == "knowledge"]
    assert len(chosen) == 3 and chosen[0].reference.startswith("choice ") and chosen[0].reference != chosen[0].variant
    assert "counted from 0" in chosen[0].why
    assert not of({"debug": {"keep": "none"}}, json=answers()).failing
    assert not of({}, json=answers()).failing, "no budget is broken"


def test_behaviour_and_certainty_are_told_beside_the_reference() -> None:
    card = of({}, json=answers(), knowledge=choices())
    by_name = {one.name: one for one in card.slices}
    assert by_name["json"].reference_confidence is None and by_name["knowledge"].behaviour is None
    sure = by_name["knowledge"]
    assert sure.reference_confidence and sure.variant_confidence
    assert sum(b.items for b in sure.variant_confidence.calibration[0].reliability) == 60
    shown = markdown(run_with({"Q4_0": card}))
    answered = shown[shown.index("### Answers of Q4_0") :].partition("###  ")[0]
    assert "22 -> 26" in answered and "0 -> 100" in answered
    certain = shown[shown.index("### Certainty of Q4_0") :]
    assert "| knowledge |" in certain and certain.count("| Q4_0, ") == 10


def test_reliability_of_a_few_items_is_left_to_the_record() -> None:
    shown = markdown(run_with({"Q4_0": of({}, knowledge=choices(12))}))
    assert "### Certainty of" in shown and "### Reliability of" not in shown
