"""The commands of both sides of bench_screen.py, over the same model files."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

import bench_run as run
from quantcurve.results import RunResult
from race import Measure

WINDOW_TOKENS = 512


class Files(NamedTuple):
    """The model files of the store that both sides run, and what a run said about them."""

    reference: Path
    variants: dict[str, Path]
    vocabulary: int


class Bench:
    """One model on one text: the commands of both sides."""

    def __init__(self, options: argparse.Namespace, work: Path) -> None:
        self.options = options
        self.work = work
        self.cache = work / "cache"
        self.base = work / "base"
        self.model = options.model if ":" in options.model else str(Path(options.model).resolve())
        self.measured: list[Measure] = []
        self.files = self._warm_run()

    def quantcurve(self, recipe: str, name: str, force: str | None = "screen") -> run.Cost:
        """One `quantcurve run`; its record is results(name)."""
        path = self.work / f"{name}.yaml"
        path.write_text(recipe)
        command = [
            sys.executable,
            "-m",
            "quantcurve.cli",
            "run",
            path,
            "--cache",
            self.cache,
            "--out",
            self.work / name,
        ]
        command += ["--threads", str(self.options.threads), "-q", "--json", *(["--force", force] if force else [])]
        return run.timed(command, self.work / f"{name}.log")

    def results(self, name: str) -> RunResult:
        """Record of the last run of that name."""
        return RunResult.model_validate_json((self.work / name / "results.json").read_bytes())

    def llama(self, tool: str, *arguments: str | Path) -> run.Cost:
        """One of llama.cpp's tools with the race's threads and batches."""
        common = ("-t", str(self.options.threads), "-b", "2048", "-ub", "512")
        return run.timed([self.options.tools / tool, *arguments, *common], self.work / "llama.log")

    def perplexity_arguments(self, model: Path, windows: int | None) -> list[str | Path]:
        """Arguments of llama-perplexity."""
        chunks = str(windows or -1)
        return ["-m", model, "-f", self.options.text, "-c", str(WINDOW_TOKENS), "--chunks", chunks]

    def base_and_all(self, windows: int | None) -> run.Cost:
        """llama.cpp's way to the KL divergences: the base file, then every variant against it."""
        keep = ["--kl-divergence-base", self.base]
        cost = self.llama("llama-perplexity", *self.perplexity_arguments(self.files.reference, windows), *keep)
        for path in self.files.variants.values():
            arguments = [*self.perplexity_arguments(path, windows), "--kl-divergence", *keep]
            cost += self.llama("llama-perplexity", *arguments)
        return cost

    def recipe(self, windows: int | None, *, exhaustive: bool) -> str:
        """All variants on so many windows."""
        names = self.options.variants
        return run.recipe_text(self.model, self.options.text, windows, names, exhaustive=exhaustive)

    def add(self, *measures: Measure) -> None:
        """Keep measures, and say them at once."""
        self.measured += measures
        for measure in measures:
            ours, theirs = np.median(measure.ours), np.median(measure.theirs)
            print(f"{measure.section}: {measure.name}: {ours:.4g} / {theirs:.4g} {measure.unit}", file=sys.stderr)

    def _warm_run(self) -> Files:
        """Reference, variants and windows into the store; where they are."""
        self.quantcurve(self.recipe(self.options.windows, exhaustive=True), "warm", force=None)
        result = self.results("warm")
        if failed := [f"{v.name}: {v.failure}" for v in result.variants if v.file is None]:
            raise SystemExit(f"variants that cannot be made; leave them out of --variants:\n{failed}")
        made = {}
        for path in self.cache.glob("artifacts/quantize/*/result.json"):
            made[json.loads(path.read_text())["file"]["content_hash"]] = path.with_name("model.gguf")
        written = list(self.cache.glob("artifacts/resolve/*/model.gguf"))
        tokenized = next(self.cache.glob("artifacts/tokenize/*/result.json"))
        return Files(
            reference=written[0] if written else Path(self.model),
            variants={v.name: made[v.file.content_hash] for v in result.variants if v.file},
            vocabulary=json.loads(tokenized.read_text())["vocabulary"],
        )
