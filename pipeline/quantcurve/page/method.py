"""How a run was made: machine, versions, configurations, hashes, time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from quantcurve.page.tables import Cell, PageTable
from quantcurve.records import EffectiveConfig
from quantcurve.report import words
from quantcurve.results import ReferenceResult, RunResult, VariantResult


class Settings(NamedTuple):
    """Variants that ran alike, and how."""

    names: str
    pairs: tuple[tuple[str, str], ...]


def machine(run: RunResult) -> Iterator[tuple[str, str]]:
    """Where it ran, and what: names and values."""
    facts = run.machine
    yield "processor", f"{words.plain(facts.processor)}, {facts.logical_cores} logical cores"
    yield "memory", f"{facts.memory_bytes / 2**30:.1f} GiB"
    yield "system", words.plain(facts.system)
    yield "processor features", words.plain(facts.cpu_features)
    yield "quantcurve", run.quantcurve_version
    for engine in (run.engine, run.openvino):
        if engine:
            yield engine.name, words.plain(f"{engine.version}, build {engine.build}")
    yield "run key", run.run_key


def settings(run: RunResult) -> Iterator[Settings]:
    """How models were run for scoring and for timing, those that ran alike together."""
    alike: dict[tuple[str, EffectiveConfig], list[str]] = defaultdict(list)
    configs: list[tuple[str, str, EffectiveConfig | None]] = [
        (run.reference.name, "scored", run.scoring_config),
        (run.reference.name, "timed", run.timing_config),
    ]
    configs += [(v.name, "scored", v.scoring_config) for v in run.variants]
    configs += [(v.name, "timed", v.timing_config) for v in run.variants]
    for name, use, config in configs:
        if config is not None:
            alike[use, config].append(words.plain(name))
    for (use, config), names in alike.items():
        pairs = tuple((key.replace("_", " "), words.plain(words.told(value))) for key, value in config)
        yield Settings(f"{use}: {', '.join(names)}", pairs)


def hashes(run: RunResult) -> PageTable:
    """Of every model and text."""
    models: tuple[ReferenceResult | VariantResult, ...] = (run.reference, *run.variants)
    files: list[tuple[str, tuple[Cell, ...]]] = [
        (words.plain(model.name), (Cell(model.file.content_hash), _size(model.file.size_bytes)))
        for model in models
        if model.file
    ]
    files += [(f"text {words.plain(t.name)}", (Cell(t.content_hash), _size(t.size_bytes))) for t in run.texts]
    return PageTable("SHA-256 of models and texts", "file", ("SHA-256", "size (MiB)"), tuple(files))


def _size(size_bytes: int) -> Cell:
    return Cell(f"{size_bytes / words.MIB:.2f}", size_bytes)


def stages(run: RunResult) -> PageTable:
    """What took how long."""
    made = tuple(
        (words.plain(s.stage), (Cell(f"{s.seconds:.1f}", s.seconds), Cell(str(s.steps)), Cell(str(s.cached))))
        for s in run.stages
    )
    return PageTable("Time", "stage", ("seconds", "steps", "of them from the store"), made)
