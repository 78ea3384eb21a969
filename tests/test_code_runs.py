"""Programs in processes of their own, and pass@k."""

from __future__ import annotations

import time
from math import comb

import pytest

from quantcurve.code_runs import pass_at_k, passes


@pytest.mark.parametrize(("n", "c", "k"), [(10, 3, 1), (10, 3, 5), (100, 1, 100), (7, 7, 3), (5, 0, 5), (6, 4, 3)])
def test_pass_at_k_is_one_less_the_chance_of_only_wrong_ones(n: int, c: int, k: int) -> None:
    assert pass_at_k(n, c, k) == pytest.approx(1 - comb(n - c, k) / comb(n, k))


@pytest.mark.parametrize(("n", "c", "k"), [(3, 1, 4), (3, 4, 1), (3, 1, 0), (3, -1, 1)])
def test_pass_at_k_of_too_few_is_refused(n: int, c: int, k: int) -> None:
    with pytest.raises(ValueError, match="pass@"):
        pass_at_k(n, c, k)


def test_programs_pass_that_end_without_an_error() -> None:
    programs = ["assert 1 + 1 == 2", "assert 1 + 1 == 3", "def f(:", "import sys; sys.exit(3)", "x = 'é\\ud800'"]
    assert passes(programs) == [True, False, False, False, True]


def test_programs_that_do_not_end_or_take_too_much_fail() -> None:
    started = time.perf_counter()
    programs = ["while True: pass", "x = bytearray(2**31)", "open('big', 'wb').write(bytes(2**22))", "input()"]
    assert passes(programs, 1.0) == [False] * 4
    assert time.perf_counter() - started < 6


def test_programs_see_nothing_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "told")
    assert passes(["import os; assert 'SECRET' not in os.environ and not os.listdir('.')"]) == [True]
