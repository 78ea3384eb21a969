"""Which variants and how many items a scorecard asks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantcurve.recipe_contract import Contract
from quantcurve.scorecard_plan import (
    FULL_LOOKS,
    FULL_WEIGHTS,
    LEAST_ITEMS,
    MOST_ITEMS,
    QUICK_ITEMS,
    Candidate,
    cuts,
    items_of,
    shortlist,
)


def contract(**parts: object) -> Contract:
    return Contract.model_validate(parts)


def candidate(name: str, size: int, kl: float, lane: str = "llama.cpp", discarded: bool = False) -> Candidate:
    return Candidate(name, lane, size, kl, discarded)  # type: ignore[arg-type]


def evaluated(candidates: list[Candidate], count: int) -> list[str]:
    return [name for name, why in shortlist(candidates, count).items() if not why]


def test_the_shortlist_spreads_over_the_front() -> None:
    ladder = [candidate(f"Q{i}", 10 * i, 1 / i) for i in range(2, 9)]
    assert evaluated(ladder, 3) == ["Q2", "Q5", "Q8"]
    assert evaluated(ladder, 1) == ["Q2"]
    assert evaluated(ladder, 20) == [c.name for c in ladder]


def test_what_is_not_evaluated_says_why() -> None:
    some = [candidate("small", 10, 0.5), candidate("big", 30, 0.1), candidate("worse", 20, 0.6)]
    some += [candidate("bad", 5, 3.0, discarded=True), candidate("ir", 15, 0.3, "OpenVINO"), candidate("mid", 25, 0.2)]
    found = shortlist(some, 2)
    assert evaluated(some, 2) == ["small", "big", "ir"]
    assert "discarded" in found["bad"] and "smaller" in found["worse"] and "has 2 of each lane" in found["mid"]
    assert shortlist([], 3) == {} and evaluated([candidate("bad", 5, 3.0, discarded=True)], 3) == []


@given(st.integers(1, 3000), st.sampled_from([(1.0,), FULL_LOOKS]))
def test_looks_cover_all_items_once(items: int, shares: tuple[float, ...]) -> None:
    parts = cuts(items, shares)
    assert [i for part in parts for i in part] == list(range(items)) and len(parts) == len(shares)


def test_looks_have_weights() -> None:
    assert len(FULL_LOOKS) == len(FULL_WEIGHTS) and sum(FULL_WEIGHTS) == pytest.approx(1)


@pytest.mark.parametrize(
    ("parts", "given_items", "available", "wanted"),
    [
        ({"mode": "quick", "quality": {"code": "1 point"}}, None, None, QUICK_ITEMS),
        ({"quality": {"code": "1 point"}}, None, None, MOST_ITEMS),
        ({"quality": {"code": "5 points"}}, None, None, 314),
        ({"quality": {"every slice": "5 points"}}, None, None, 314),
        ({"quality": {"code": "5 points", "every slice": "4 points"}}, None, None, 491),
        ({"quality": {"code": "no significant regression"}, "margin": "5 points"}, None, None, 314),
        ({"quality": {"code": "0.1 nats"}}, None, None, LEAST_ITEMS),
        ({"quality": {"code": "50 points"}}, None, None, LEAST_ITEMS),
        ({}, None, None, LEAST_ITEMS),
        ({"quality": {"code": "1 point"}}, 40, None, 40),
        ({"quality": {"code": "1 point"}}, None, 60, 60),
    ],
)
def test_items_follow_from_the_budgets(
    parts: dict[str, object], given_items: int | None, available: int | None, wanted: int
) -> None:
    assert items_of(contract(**parts), "code", given_items, available) == wanted
