"""What README.md shows, made by the code itself (see the cog blocks in README.md and `make readme`)."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from quantcurve.estimates import Estimate, Missing

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "tests" / "data" / "demo" / "results.json"
"""results.json of a `make demo`, kept so that the shown table can be checked without running it."""
TWO_BY_TWO = ROOT / "tests" / "data" / "kv" / "results.json"
RACES = ROOT / "tests" / "data" / "race"
"""What tools/bench_screen.py wrote with --json."""
ACCURACY_CONTROL = ROOT / "tests" / "data" / "accuracy_control" / "bench.json"
"""What tools/bench_accuracy_control.py wrote with --out."""
GENERATION = ROOT / "tests" / "data" / "generation" / "bench.json"
"""What tools/bench_generation.py wrote with --out."""
PLANTED = ROOT / "tests" / "data" / "planted" / "bench.json"
"""What tools/bench_planted.py wrote with --out."""
ENCODER = ROOT / "tests" / "data" / "encoder" / "results.json"
"""results.json of `quantcurve run all-minilm-l6-v2`."""
OPENVINO_SCORING = ROOT / "tests" / "data" / "openvino" / "scoring.json"
"""What tools/bench_openvino.py wrote with --json."""


def command(line: str, cwd: Path = ROOT) -> str:
    """A quantcurve command and what it prints, as a console block."""
    environment = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"}
    done = subprocess.run(
        [sys.executable, "-m", "quantcurve.cli", *line.split()[1:]],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment,
        check=False,
    )
    printed = (done.stdout + done.stderr).replace("python -m quantcurve.cli", "quantcurve").rstrip()
    return f"```console\n$ {line}\n" + "\n".join(row.rstrip() for row in printed.splitlines()) + "\n```\n"


def demo_table() -> str:
    """The recorded demo's tables as `make demo` prints them, with the machine it ran on; of the sections below
    only the contract is shown."""
    from rich.console import Console

    from quantcurve.console import PIPED_WIDTH
    from quantcurve.report.folder import load
    from quantcurve.report.notes import CONTRACT, sections
    from quantcurve.report.table import table

    run = load(DEMO)
    sink = io.StringIO()
    Console(file=sink, width=PIPED_WIDTH, no_color=True, highlight=False).print(table(run))
    printed, noted = sink.getvalue(), sections(run)
    tables, _, _ = printed.partition(f"\n{noted[0].heading}\n")
    last = f"\n{noted[-1].heading}\n"
    verdicts = f"\n\n[…]\n{last}{printed.rpartition(last)[2]}" if noted[-1].heading == CONTRACT else ""
    rows = "\n".join(row.rstrip() for row in f"{tables.rstrip()}{verdicts}".rstrip().splitlines())
    machine = f"{run.machine.processor}, {run.machine.logical_cores} cores, {run.machine.system}"
    return f"Measured by `make demo` on {machine}:\n\n```console\n$ make demo\n{rows}\n```\n"


def two_by_two() -> str:
    """Weights and KV cache of the recorded run in a 2 x 2, and a sentence on whether the losses add."""
    from quantcurve.report import words
    from quantcurve.report.folder import load

    run = load(TWO_BY_TWO)
    found = [(v, f) for v in run.variants if isinstance(v.kv_cache, tuple) for f in v.kv_cache]
    lines = [
        "| Variant | Context | Windows | Weights alone | Cache alone | Both | Interaction |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for variant, figures in found:
        cells = (figures.kl_weights_alone, figures.kl_cache_alone, figures.kl_both, figures.interaction_kl)
        shown = " | ".join(words.bounds(cell) for cell in cells)
        lines.append(f"| {variant.name} | {figures.context_tokens} | {figures.windows} | {shown} |")
    sentence = "Do the losses add? " + "; ".join(
        (
            _adding("in KL divergence", [f.interaction_kl for _, f in found]),
            _adding("in ln perplexity ratio", [f.interaction_ln_perplexity_ratio for _, f in found]),
        )
    )
    machine = f"{run.machine.processor}, {run.machine.logical_cores} cores"
    engine = f"{run.engine.name} {run.engine.version}"
    head = f"Mean KL divergence from the reference with an F16 cache, nats [95 % interval]; {engine}, {machine}:"
    return "\n".join([head, "", *lines, "", f"{sentence}."]) + "\n"


def _adding(figure: str, interactions: Sequence[Estimate | Missing]) -> str:
    from quantcurve.estimates import Estimate

    known = [i for i in interactions if isinstance(i, Estimate)]
    adding, more = sum(i.low <= 0 <= i.high for i in known), sum(i.low > 0 for i in known)
    return (
        f"{figure}, {adding} of {len(known)} interactions have 0 in their interval, so there they do as far as the "
        f"data tell, {more} lose more together than apart, {len(known) - adding - more} less"
    )


def race_table() -> str:
    """What tools/bench_screen.py measured, with the machine it ran on."""
    import race

    return race.render(*sorted(RACES.glob("*.json")))


def openvino_scoring() -> str:
    """What tools/bench_openvino.py measured, with the machine it ran on."""
    import race

    return race.render(OPENVINO_SCORING)


def explained(variant: str) -> str:
    """What `quantcurve explain` prints of a variant of the recorded demo."""
    folder = DEMO.parent.relative_to(ROOT)
    return command(f"quantcurve explain {folder} {variant}").replace(f"{folder}", "runs/smollm2-135m-openvino")


def accuracy_control() -> str:
    """What tools/bench_accuracy_control.py measured, with the machine it ran on."""
    from accuracy_table import Bench, machines, table

    bench = Bench.model_validate_json(ACCURACY_CONTROL.read_text())
    return f"{table(bench)}\n{machines(bench)}\n"


def generation() -> str:
    """What tools/bench_generation.py measured, with the machine it ran on."""
    from generation_table import GenBench, table

    return table(GenBench.model_validate_json(GENERATION.read_text()))


def planted() -> str:
    """What tools/bench_planted.py found, with the machine it ran on."""
    from bench_planted import PlantedBench, table

    return table(PlantedBench.model_validate_json(PLANTED.read_text()))


def encoder_table() -> str:
    """The recorded run of the shipped encoder's recipe."""
    from quantcurve.encoder_results import EncoderResult
    from quantcurve.report.encoder_table import encoder_markdown

    result = EncoderResult.model_validate_json(ENCODER.read_text())
    return encoder_markdown(result).partition("\n\n")[2]


def recipe_error() -> str:
    """The message for a recipe with two mistakes."""
    good = (ROOT / "recipes" / "smollm2-135m.yaml").read_text()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "my.yaml").write_text(good.replace("windows:\n", "windoes:\n").replace("Q4_K_M", "Q4_KM"))
        return command("quantcurve plan my.yaml", Path(folder))
