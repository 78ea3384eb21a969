"""Compares quantcurve's perplexity and KL divergence with llama-perplexity on the same text and windows.

Usage: python tools/parity.py --tools FOLDER --reference F16.gguf --variant Q4_0.gguf --text FILE [--windows 20]

Prints each figure of `--kl-divergence` beside ours from the same base file, and apart from that what the exact
logits give: the difference is the cost of the base file's 16-bit storage. Exit code 1 if a printed digit differs
by more than one unit in the last place.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from quantcurve.engines import llamacpp_child as engine
from quantcurve.engines import llamacpp_files
from quantcurve.engines.base import LlamaCppConfig, ReferenceScratch
from quantcurve.engines.child import Child
from quantcurve.machine import default_threads
from quantcurve.metrics.base_file import parse_printed, printed_figures

TRIES = 20


def llama_perplexity(tools: Path, *arguments: str) -> str:
    """Run llama-perplexity and give all it printed.

    It may exit before its logger has written the end (common/log.cpp, common_log_main), and is then run again.
    """
    command = [str(tools / "llama-perplexity"), "-t", str(default_threads()), *arguments]
    last = "Same top p:" if "--kl-divergence" in arguments else "Final estimate: PPL"
    for _ in range(TRIES):
        done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
        said = f"{done.stdout}\n{done.stderr}"
        if re.search(rf"{last}.*\d.*\n", said):
            return said
    raise SystemExit(f"{' '.join(command)} did not print {last!r} in {TRIES} runs")


def compare(tools: Path, reference: Path, variant: Path, text: Path, windows: int, window_tokens: int = 512) -> int:
    """Print the comparison; returns the number of figures that differ."""
    config = LlamaCppConfig(
        threads=default_threads(), window_tokens=window_tokens, sequences=max(1, 2048 // window_tokens)
    )
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="quantcurve-parity-") as name:
        folder = Path(name)
        base = folder / "base"
        common = ("-f", str(text), "--chunks", str(windows), "-c", str(window_tokens))
        plain = llama_perplexity(tools, "-m", str(reference), *common, "--kl-divergence-base", str(base))
        printed = parse_printed(
            llama_perplexity(tools, "-m", str(variant), *common, "--kl-divergence", "--kl-divergence-base", str(base))
        )
        base_ppl = float(re.search(r"Final estimate: PPL = ([\d.]+)", plain)[1])  # type: ignore[index]
        with Child("reference", folder / "log") as own, Child("variant", folder / "log") as other:
            ids = own.call(llamacpp_files.tokenize, reference, [text.read_text()])[0]
            table = ids[: windows * window_tokens].reshape(windows, window_tokens)
            own.call(engine.open_model, reference, config)
            other.call(engine.open_model, variant, config)
            ours = printed_figures(other.call(engine.score_stored, base))
            scratch = ReferenceScratch(folder / "scratch")
            exact_base = own.call(engine.score, table, None, scratch)
            exact = other.call(engine.score, table, scratch, None)
        print(f"{'figure':34} {'llama.cpp':>14} {'ours':>14}")
        ppl = float(np.exp(exact_base.nll.mean()))
        wrong += abs(ppl - base_ppl) > 0.00011
        print(f"{'perplexity of the reference':34} {base_ppl:14.4f} {ppl:14.4f}")
        for label, (value, decimals) in printed.items():
            off = abs(value - ours[label]) > 1.1 * 10**-decimals
            wrong += off
            print(f"{label:34} {value:14.{decimals}f} {ours[label]:14.{decimals}f}{'  DIFFERS' if off else ''}")
        if missing := set(ours) - set(printed):
            wrong += len(missing)
            print(f"not printed by llama.cpp: {sorted(missing)}")
        stored_kl, exact_kl = ours["Mean KLD"], float(exact.kl.mean())  # type: ignore[union-attr]
        print(
            f"mean KL divergence from exact logits {exact_kl:.6f}; from 16-bit storage {stored_kl:.6f} "
            f"({stored_kl - exact_kl:+.6f})"
        )
    return wrong


def main() -> int:
    """Parse the command line and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("tools", "reference", "variant", "text"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--windows", type=int, default=20)
    parser.add_argument("--window-tokens", type=int, default=512)
    options = parser.parse_args()
    wrong = compare(
        options.tools, options.reference, options.variant, options.text, options.windows, options.window_tokens
    )
    print(f"{wrong} figures differ" if wrong else "all figures agree")
    return min(wrong, 1)


if __name__ == "__main__":
    sys.exit(main())
