"""Ctrl-C and SIGTERM: also where Python forgets what a signal handler raised."""

from __future__ import annotations

import subprocess
import sys

import pytest

FORGOTTEN = """
import os, signal, sys
from quantcurve import interrupts
from quantcurve.console import interruptible, watched
from quantcurve.session import Event

class Dying:
    def __del__(self):
        os.kill(os.getpid(), int(sys.argv[1]))
        for _ in range(1000):  # the handler runs between two of these
            pass

interrupts.install()
with interruptible(), watched(quiet=False, verbose=True) as progress:
    progress(Event("screen", 0, 2, "reference"))
    Dying()
    print("went on", flush=True)
    progress(Event("screen", 1, 2, "Q8_0"))
    print("not stopped", flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="sends signals")
@pytest.mark.parametrize("number", [2, 15])
def test_an_interrupt_that_python_forgets_ends_the_run_at_its_next_step(number: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORGOTTEN, str(number)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        start_new_session=True,
    )
    assert done.stdout == "went on\n"
    assert "Exception ignored in" in done.stderr
    if number == 15:
        assert done.returncode == 143
    else:
        assert "run the same command again" in done.stderr


IGNORED = """
import os, signal
from quantcurve import interrupts
signal.signal(signal.SIGINT, signal.SIG_IGN)
interrupts.install()
os.kill(os.getpid(), signal.SIGINT)
print("still here")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="sends signals")
def test_a_job_that_was_started_to_ignore_interrupts_ignores_them() -> None:
    done = subprocess.run([sys.executable, "-c", IGNORED], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "still here\n"
