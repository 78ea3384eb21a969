"""Perplexity of one GGUF file through quantcurve's engine, without recipe, reference or store: what llama-perplexity
does, by the same child process, scoring and interval that a run uses.

Usage: python tools/perplexity.py MODEL.gguf TEXT [--windows N] [--threads N]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from quantcurve.engines.base import LlamaCppConfig, Tokens
from quantcurve.engines.child import Child
from quantcurve.engines.llamacpp import LlamaCppModel
from quantcurve.estimates import Estimate
from quantcurve.machine import default_threads


def tokens_of(model: Path, text: str, log: Path) -> Tokens:
    """Token ids of a text, by a process of its own."""
    from quantcurve.engines import llamacpp_files

    with Child("tokenizer", log) as child:
        return child.call(llamacpp_files.tokenize, model, [text])[0]


def perplexity(model: Path, text: str, windows: int | None, threads: int, window_tokens: int = 512) -> Estimate:
    """Perplexity over the first windows of a text, with its interval."""
    config = LlamaCppConfig(
        threads=threads, window_tokens=window_tokens, sequences=max(1, 2048 // window_tokens), batch_tokens=2048
    )
    with tempfile.TemporaryDirectory(prefix="quantcurve-perplexity-") as folder, ThreadPoolExecutor(1) as other:
        tokens = other.submit(tokens_of, model, text, Path(folder) / "tokenizer.log")  # while the model loads
        loaded = LlamaCppModel(model, config, model.name, Path(folder) / "log")
        try:
            from quantcurve.metrics.statistics import mean_estimate
            from quantcurve.metrics.transforms import exp_estimate
            from quantcurve.recipe import Windows
            from quantcurve.texts import cut

            table = cut("text", tokens.result(), Windows(tokens=window_tokens), windows, 0).windows
            scores = loaded.score(table)
        finally:
            loaded.close()
    return exp_estimate(mean_estimate(scores.nll, [len(table)], "nats"), "perplexity")


def main() -> int:
    """Parse the command line and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("text", type=Path)
    parser.add_argument("--windows", type=int, default=None)
    parser.add_argument("--threads", type=int, default=default_threads())
    options = parser.parse_args()
    found = perplexity(options.model, options.text.read_text(encoding="utf-8"), options.windows, options.threads)
    print(f"Final estimate: PPL = {found.value:.4f} [{found.low:.4f}, {found.high:.4f}]")
    return 0


if __name__ == "__main__":
    sys.exit(main())
