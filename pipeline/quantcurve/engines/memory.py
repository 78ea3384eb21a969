"""Memory of an engine's process; runs in it."""

from __future__ import annotations

import re
import resource
import sys
from pathlib import Path

import psutil


def resident_bytes() -> int:
    """Resident memory of this process."""
    return int(psutil.Process().memory_info().rss)


def peak_memory_bytes() -> int:
    """Peak resident memory of this process. On Linux from the kernel's own mark: what getrusage tells there begins at
    the size of the process that started this one (getrusage(2), ru_maxrss is kept through execve)."""
    if sys.platform == "linux" and (found := re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())):
        return int(found[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)
