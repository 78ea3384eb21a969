"""Programs that a model wrote, whether they pass their tests, and pass@k.

They run in a sandbox where this machine can make one. Elsewhere limits keep mistakes away from it, not malice: there
they run as this user.
"""

from __future__ import annotations

import math
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial

from quantcurve.machine import usable_cores
from quantcurve.sandbox import Limits, run_all, unavailable
from quantcurve.sandbox_inside import START, packed

SECONDS = 3.0
"""A program may take (as in code_eval of the evaluate library)."""
_LIMITED = """
import resource, sys
for kind, most in zip(("AS", "FSIZE", "CPU", "CORE"), map(int, sys.argv[1:])):
    resource.setrlimit(getattr(resource, f"RLIMIT_{kind}"), (most, most))
"""


def pass_at_k(answers: int, right: int, k: int) -> float:
    """Probability that one of k answers is right, estimated without bias from more: 1 - C(n - c, k) / C(n, k) (Chen et
    al. 2021, "Evaluating Large Language Models Trained on Code", equation 1).

    Args:
        answers: n, k at least.
        right: c.
        k: answers that are looked at.

    Raises:
        ValueError: k is not from 1 to `answers`, or `right` not from 0 to `answers`.
    """
    if not 1 <= k <= answers or not 0 <= right <= answers:
        raise ValueError(f"pass@{k} of {answers} answers, {right} of them right")
    missed = 1.0
    for i in range(k):
        missed *= max(answers - right - i, 0) / (answers - i)
    return 1 - missed


def passes(programs: Sequence[str], seconds: float = SECONDS) -> list[bool]:
    """Whether each program comes to its last line and ends by itself, in time, without an error.

    In a sandbox where `quantcurve.sandbox.unavailable` says nothing; else as this user, in a process with limits and a
    temporary folder. Both have the standard library alone.
    """
    limits = Limits(seconds=seconds)
    if not unavailable():
        return [ended.ok for ended in run_all(programs, limits, marker=True)]
    with ThreadPoolExecutor(max_workers=usable_cores()) as pool:
        return list(pool.map(partial(_passes, limits=limits), programs))


def _passes(program: str, limits: Limits) -> bool:
    token = secrets.token_hex(16)
    marked, marker = os.pipe()
    try:
        with tempfile.TemporaryDirectory(prefix="quantcurve-code-") as folder:
            code = _run(packed(program, marker, token), marker, folder, limits)
        os.set_blocking(marked, False)
        with suppress(BlockingIOError):
            return code == 0 and os.read(marked, 2 * len(token)) == f"{token}\n".encode()
        return False
    finally:
        os.close(marked)
        os.close(marker)


def _run(given: bytes, marker: int, folder: str, limits: Limits) -> int | None:
    """The exit code; None where the program and its process group were ended for taking too long."""
    numbers = (limits.memory_bytes, limits.file_bytes, math.ceil(limits.seconds) + 1, 0)
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-X", "utf8", "-c", _LIMITED + START, *map(str, numbers)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=folder,
        env={"PATH": os.defpath, "LANG": "C.UTF-8", "OMP_NUM_THREADS": "1"},
        pass_fds=(marker,),
        start_new_session=True,
    ) as process:
        try:
            process.communicate(given, limits.seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return None
    return process.returncode
