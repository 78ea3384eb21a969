"""Runs of tiny models that tests deploy from, and programs that must not know quantcurve."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from quantcurve.deploy import deploying
from quantcurve.deploy.deploying import Deployed, Wish
from quantcurve.recipe import load
from quantcurve.report import folder as run_folder
from quantcurve.results import RunResult
from quantcurve.run import Where, run
from tiny import write_tiny_llama

CHATML = (
    "{% for message in messages %}{{ '<|start|>' + message['role'] + '\n' + message['content'] + '<|end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|start|>assistant\n' }}{% endif %}"
)
RECIPE = """\
name: tiny
model: {source: tiny.gguf}
texts: [{name: chat, source: "embedded:chat"}]
windows: {tokens: 64, limit: 4}
screen: {discard_above_percent: 500, suspect_above_percent: 400}
variants:
  gguf: [Q8_0, Q4_0, {type: Q8_0, kv: q8_0}]
benchmark: {prompt_tokens: 16, decode_tokens: 4, repetitions: 3}
kv_cache: {long_context_tokens: 64}
"""
GUARD = """\
import runpy, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "quantcurve":
            raise ImportError("this environment has no quantcurve")

sys.meta_path.insert(0, Refuse())
sys.argv = sys.argv[1:]
sys.path.insert(0, __import__("os").path.dirname(sys.argv[0]))
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""Runs a script in an interpreter in which quantcurve cannot be imported."""


class Ran(NamedTuple):
    """A finished run of a tiny model."""

    place: Path
    result: RunResult
    cache: Path

    def wish(self, variant: str, folder: Path, **more) -> Wish:
        return Wish(self.result, self.place, variant, folder, cache=self.cache, **more)

    def deploy(self, variant: str, folder: Path, **more) -> Deployed:
        return deploying.deploy(self.wish(variant, folder, **more))


def run_tiny(folder: Path, recipe: str = RECIPE, **sizes) -> Ran:
    """Write a tiny model with a chat template, and run a recipe on it."""
    write_tiny_llama(folder / "tiny.gguf", template=CHATML, **sizes)
    (folder / "recipe.yaml").write_text(recipe)
    place = folder / "runs" / "tiny"
    result = run(load(folder / "recipe.yaml"), Where(threads=2, cache=folder / "cache"))
    run_folder.save(result, place)
    shutil.copyfile(folder / "tiny.gguf", place / "tiny.gguf")
    return Ran(place, result, folder / "cache")


def without_quantcurve(*command: str | Path, **more) -> subprocess.CompletedProcess[str]:
    """Run a script of a bundle where quantcurve cannot be imported."""
    return subprocess.run(guarded(*command), capture_output=True, text=True, check=False, timeout=240, **more)


def guarded(*command: str | Path) -> list[str]:
    return [sys.executable, "-I", "-c", GUARD, *map(str, command)]


def changed(folder: Path, name: str, place: int = -1) -> None:
    """Change one byte of a file."""
    path = folder / name
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def names(folder: Path) -> set[str]:
    """Of everything in a folder, hidden things too."""
    return {path.name for path in folder.iterdir()}
