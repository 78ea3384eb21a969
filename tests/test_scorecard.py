"""A contract over slices, with models that are made up: looks, early ends, and how often copies fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from quantcurve.errors import RecipeError
from quantcurve.estimates import Estimate
from quantcurve.metrics.evidence import ALPHA, Lines, of_constant
from quantcurve.recipe_contract import Contract
from quantcurve.records import REFERENCE
from quantcurve.scorecard import Answered, Card, Scored, evaluate
from quantcurve.verdicts import Budget, Judged
from slice_samples import generated


class Models:
    """Answers of made-up models: right by name and item; counts what was asked."""

    def __init__(self, right: Callable[[str, int], bool], item_s: float = 0.0, **more: Any) -> None:
        self.right, self.item_s, self.more = right, item_s, more
        self.asked: dict[str, int] = {}

    def __call__(self, model: str, name: str, part: range) -> Answered:
        self.asked[model] = self.asked.get(model, 0) + len(part)
        samples = [generated(i, right=self.right(model, i), slice=name, **self.more) for i in part]
        return Answered(samples, self.item_s * len(part))


def none(name: str) -> list[Judged]:
    return []


def scored(contract: dict[str, Any], items: int, variants: list[str], models: Models) -> dict[str, Scored]:
    card = Card(Contract.model_validate(contract), {"json": items})
    return evaluate(card, variants, models, none)


def test_what_is_decided_is_not_asked_on() -> None:
    models = Models(lambda model, i: model != "broken" or i % 2 == 0)
    found = scored({"quality": {"json": "5 points"}}, 400, ["same", "broken"], models)
    assert {name: one.verdict.decision for name, one in found.items()} == {"same": "pass", "broken": "fail"}
    assert models.asked["broken"] == 100, "half of its answers are wrong: the first look is enough"
    assert models.asked["same"] in {200, 400} and models.asked[REFERENCE] == models.asked["same"]
    assert len(found["broken"].pairs["json"]) == 100


def test_quick_mode_looks_once_and_tells_how_many_items_would_decide() -> None:
    models = Models(lambda model, i: model == REFERENCE or i % 24 != 3)
    found = scored({"mode": "quick", "quality": {"json": "1 point"}}, 24, ["one"], models)["one"].verdict
    assert found.decision == "undecided" and models.asked == {REFERENCE: 24, "one": 24}
    (budget,) = found.budgets
    assert budget.further_items and budget.evidence.lost == 1 and budget.evidence.smallest_effect
    assert "more items would decide" in found.sentence


@pytest.mark.parametrize(("item_s", "asked"), [(7.0, 48), (8.0, 36), (11.0, 24), (20.0, 12), (300.0, 12)])
def test_quick_mode_ends_with_its_six_minutes(item_s: float, asked: int) -> None:
    models = Models(lambda model, i: True, item_s)
    found = scored({"mode": "quick", "quality": {"json": "1 point"}}, 48, ["one", "two"], models)
    assert models.asked == {REFERENCE: asked, "one": asked, "two": asked}
    assert {name: len(one.pairs["json"]) for name, one in found.items()} == {"one": asked, "two": asked}
    assert all(one.verdict.budgets for one in found.values()), "it is judged by what there is"


def test_system_budgets_count_with_the_others() -> None:
    def system(name: str) -> list[Judged]:
        size = Estimate(value=-0.1, low=-0.1, high=-0.1, n=1, unit="ln", method="exact")
        budget = Budget(part="system", name="size", words="-50 %", scale="percent")
        return [Judged(budget, of_constant(size, Lines(np.log(0.5), np.log(0.5))))]

    card = Card(Contract.model_validate({"quality": {"json": "5 points"}}), {"json": 300})
    found = evaluate(card, ["one"], Models(lambda model, i: True), system)["one"].verdict
    assert found.decision == "fail" and found.sentence == "size: -9.5 %, wanted -50 %: broken"


def test_a_variant_with_another_template_is_refused() -> None:
    def ask(model: str, name: str, part: range) -> Answered:
        system = "" if model == REFERENCE else "no system"
        return Answered([generated(i, slice=name, prompt_hash=f"{system}{i}") for i in part], 1.0)

    card = Card(Contract.model_validate({"quality": {"json": "5 points"}}), {"json": 20})
    with pytest.raises(RecipeError, match="settings mismatch"):
        evaluate(card, ["one"], ask, none)


def test_slices_without_budgets_are_asked_in_full() -> None:
    models = Models(lambda model, i: i % 2 == 0)
    found = scored({}, 40, ["one"], models)["one"]
    assert found.verdict.decision == "not evaluated" and "figures only" in found.verdict.sentence
    assert len(found.pairs["json"]) == 40 and models.asked == {REFERENCE: 40, "one": 40}


def test_a_language_that_comes_late_has_its_own_budget() -> None:
    def ask(model: str, name: str, part: range) -> Answered:
        return Answered([generated(i, slice=name, language="de" if i >= 150 else "en") for i in part], 1.0)

    card = Card(Contract.model_validate({"quality": {"every language": "30 points"}}), {"json": 300})
    found = evaluate(card, ["one"], ask, none)["one"].verdict
    assert {b.budget.name for b in found.budgets} >= {"language en"}


def test_ten_copies_of_the_reference_rarely_fail() -> None:
    """Three looks, four budgets, ten copies that flip 3 % of the answers either way: the chance that any fails is the
    level."""
    rng = np.random.default_rng(0)
    contract = {
        "quality": {"json": "no significant regression", "every slice": "2 points"},
        "behaviour": {"invalid_format": "no more", "cut_off": "no more"},
    }
    copies = [f"copy{k}" for k in range(10)]
    failed = 0
    for _ in range(40):
        base = rng.random(120) < 0.6
        flips = {name: rng.random(120) < 0.03 for name in copies} | {REFERENCE: np.zeros(120, bool)}
        models = Models(lambda model, i, base=base, flips=flips: bool(base[i] ^ flips[model][i]), well_formed=True)
        found = scored(contract, 120, copies, models)
        failed += any(one.verdict.decision == "fail" for one in found.values())
    assert failed / 40 <= ALPHA + 0.05
