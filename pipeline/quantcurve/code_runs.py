"""Programs that a model wrote, each run in a process of its own, with limits.

The limits keep mistakes away from the machine, not malice: what runs here runs as this user.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

SECONDS = 3.0
"""A program may take (as in code_eval of the evaluate library)."""
MEMORY_BYTES = 2**30


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
    """Whether each program ends by itself, in time, without an error."""
    with ThreadPoolExecutor(max_workers=len(os.sched_getaffinity(0))) as pool:
        return list(pool.map(lambda program: _passes(program, seconds), programs))


def _passes(program: str, seconds: float) -> bool:
    with tempfile.TemporaryDirectory(prefix="quantcurve-code-") as folder:
        try:
            ended = subprocess.run(
                [sys.executable, "-I", "-"],
                input=program.encode("utf-8", "replace"),
                cwd=folder,
                env={"PATH": os.defpath, "OMP_NUM_THREADS": "1"},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=seconds,
                preexec_fn=_limit,
                start_new_session=True,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return False
    return ended.returncode == 0


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (int(SECONDS) + 1, int(SECONDS) + 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
