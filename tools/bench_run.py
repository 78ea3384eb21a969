"""Runs both sides of bench_screen.py as processes: time, processor time, and disk that is used meanwhile."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from quantcurve.engines import llamacpp
from quantcurve.recipe import Screen
from race import Builds

SAMPLE_S = 0.1
BASE_HEADER_BYTES = 20
"""Magic and three int32 (tools/perplexity/perplexity.cpp, perplexity)."""


class Cost(NamedTuple):
    """What a side took: wall time, user and system time of all its processes, and what they printed."""

    wall_s: float
    cpu_s: float
    printed: str

    def __add__(self, other: Cost) -> Cost:  # type: ignore[override]
        return Cost(self.wall_s + other.wall_s, self.cpu_s + other.cpu_s, self.printed + other.printed)


def timed(command: Sequence[str | Path], log: Path, allowed: Sequence[int] = (0,)) -> Cost:
    """Run a process to its end; its figures include the descendants it waited for.

    Args:
        command: program and arguments.
        log: file that gets what it prints.
        allowed: exit codes that are no failure (quantcurve gives 1 where no variant is kept).

    Raises:
        SystemExit: it failed; the message has the end of what it printed.
    """
    with log.open("w+b") as sink:
        started = time.perf_counter()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
    printed = log.read_text(encoding="utf-8", errors="replace")
    if process.returncode not in allowed:
        raise SystemExit(f"{' '.join(map(str, command))} failed with {process.returncode}:\n{printed[-2000:]}")
    return Cost(wall_s, usage.ru_utime + usage.ru_stime, printed)


class DiskPeak:
    """Largest number of bytes on disk under a folder while the block runs, looked at every SAMPLE_S."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bytes = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> DiskPeak:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(SAMPLE_S):
            self.bytes = max(self.bytes, blocks_bytes(self.folder))


def blocks_bytes(folder: Path) -> int:
    """Bytes that the files under a folder hold on disk now; files may vanish meanwhile."""
    found = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                found += 512 * os.lstat(Path(place, name)).st_blocks
            except FileNotFoundError:
                continue
    return found


def base_file_bytes(windows: int, window_tokens: int, vocabulary: int) -> int:
    """Size of a --kl-divergence-base file (tools/perplexity/perplexity.cpp: tokens, then per scored token a scale, a
    minimum and a uint16 for each entry of the vocabulary, padded to an even number)."""
    rows = window_tokens - 1 - window_tokens // 2
    row_bytes = 2 * (2 * ((vocabulary + 1) // 2) + 4)
    return BASE_HEADER_BYTES + windows * (4 * window_tokens + rows * row_bytes)


def alternating(pairs: int, ours: Callable[[], Cost], theirs: Callable[[], Cost]) -> list[tuple[Cost, Cost]]:
    """Run both sides `pairs` times next to each other, the other one first in every second pair."""
    done = []
    for i in range(pairs):
        if i % 2:
            second = theirs()
            done.append((ours(), second))
        else:
            first = ours()
            done.append((first, theirs()))
    return done


def recipe_text(
    model: str, text: Path, windows: int | None, variants: Sequence[str], *, exhaustive: bool, repetitions: int = 0
) -> str:
    """A recipe, as JSON, which is YAML as well.

    Args:
        model: source as in a recipe; a file by its absolute path.
        text: file to score.
        windows: of the text; None for all.
        variants: file types.
        exhaustive: measure everything, without early stopping, where this quantcurve can stop early.
        repetitions: of the speed benchmark; 0 for none.
    """
    recipe: dict[str, object] = {
        "name": "race",
        "model": {"source": model},
        "texts": [{"name": "text", "source": str(text), **({"windows": windows} if windows else {})}],
        "windows": {"tokens": 512, "limit": windows, "choose": "first"},
        "variants": {"gguf": list(variants)},
        "benchmark": {"prompt_tokens": 512, "decode_tokens": 128, "repetitions": repetitions} if repetitions else None,
    }
    if exhaustive and "exhaustive" in Screen.model_fields:
        recipe["screen"] = {"exhaustive": True}
    return json.dumps(recipe, indent=1)


def system_info(library: Path) -> str:
    """What llama_print_system_info of a libllama says: the CPU features it was compiled for."""
    script = (
        "import ctypes, sys; f = ctypes.CDLL(sys.argv[1]).llama_print_system_info; "
        "f.restype = ctypes.c_char_p; print(f().decode())"
    )
    done = subprocess.run([sys.executable, "-c", script, library], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def compiler(library: Path) -> str:
    """Compiler as it signed a shared library (section .comment)."""
    signed = set(re.findall(rb"GCC: \([^)]*\) [\d.]+|clang version [\d.]+", library.read_bytes()))
    return ", ".join(sorted(s.decode() for s in signed)) or "unknown compiler"


def builds(tools: Path) -> Builds:
    """Both builds, as far as they can be seen."""
    suffix = "dylib" if sys.platform == "darwin" else "so"
    folders = (llamacpp.library_folder(), tools)
    done = subprocess.run([tools / "llama-bench", "--version"], capture_output=True, text=True, check=True)
    said = re.search(r"version: (.+)", done.stdout + done.stderr)
    return Builds(
        bindings=llamacpp.version(),
        tools=said[1].strip() if said else "unknown version",
        features=tuple(system_info(f / f"libllama.{suffix}") for f in folders),
        compilers=tuple(compiler(f / f"libggml-cpu.{suffix}") for f in folders),
    )
