"""Seconds for some windows through an OpenVINO IR: by quantcurve's scoring, or by a loop with nothing else in it.

Usage: python tools/openvino_prefill.py FOLDER WINDOWS.npy --how bare|passes|score [--threads 2] [--runtime JSON]

    score    what a run does to a variant: compared with the kept logits of a reference
    bare     a prefill loop over the IR as it is: every window at once, with the logits that it gives
    passes   the very inputs that `score` feeds, one after the other

All compile with the same properties and do everything once untimed. The reference is the model itself: what a
comparison takes does not depend on its result.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from quantcurve.engines import openvino_child
from quantcurve.engines.base import OpenVinoConfig, OpenVinoRuntime, ReferenceScratch, Tokens
from quantcurve.engines.openvino_inputs import feed, input_names
from quantcurve.engines.openvino_ir import MODEL

Feed = dict[str, np.ndarray[Any, Any]]


def score(windows: Tokens) -> float:
    """What a run does to a variant."""
    with tempfile.TemporaryDirectory(prefix="quantcurve-bench-") as folder:
        reference = ReferenceScratch(Path(folder))
        openvino_child.score(windows, None, reference)
        return _seconds(lambda: openvino_child.score(windows, reference, None))


def bare(windows: Tokens) -> float:
    """A prefill loop over the IR as it is on disk."""
    model = openvino_child.current()
    graph = model.core.read_model(model.path / MODEL)
    plain = model.core.compile_model(graph, model.config.runtime.device, openvino_child.properties(model.config))
    names = input_names(graph)
    return _loop(plain, [feed(model.path, names, window[None], 0) for window in windows])


def passes(windows: Tokens) -> float:
    """A loop over what scoring feeds."""
    model = openvino_child.current()
    original, feeds = model.feed, []

    def recorded(tokens: Tokens, past: int, positions: int) -> Feed:
        feeds.append(original(tokens, past, positions))
        return feeds[-1]

    model.feed = recorded  # type: ignore[method-assign]
    openvino_child.score(windows, None, None)
    return _loop(model.compiled, feeds)


def _loop(compiled: Any, feeds: Sequence[Feed]) -> float:
    request = compiled.create_infer_request()

    def work() -> None:
        for inputs in feeds:
            if inputs["attention_mask"].shape == inputs["input_ids"].shape:
                request.reset_state()
            request.infer(inputs, share_inputs=True)

    work()
    return _seconds(work)


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> None:
    """Measure, print seconds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("windows", type=Path)
    parser.add_argument("--how", choices=("bare", "passes", "score"), required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runtime", type=OpenVinoRuntime.model_validate_json, default=OpenVinoRuntime())
    options = parser.parse_args()
    windows = np.load(options.windows)
    config = OpenVinoConfig(threads=options.threads, window_tokens=windows.shape[1], runtime=options.runtime)
    openvino_child.open_model(options.folder, config)
    work = {"bare": bare, "passes": passes, "score": score}[options.how]
    print(f"seconds {work(windows):.6f}")


if __name__ == "__main__":
    main()
