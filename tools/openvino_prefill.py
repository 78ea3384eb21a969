"""Seconds for some windows through an OpenVINO IR: a bare prefill loop, or quantcurve's scoring, in one process.

Usage: python tools/openvino_prefill.py FOLDER WINDOWS.npy --how bare|score [--threads 2] [--exact]

Both compile the model first and run one window untimed. `bare` feeds each window at once to the IR as it is and looks
at nothing; `score` is what a run does, without a reference to compare with.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import openvino as ov

from quantcurve.engines import openvino_child
from quantcurve.engines.base import OpenVinoConfig, OpenVinoRuntime, Tokens


def bare(folder: Path, windows: Tokens, config: OpenVinoConfig) -> float:
    """A loop over windows with nothing else in it."""
    compiled = ov.Core().compile_model(folder / "openvino_model.xml", "CPU", openvino_child.properties(config))
    names = {name for port in compiled.inputs for name in port.get_names()}
    request = compiled.create_infer_request()

    def prefill(window: Tokens) -> None:
        length = len(window)
        offered = {
            "input_ids": window[None].astype(np.int64),
            "attention_mask": np.ones((1, length), np.int64),
            "position_ids": np.arange(length, dtype=np.int64)[None],
            "beam_idx": np.zeros(1, np.int32),
        }
        request.reset_state()
        request.infer({name: value for name, value in offered.items() if name in names}, share_inputs=True)

    prefill(windows[0])
    started = time.perf_counter()
    for window in windows:
        prefill(window)
    return time.perf_counter() - started


def score(folder: Path, windows: Tokens, config: OpenVinoConfig) -> float:
    """What a run does."""
    openvino_child.open_model(folder, config)
    openvino_child.score(windows[:1], None, None)
    started = time.perf_counter()
    openvino_child.score(windows, None, None)
    return time.perf_counter() - started


def main() -> None:
    """Measure, print seconds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("windows", type=Path)
    parser.add_argument("--how", choices=("bare", "score"), required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--exact", action="store_true", help="EXECUTION_MODE_HINT=ACCURACY")
    options = parser.parse_args()
    windows = np.load(options.windows)
    runtime = OpenVinoRuntime(execution="accuracy" if options.exact else "performance")
    config = OpenVinoConfig(threads=options.threads, window_tokens=windows.shape[1], runtime=runtime)
    work = bare if options.how == "bare" else score
    print(f"seconds {work(options.folder, windows, config):.6f}")


if __name__ == "__main__":
    main()
