"""What bench_accuracy_control.py says of its figures."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from quantcurve import machine
from quantcurve.estimates import Estimate

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
from accuracy_table import Agreement, Bench, Budget, Cell, Side, table
from bench_accuracy_control import with_longer

DROP = Estimate(value=0.2, low=0.1, high=0.3, level=0.95, n=64, unit="nats", method="made up")


def side(seconds: float, operations: int) -> Side:
    return Side(seconds=seconds, operations=operations, groups=operations, search_drop=0.2, drop=DROP, reached=True)


def cell(seed: int, *budgets: tuple[Side, Side | None]) -> Cell:
    return Cell(
        smooth_quant=False,
        seed=seed,
        quantise_s=40 + seed,
        plain_drop=DROP,
        groups=9,
        nncf_seconds=2400,
        nncf_rankings=1 + seed,
        rank_correlation=0.5,
        groups_compared=9,
        all_restored_difference=1e-6,
        none_restored_difference=0.01,
        budgets=tuple(Budget(share=0.5, max_drop=0.25, ours=ours, nncf=nncf) for ours, nncf in budgets),
    )


def test_ratios_and_excess_are_over_budgets_that_both_reached() -> None:
    cells = (
        cell(0, (side(100, 11), side(1000, 10)), (side(50, 90), None)),
        cell(1, (side(200, 10), side(1000, 10)), (side(400, 30), side(1000, 20))),
    )
    shown = table(Bench(machine=machine.facts(), cells=cells))
    assert "fast way over NNCF's: 0.20 [" in shown and "0.40 at most; NNCF did not reach 1 more in 40 minutes" in shown
    assert "Median excess of restored operations +10 %" in shown
    assert "| off | 0 | 0.250 (50 %) | 90 | not reached | 50 | > 2400 | < 0.02 | 0.200 [0.100, 0.300] |  |" in shown
    assert "40 to 41 s are nncf.quantize itself" in shown and "ranked 1 to 2 times" in shown


@pytest.mark.parametrize(("rho", "words"), [(0.93, "is 0.93,"), (None, "is undefined (all are ties),")])
def test_agreements_are_told(rho: float | None, words: str) -> None:
    found = Agreement(
        smooth_quant=True,
        seed=0,
        groups=20,
        items=32,
        spearman=rho,
        spearman_with_ties=0.95,
        told_apart=4,
        nncf_with_itself=0.5,
        nncf_with_itself_with_ties=0.6,
    )
    both = (side(100, 1), side(1000, 1))
    shown = table(Bench(machine=machine.facts(), cells=(cell(0, both, both),), agreements=(found,)))
    assert words in shown and "as ties 0.95 (4 can)" in shown and "agree to 0.50, with ties 0.60" in shown


def test_one_budget_says_nothing_of_all() -> None:
    shown = table(Bench(machine=machine.facts(), cells=(cell(0, (side(1, 1), side(2, 1))),)))
    assert "geometric mean" not in shown and shown.count("\n| off") == 1


def test_sides_that_were_measured_apart_are_scaled() -> None:
    apart = cell(0, (side(100, 1), side(1000, 1)), (side(100, 1), side(1000, 2))).model_copy(
        update={"quantise_s": 20.0, "nncf_quantise_s": 40.0}
    )
    shown = table(Bench(machine=machine.facts(), cells=(apart,)))
    assert "| 100 | ≈ 500 | 0.20 |" in shown and "(40 and 20 s)" in shown


def test_a_longer_run_tells_operations_and_no_time() -> None:
    """Where the earlier run kept the budget of now."""
    both = (side(100, 2), side(1000, 2))
    known = cell(0, both, (side(90, 4), side(2000, 5)))
    short = cell(0, both, (side(100, 4), None)).model_copy(update={"nncf_seconds": 900.0, "nncf_minutes": 15.0})
    shown = table(Bench(machine=machine.facts(), cells=(with_longer(short, known), known)))
    assert "| 4 | 5\\* | 100 | > 900 | < 0.11 |" in shown and "compared to nothing" in shown
    assert "not reach 1 more in 15 minutes (ratio below 0.11)" in shown and "-10 % (4 budgets)" in shown
    tighter = short.budgets[1].model_copy(update={"max_drop": 0.1})
    unlike = with_longer(short.model_copy(update={"budgets": (short.budgets[0], tighter)}), known)
    assert "| 4 | not reached | 100 | > 900 |" in table(Bench(machine=machine.facts(), cells=(unlike,)))
