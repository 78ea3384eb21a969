"""What tests let an engine process do: run out of memory, spin, answer nonsense. Light, since the child imports it."""

from __future__ import annotations

import ctypes
import os
import resource
import time
from pathlib import Path

import numpy as np


def open_with_limit(path: Path, config: object, address_space_bytes: int) -> None:
    if address_space_bytes:
        resource.setrlimit(resource.RLIMIT_AS, (address_space_bytes, address_space_bytes))
    from quantcurve.engines import llamacpp_child as engine

    engine.open_model(path, config)


def allocate(size: int) -> None:
    np.empty(size, np.uint8)


def throw_bad_alloc() -> None:
    library = ctypes.CDLL("libstdc++.so.6")
    library._ZSt17__throw_bad_allocv()


def spin(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def answer_and_die(answered: bytes) -> None:
    for link in Path("/proc/self/fd").iterdir():
        info = Path("/proc/self/fdinfo", link.name)
        if not info.exists() or not str(link.readlink()).startswith("pipe:"):
            continue
        flags = int(dict(line.split(None, 1) for line in info.read_text().splitlines())["flags:"], 8)
        if flags & os.O_ACCMODE == os.O_WRONLY:  # the only one is the pipe of replies
            os.write(int(link.name), answered)
    os._exit(5)


def export_with_limit(source: Path, target: Path, more_bytes: int) -> None:
    """Export with so much memory beyond what the libraries themselves take."""
    import optimum.exporters.openvino  # noqa: F401
    import psutil
    import torch
    import transformers.modeling_gguf_pytorch_utils  # noqa: F401

    from quantcurve.engines import openvino_export

    torch.set_num_threads(1)
    limit = psutil.Process().memory_info().vms + more_bytes
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    openvino_export.export(source, target)
