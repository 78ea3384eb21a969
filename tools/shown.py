"""What README.md shows, made by the code itself (see the cog blocks in README.md and `make readme`)."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "tests" / "data" / "demo" / "results.json"
"""results.json of a `make demo`, kept so that the shown table can be checked without running it."""
RACES = ROOT / "tests" / "data" / "race"
"""What tools/bench_screen.py wrote with --json."""


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
    """The recorded demo's table as `make demo` prints it, 100 columns wide, with the machine it ran on."""
    from rich.console import Console

    from quantcurve.report.folder import load
    from quantcurve.report.table import table

    run = load(DEMO)
    sink = io.StringIO()
    Console(file=sink, width=100, no_color=True, highlight=False).print(table(run))
    rows = "\n".join(row.rstrip() for row in sink.getvalue().rstrip().splitlines())
    machine = f"{run.machine.processor}, {run.machine.logical_cores} cores, {run.machine.system}"
    return f"Measured by `make demo` on {machine}:\n\n```console\n$ make demo\n{rows}\n```\n"


def race_table() -> str:
    """What tools/bench_screen.py measured, with the machine it ran on."""
    import race

    return race.render(*sorted(RACES.glob("*.json")))


def recipe_error() -> str:
    """The message for a recipe with two mistakes."""
    good = (ROOT / "recipes" / "smollm2-135m.yaml").read_text()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "my.yaml").write_text(good.replace("windows:\n", "windoes:\n").replace("Q4_K_M", "Q4_KM"))
        return command("quantcurve plan my.yaml", Path(folder))
