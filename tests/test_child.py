"""The process boundary: whatever happens in the child, the parent gets a result or an error that says what happened."""

from __future__ import annotations

import ctypes
import operator
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from quantcurve.engines import memory
from quantcurve.engines.child import Child
from quantcurve.errors import BackendError, ModelFileError, PrerequisiteError, RecipeError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals")
PATIENCE_S = 20.0


@pytest.fixture
def child(tmp_path, monkeypatch):
    here = str(Path(__file__).parent)  # the child imports the functions below
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH")))))
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    with Child("Q4_0 of tiny", tmp_path / "logs" / "engine.log") as started:
        yield started


def wait_until(true, what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def is_dead(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


# ---- functions that the child runs ----


def speak(*lines: str) -> None:
    for line in lines:
        os.write(1, f"{line} on 1\n".encode())
        os.write(2, f"{line} on 2\n".encode())
    print(f"{lines[0]} from Python")  # noqa: T201
    ctypes.CDLL(None).puts(f"{lines[0]} from C".encode())


def speak_then(deed: str, argument: int | None, lines: int = 0) -> None:
    for i in range(lines):
        os.write(2, f"line {i}\n".encode())
    print("last words")  # noqa: T201
    deeds = {"abort": os.abort, "_exit": os._exit, "kill": lambda s: os.kill(os.getpid(), s), "exit": sys.exit}
    deeds[deed](*(() if argument is None else (argument,)))


class Unpicklable(Exception):  # noqa: N818
    def __init__(self, a: str, b: str) -> None:
        super().__init__(f"{a} {b}")


def raise_unpicklable() -> None:
    raise Unpicklable("two", "words")


def raise_local() -> None:
    class Local(Exception):  # noqa: N818
        pass

    raise Local("nobody knows me")


def raise_error(kind: type[Exception], *args: object) -> None:
    raise kind(*args)


def give_unpicklable() -> object:
    return lambda: None


# ---- results and exceptions ----


def test_results_come_back_one_after_the_other(child):
    assert child.call(operator.add, 2, 3) == 5
    big = bytes(3_000_000)
    assert child.call(operator.add, big, b"x") == big + b"x"
    assert child.call(os.getpid) == child.pid != os.getpid()


def test_what_the_function_raises_is_raised_and_the_child_goes_on(child):
    with pytest.raises(ZeroDivisionError, match="division by zero"):
        child.call(operator.truediv, 1, 0)
    assert child.call(operator.add, 2, 3) == 5
    assert "ZeroDivisionError" in child.log_since_start()


@pytest.mark.parametrize("kind", [BackendError, ModelFileError])
def test_an_engines_error_arrives_with_the_log(child, kind):
    with pytest.raises(kind) as caught:
        child.call(raise_error, kind, "model.gguf is broken")
    assert type(caught.value) is kind
    assert str(caught.value) == f"model.gguf is broken\n  log: {child.log}"
    assert caught.value.log == child.log


def test_what_a_user_can_mend_arrives_as_such(child):
    with pytest.raises(PrerequisiteError, match=r"^no GPU\n  fix: pip install it$") as caught:
        child.call(raise_error, PrerequisiteError, "no GPU", "pip install it")
    assert caught.value.fix == "pip install it"
    with pytest.raises(RecipeError, match=r"^wrong$"):
        child.call(raise_error, RecipeError, "wrong")


@pytest.mark.parametrize(("function", "said"), [(raise_unpicklable, "two words"), (raise_local, "nobody knows me")])
def test_an_exception_that_cannot_be_sent_arrives_with_its_traceback(child, function, said):
    with pytest.raises(BackendError, match=said) as caught:
        child.call(function)
    assert "Traceback (most recent call last)" in str(caught.value)
    assert f"in {function.__name__}" in str(caught.value)
    assert child.call(operator.add, 2, 3) == 5


def test_a_result_that_cannot_be_sent_is_an_error(child):
    with pytest.raises(BackendError, match="give_unpicklable") as caught:
        child.call(give_unpicklable)
    assert "pickle" in str(caught.value)


def test_an_argument_that_cannot_be_sent_ends_the_child(child):
    with pytest.raises((AttributeError, TypeError), match="pickle"):
        child.call(operator.add, threading.Lock(), 1)
    assert is_dead(child.pid)


# ---- the log ----


def test_everything_printed_goes_to_the_log_and_nothing_to_the_channel(child):
    child.call(speak, "a", "b")
    assert child.call(operator.add, 2, 3) == 5
    child.close()
    lines = child.log.read_text().splitlines()
    assert {"a on 1", "a on 2", "b on 1", "b on 2", "a from Python", "a from C"} == set(lines)


def test_a_log_is_appended_to_and_only_the_own_part_is_quoted(child, tmp_path):
    child.call(os.write, 2, b"of the first\n")
    child.close()
    with Child("second", child.log) as second, pytest.raises(BackendError) as caught:
        second.call(speak_then, "abort", None)
    assert "of the first" in child.log.read_text()
    assert "of the first" not in str(caught.value)


# ---- death of the child ----


@pytest.mark.parametrize(
    ("deed", "argument", "how"),
    [
        ("abort", None, "signal 6 (SIGABRT)"),
        ("kill", signal.SIGILL, "signal 4 (SIGILL) (an instruction that this processor refuses: llama.cpp was built"),
        ("kill", signal.SIGSEGV, "signal 11 (SIGSEGV)"),
        ("kill", signal.SIGKILL, "signal 9 (SIGKILL)"),
        ("kill", 37, "signal 37 (Real-time signal 3)"),
        ("_exit", 7, "exit code 7"),
        ("_exit", 0, "exit code 0"),
    ],
)
def test_a_death_is_told_with_label_cause_last_words_and_log(child, deed, argument, how):
    with pytest.raises(BackendError) as caught:
        child.call(speak_then, deed, argument, 30)
    text = str(caught.value)
    assert text.startswith(f"Q4_0 of tiny: the engine died in speak_then with {how}")
    assert "line 29" in text and "last words" in text and "line 5\n" not in text
    assert text.endswith(f"log: {child.log}")
    assert is_dead(child.pid)


def test_sys_exit_in_the_child_is_an_error_not_an_end(child):
    with pytest.raises(BackendError, match="SystemExit: 3"):
        child.call(speak_then, "exit", 3)


def test_a_child_that_died_between_calls_is_told_and_stays_dead(child):
    child.call(operator.add, 2, 3)
    os.kill(child.pid, signal.SIGKILL)
    for _ in range(2):
        with pytest.raises(BackendError, match="Q4_0 of tiny: the engine died in add with signal 9"):
            child.call(operator.add, 2, 3)


def test_leaving_ends_the_child_also_in_the_middle_of_work(tmp_path):
    with Child("a", tmp_path / "log") as polite:
        polite.call(operator.add, 2, 3)
    assert is_dead(polite.pid)
    with pytest.raises(ValueError, match="broken"), Child("b", tmp_path / "log") as killed:
        raise ValueError("broken")
    assert is_dead(killed.pid)


# ---- interrupts and death of the parent ----


def test_an_interrupt_of_the_parent_ends_the_child(child):
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        child.call(time.sleep, 100)
    timer.join()
    assert time.monotonic() - started < PATIENCE_S
    assert is_dead(child.pid)


def test_an_interrupt_of_the_child_itself_is_left_to_the_parent(child):
    child.call(operator.add, 2, 3)
    assert os.getpgid(child.pid) == child.pid
    os.kill(child.pid, signal.SIGINT)
    assert child.call(operator.add, 2, 3) == 5


PARENT = """
import signal, sys, time
from pathlib import Path
from quantcurve.engines.child import Child
signal.signal(signal.SIGINT, lambda *_: print("interrupted", flush=True))
with Child("x", Path(sys.argv[1])) as child:
    child.call(time.sleep, 0)
    print(child.pid, flush=True)
    child.call(time.sleep, float(sys.argv[2]))
    print("done", flush=True)
"""


def start_parent(log: Path, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PARENT, str(log), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)


def test_an_interrupt_of_the_group_does_not_reach_the_child(tmp_path):
    with start_parent(tmp_path / "log", 1.5) as parent:
        parent.stdout.readline()
        time.sleep(0.3)
        os.killpg(parent.pid, signal.SIGINT)
        assert parent.communicate(timeout=PATIENCE_S)[0] == "interrupted\ndone\n"
    assert parent.returncode == 0


@pytest.mark.skipif(sys.platform != "linux", reason="needs PR_SET_PDEATHSIG")
def test_the_child_dies_with_its_parent_in_the_middle_of_a_native_call(tmp_path):
    with start_parent(tmp_path / "log", 100) as parent:
        pid = int(parent.stdout.readline())
        time.sleep(0.3)
        assert not is_dead(pid)
        parent.kill()
        wait_until(lambda: is_dead(pid), "the child outlived its parent")


def test_peak_memory_is_the_childs_own(tmp_path):
    ballast = bytearray(400_000_000)
    for at in range(0, len(ballast), 4096):
        ballast[at] = 1
    with Child("small", tmp_path / "log") as small:
        peak = small.call(memory.peak_memory_bytes)
    assert 1_000_000 < peak < 250_000_000 < psutil.Process().memory_info().rss
