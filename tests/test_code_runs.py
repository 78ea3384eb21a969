"""Programs in sandboxes or, where there are none, in processes with limits; and pass@k."""

from __future__ import annotations

import time
from math import comb

import pytest

from quantcurve import code_runs
from quantcurve.code_runs import pass_at_k, passes
from quantcurve.sandbox import unavailable


@pytest.fixture(params=["sandbox", "limits"])
def _both(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "limits":
        monkeypatch.setattr(code_runs, "unavailable", lambda: "forbidden")
    elif why := unavailable():
        pytest.skip(why)


@pytest.mark.parametrize(("n", "c", "k"), [(10, 3, 1), (10, 3, 5), (100, 1, 100), (7, 7, 3), (5, 0, 5), (6, 4, 3)])
def test_pass_at_k_is_one_less_the_chance_of_only_wrong_ones(n: int, c: int, k: int) -> None:
    assert pass_at_k(n, c, k) == pytest.approx(1 - comb(n - c, k) / comb(n, k))


@pytest.mark.parametrize(("n", "c", "k"), [(3, 1, 4), (3, 4, 1), (3, 1, 0), (3, -1, 1)])
def test_pass_at_k_of_too_few_is_refused(n: int, c: int, k: int) -> None:
    with pytest.raises(ValueError, match="pass@"):
        pass_at_k(n, c, k)


@pytest.mark.usefixtures("_both")
def test_programs_pass_that_end_without_an_error() -> None:
    programs = ["assert 1 + 1 == 2", "assert 1 + 1 == 3", "def f(:", "import sys; sys.exit(3)", "x = 'é\\ud800'", ""]
    assert passes(programs, 60) == [True, False, False, False, True, True]
    assert passes([]) == []


@pytest.mark.usefixtures("_both")
def test_programs_that_do_not_end_or_take_too_much_fail() -> None:
    started = time.perf_counter()
    programs = ["while True: pass", "x = bytearray(2**31)", "open('big', 'wb').write(bytes(2**22))", "input()"]
    assert passes(programs, 1.0) == [False] * 4
    assert time.perf_counter() - started < 6


@pytest.mark.usefixtures("_both")
def test_programs_that_end_before_their_tests_fail() -> None:
    early = [
        "import sys; sys.exit(0)",
        "raise SystemExit",
        "import os; os._exit(0)",
        "exit = 0",
        "import os\nos.fork()",
    ]
    assert passes([program + "\nassert 1" for program in early], 60) == [False, False, False, True, True]


@pytest.mark.usefixtures("_both")
def test_programs_see_nothing_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "told")
    see = "import os, sys; assert 'SECRET' not in os.environ and not os.listdir('.') and sys.stdin.read() == ''"
    alone = "assert __name__ == '__main__' and not {'resource', 'run', 'sys'} & set(globals())"
    assert passes([see, alone, "import numpy"], 60) == [True, True, False]


@pytest.mark.usefixtures("_both")
def test_programs_have_their_own_limits() -> None:
    inside = "import resource\nassert resource.getrlimit(resource.RLIMIT_{})[1] == {}"
    programs = [inside.format("AS", 2**30), inside.format("FSIZE", 2**20), inside.format("FSIZE", 2**20 + 1)]
    assert passes(programs, 60) == [True, True, False]


def test_without_a_sandbox_processes_that_a_program_started_end_with_its_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    monkeypatch.setattr(code_runs, "unavailable", lambda: "forbidden")
    mark = tmp_path / "mark"
    program = f"import os, time\nif os.fork() == 0:\n    time.sleep(2)\n    open({str(mark)!r}, 'w')\ntime.sleep(100)"
    assert passes([program], 1.0) == [False]
    time.sleep(1.6)
    assert not mark.exists()
