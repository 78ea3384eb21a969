"""Facts about this machine that results depend on."""

from __future__ import annotations

import os
import platform
import re
from functools import cache
from pathlib import Path

from quantcurve.records import MachineFacts

_RELEVANT = re.compile(r"^(sse|ssse|avx|fma|f16c|bmi|amx|neon|asimd|sve|i8mm|bf16|fphp|dotprod|gfni|vnni)")
_IN_WORDS = {
    "avx2": "AVX2",
    "fma": "FMA",
    "avx512f": "AVX-512",
    "avx512_vnni": "VNNI with AVX-512 (8-bit dot products)",
    "avx_vnni": "VNNI with AVX2 (8-bit dot products)",
    "avx512_bf16": "AVX-512 BF16",
    "amx_int8": "AMX (8-bit matrix tiles)",
    "asimd": "NEON",
    "neon": "NEON",
    "asimddp": "dot products",
    "i8mm": "8-bit matrix products",
    "sve": "SVE",
    "bf16": "BF16",
}
"""Instruction sets that make an engine fast, by the names that Linux gives them: those of x86, then of Arm."""


@cache
def _cpuinfo() -> str:
    path = Path("/proc/cpuinfo")
    return path.read_text(errors="replace") if path.exists() else ""


@cache
def cpu_features() -> str:
    """Instruction sets that change an engine's arithmetic, sorted; the processor's name where they are not listed."""
    listed = re.search(r"^(?:flags|Features)\s*:\s*(.*)$", _cpuinfo(), re.M)
    if not listed:
        return platform.processor() or platform.machine()
    return " ".join(sorted(f for f in listed[1].split() if _RELEVANT.match(f)))


def instruction_sets() -> list[str]:
    """In words, those of `cpu_features` that make an engine fast; empty where they are not listed."""
    features = cpu_features().split()
    return list(dict.fromkeys(words for name, words in _IN_WORDS.items() if name in features))


def processor_name() -> str:
    """The processor as the system names it."""
    named = re.search(r"^model name\s*:\s*(.*)$", _cpuinfo(), re.M)
    return named[1].strip() if named else platform.processor() or platform.machine()


def usable_cores() -> int:
    """Cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@cache
def default_threads() -> int:
    """Physical cores this process may use: hyper-threads do not speed up matrix products."""
    import psutil

    return max(1, min(usable_cores(), psutil.cpu_count(logical=False) or usable_cores()))


def available_memory_bytes() -> int:
    """Memory that can be had without swapping."""
    import psutil

    return int(psutil.virtual_memory().available)


def free_disk_bytes(folder: Path) -> int:
    """Free space where a folder is, or will be made."""
    import shutil

    existing = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    return shutil.disk_usage(existing).free


def facts() -> MachineFacts:
    """The machine, as it goes into results and into the keys of speed figures."""
    import psutil

    return MachineFacts(
        system=f"{platform.system()} {platform.release()}",
        processor=processor_name(),
        logical_cores=usable_cores(),
        memory_bytes=int(psutil.virtual_memory().total),
        cpu_features=cpu_features(),
    )
