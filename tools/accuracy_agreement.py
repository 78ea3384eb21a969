"""Do scores of single groups agree: switched in one graph, against NNCF's model with that group restored?

Usage: python tools/accuracy_agreement.py [--smooth-quant off on] [--seed 0] [--groups 20] [--out FILE] [--cache DIR]

The groups are spread evenly over the fast way's ranking, from the best to the worst. Each is restored in the int8 model
(openvino_revert.py builds what NNCF's revert gives, see tests/test_w8a8.py) and judged there in float32 arithmetic, and
once more as deployed: how well NNCF's scores agree with themselves under other rounding is the most that can be asked
of anybody's. Ties: a group whose effect on the items has 0 in its 95 % interval counts as having none. Spearman's
correlations are by mean ranks. What was measured is added to FILE, which bench_accuracy_control.py prints.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

import bench_accuracy_control as bench
from accuracy_table import Agreement, Bench, table
from quantcurve import machine
from quantcurve.engines import control_child
from quantcurve.engines.base import Doubles, OpenVinoConfig, OpenVinoRuntime
from quantcurve.engines.child import Child
from quantcurve.estimates import Estimate
from quantcurve.metrics.paired import paired_drop
from quantcurve.run import Where, open_session
from quantcurve.session import Session
from quantcurve.stages import accuracy_control
from quantcurve.stages.restorable import Quantizers


def measure(smooth_quant: bool, seed: int, count: int, session: Session) -> Agreement:
    """Score groups both ways."""
    with ExitStack() as stack:
        start = bench.opened(smooth_quant, seed, stack, session)
        task, model = start.controlled(1.0), start.model
        items = list(range(task.searched))
        quick, built = (stack.enter_context(Child(name, session.log(name))) for name in ("quick", "built"))
        for child in (quick, built):
            child.call(control_child.judge_by, task.reference.judge)
        model.open_quick(quick, frozenset(range(len(model.groups))))
        ranking = bench.RANKING_ITEMS
        first = [
            np.mean(model.judge_quick(quick, frozenset([g]), items[:ranking]).values) for g in range(len(model.groups))
        ]
        order = np.argsort(first)[::-1]
        chosen = order[np.linspace(0, len(order) - 1, count).round().astype(int)].tolist()
        deployed = accuracy_control.config_of(OpenVinoRuntime(), task.prepared, session)
        rows = []
        for restored in [frozenset[int](), *(frozenset([int(g)]) for g in chosen)]:
            switched = model.judge_quick(quick, restored, items).values
            rows.append((switched, *judged(model, restored, (model.config, deployed), built, items)))
            print(f"{len(rows) - 1} of {count}", file=sys.stderr)
    sides = np.array(rows).transpose(1, 0, 2)  # (3, count + 1, items): switched, NNCF's in float32, NNCF's as deployed
    switched_side, float_side, deployed_side = [side[1:] - side[0] for side in sides]
    return Agreement(
        smooth_quant=smooth_quant,
        seed=seed,
        groups=count,
        items=len(items),
        spearman=spearman(switched_side.mean(1), float_side.mean(1)),
        spearman_with_ties=spearman(tied(switched_side), tied(float_side)),
        told_apart=int(np.count_nonzero(tied(float_side))),
        nncf_with_itself=spearman(float_side.mean(1), deployed_side.mean(1)),
        nncf_with_itself_with_ties=spearman(tied(float_side), tied(deployed_side)),
    )


def judged(
    model: Quantizers, restored: frozenset[int], configs: tuple[OpenVinoConfig, ...], child: Child, items: list[int]
) -> list[list[float]]:
    """Values of a model that is built, under each configuration."""
    folder = Path(tempfile.mkdtemp(prefix="quantcurve-agreement-"))
    try:
        child.call(control_child.close)
        model.build(child, restored, folder)
        found = []
        for config in configs:
            child.call(control_child.open_folder, folder, config)
            found.append(child.call(control_child.judge_open, items).values)
        return found
    finally:
        shutil.rmtree(folder)


def tied(effects: Doubles) -> Doubles:
    """Mean effects of groups (n, items) over items; 0 where the interval has 0 in it."""
    found = [paired_drop(row, np.zeros_like(row), "nats") for row in effects]
    means = [f.value if isinstance(f, Estimate) and (f.low > 0 or f.high < 0) else 0.0 for f in found]
    return np.array(means)


def spearman(one: Doubles, other: Doubles) -> float | None:
    """Spearman's correlation; None where one side is all ties."""
    return None if len(set(one)) < 2 or len(set(other)) < 2 else float(spearmanr(one, other).statistic)


def main() -> int:
    """Measure, add it to the file, and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smooth-quant", nargs="*", choices=["off", "on"], default=["off", "on"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--groups", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cache", type=Path, help="a store that may have the quantised graphs")
    parser.add_argument("--out", type=Path, default=Path("bench-accuracy-control.json"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="quantcurve-agreement-store-") as store:
        session = open_session(
            Where(threads=options.threads, cache=options.cache or Path(store), logs=Path(store) / "logs"),
            openvino_too=True,
        )
        for smooth in options.smooth_quant:
            with session.store.in_use():
                found = measure(smooth == "on", options.seed, options.groups, session)
            known = Bench.model_validate_json(options.out.read_text()) if options.out.exists() else None
            known = known or Bench(machine=machine.facts())
            known = known.model_copy(update={"agreements": (*known.agreements, found)})
            options.out.write_text(known.model_dump_json(indent=1) + "\n")
    print(table(known), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
