"""Fuzzes recipes and GGUF headers: nothing may die, hang, or be refused otherwise than by an error with a name.

Usage: python tools/fuzz.py --kind recipe|header|all --cases N --seed S [--keep FOLDER] [--case I]

Case I of a kind and seed is always the same. Prints how many cases were accepted and refused, by the class of the
error, and every violation with the file that it took, kept in FOLDER; exit code 1 if there was one.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from fuzz_engine import EngineCheck  # noqa: E402
from fuzz_headers import mutated_header, write_seeds  # noqa: E402
from fuzz_recipes import check_recipe, mutated_recipe  # noqa: E402
from fuzzing import Outcome, Tally  # noqa: E402

DEEP_EVERY = 10
"""One header in so many is also opened, scored, timed and resolved: that takes a second."""
RECIPE = ROOT / "recipes" / "smollm2-135m.yaml"


def fuzz_recipes(cases: Iterable[int], seed: int, folder: Path, keep: Path) -> Tally:
    """Mutate the shipped recipe and check each."""
    good = RECIPE.read_text(encoding="utf-8")
    path = folder / "recipe.yaml"

    def check(number: int) -> tuple[bytes, Outcome]:
        raw = mutated_recipe(good, Random(f"{seed}-recipe-{number}"))
        path.write_bytes(raw)
        return raw, check_recipe(path)

    return _each(cases, check, keep, f"recipe-{seed}-%d.yaml")


def fuzz_headers(cases: Iterable[int], seed: int, folder: Path, keep: Path) -> Tally:
    """Mutate the headers of tiny models and take each through the engine."""
    seeds = write_seeds(folder)
    with EngineCheck(folder) as engine:

        def check(number: int) -> tuple[bytes, Outcome]:
            raw = mutated_header(seeds, Random(f"{seed}-header-{number}"))
            return raw, engine.check(raw, deep=number % DEEP_EVERY == 0)

        return _each(cases, check, keep, f"header-{seed}-%d.gguf")


def _each(cases: Iterable[int], check: Callable[[int], tuple[bytes, Outcome]], keep: Path, name: str) -> Tally:
    tally = Tally()
    started = time.monotonic()
    for number in cases:
        raw, outcome = check(number)
        tally.add(number, outcome)
        if outcome.violation:
            keep.mkdir(parents=True, exist_ok=True)
            kept = keep / (name % number)
            kept.write_bytes(raw)
            print(
                f"VIOLATION case {number}, {outcome.violation.step}: {outcome.violation.what}\n  kept: {kept}",
                flush=True,
            )
    count = sum(tally.kinds.values())
    print(f"{name.split('-', maxsplit=1)[0]}: {count} cases, {count / (time.monotonic() - started):.1f} a second")
    for kind, number in tally.kinds.most_common():
        print(f"  {kind:24} {number:8}")
    print(f"  {'violations':24} {len(tally.violations):8}", flush=True)
    return tally


def main() -> int:
    """Run what the flags say."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--kind", choices=("recipe", "header", "all"), default="all")
    flags.add_argument("--cases", type=int, default=1000, help="of each kind")
    flags.add_argument("--seed", type=int, default=0)
    flags.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()) / "quantcurve-fuzz")
    flags.add_argument("--case", type=int, help="only this one")
    given = flags.parse_args()
    cases = range(given.cases) if given.case is None else [given.case]
    os.environ.update(HF_HUB_OFFLINE="1", GGML_NO_BACKTRACE="1")  # no debugger for every abort
    violations = 0
    for kind, fuzz in (("recipe", fuzz_recipes), ("header", fuzz_headers)):
        if given.kind in {kind, "all"}:
            with tempfile.TemporaryDirectory(prefix="quantcurve-fuzz-") as folder:
                violations += len(fuzz(cases, given.seed, Path(folder), given.keep).violations)
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
