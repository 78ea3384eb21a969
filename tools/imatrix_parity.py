"""Compares quantcurve's importance matrix with llama-imatrix's on the same model, text and windows.

Usage: python tools/imatrix_parity.py --tools FOLDER --model F16.gguf --text FILE [--windows 8] [--type IQ3_XXS]

Prints how far sums, counts and metadata differ, then quantises with both files (llama-quantize --imatrix) and says
how many written tensors differ; beside that, how many change without a matrix. Exit code 1 if names, counts or
metadata differ, a sum differs by more than 1e-5 of itself, or a tensor differs though the sums are the same.

Both sides add in float32 and in the same order: from the same build of llama.cpp the sums are the same to the last
bit. Another build may multiply matrices in another order, which the 1e-5 allows for.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from quantcurve.engines import llamacpp_files, llamacpp_imatrix
from quantcurve.engines.base import LlamaCppConfig
from quantcurve.engines.child import Child
from quantcurve.engines.imatrix_file import ImportanceMatrix, load_imatrix
from quantcurve.machine import default_threads

TOLERANCE = 1e-5
BATCH_TOKENS = 2048
"""llama-imatrix's default, which decides how many windows it decodes together."""


def llama_tool(command: Path, *arguments: str) -> None:
    """Run a tool of llama.cpp."""
    full = [str(command), *arguments]
    done = subprocess.run(full, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise ChildProcessError(f"{' '.join(full)} failed:\n{(done.stderr or done.stdout)[-2000:]}")


def collect_ours(
    model: Path, text: Path, windows: int, window_tokens: int, process_output: bool, log: Path
) -> ImportanceMatrix:
    """The matrix of a text's first windows, by quantcurve."""
    config = LlamaCppConfig(
        threads=default_threads(), window_tokens=window_tokens, sequences=max(1, BATCH_TOKENS // window_tokens)
    )
    with Child("imatrix", log) as child:
        # llama.cpp drops one newline from the end of a file (common/arg.cpp).
        content = text.read_bytes().decode().removesuffix("\n")
        ids = child.call(llamacpp_files.tokenize, model, [content])[0]
        count = min(windows, len(ids) // window_tokens)
        table = ids[: count * window_tokens].reshape(count, window_tokens)
        found = child.call(llamacpp_imatrix.collect, model, table, config, process_output)
    return replace(found, datasets=(str(text),))


def compare_matrices(theirs: ImportanceMatrix, ours: ImportanceMatrix) -> int:
    """Print how two matrices differ; returns the number of disagreements."""
    wrong = 0
    same_names = list(theirs.sums) == list(ours.sums)
    wrong += not same_names
    print(f"tensors                        {len(theirs.sums)} and {len(ours.sums)}, names {say(same_names)}")
    shared = [n for n in theirs.sums if n in ours.sums and theirs.sums[n].shape == ours.sums[n].shape]
    wrong += len(shared) != len(theirs.sums)
    print(f"shapes                         {say(len(shared) == len(theirs.sums))}")
    largest = max((relative_difference(theirs.sums[n], ours.sums[n]) for n in shared), default=np.inf)
    wrong += not largest <= TOLERANCE
    equal = sum(np.array_equal(theirs.sums[n], ours.sums[n]) for n in shared)
    print(f"sums                           largest relative difference {largest:.3g}; {equal} tensors equal to the bit")
    counts = all(np.array_equal(theirs.counts[n], ours.counts[n]) for n in shared)
    wrong += not counts
    print(f"counts                         {say(counts)}")
    for field in ("datasets", "chunk_count", "chunk_size"):
        mine, other = getattr(ours, field), getattr(theirs, field)
        wrong += mine != other
        print(f"{field:30} {say(mine == other)} ({other}{'' if mine == other else f', ours {mine}'})")
    return wrong


def say(same: bool) -> str:
    """How a comparison ended."""
    return "equal" if same else "DIFFER"


def relative_difference(theirs: np.ndarray, ours: np.ndarray) -> float:
    """Largest difference of an element in terms of itself."""
    scale = np.maximum(np.abs(theirs), np.finfo(np.float32).tiny).astype(np.float64)
    return float((np.abs(theirs.astype(np.float64) - ours) / scale).max())


def differing_tensors(first: Path, second: Path, log: Path) -> tuple[int, int]:
    """How many tensors of two models differ in type or bytes, and how many there are."""
    with Child("header", log) as child:
        headers = [child.call(llamacpp_files.header, p) for p in (first, second)]
    contents = []
    for path, header in zip((first, second), headers, strict=True):
        raw = np.memmap(path, np.uint8, "r")
        contents.append({t.name: (t.type, raw[t.offset : t.offset + t.size_bytes].tobytes()) for t in header.tensors})
    names = set(contents[0]) | set(contents[1])
    return sum(contents[0].get(n) != contents[1].get(n) for n in names), len(names)


def compare_quantised(tools: Path, model: Path, matrices: dict[str, Path], file_type: str, folder: Path) -> int:
    """Quantise with each matrix and without; returns how many tensors differ between the two matrices."""
    written = {name: folder / f"{name}.{file_type}.gguf" for name in (*matrices, "none")}
    rest = (file_type, str(default_threads()))
    for name, matrix in matrices.items():
        llama_tool(tools / "llama-quantize", "--imatrix", str(matrix), str(model), str(written[name]), *rest)
    differ, total = differing_tensors(written["theirs"], written["ours"], folder / "log")
    print(f"{file_type + ' by both':30} {differ} of {total} tensors differ ({differ / total:.1%})")
    try:
        llama_tool(tools / "llama-quantize", str(model), str(written["none"]), *rest)
    except ChildProcessError:
        print(f"{file_type + ' without a matrix':30} refused by llama-quantize")
        return differ
    without, _ = differing_tensors(written["theirs"], written["none"], folder / "log")
    print(f"{file_type + ' without a matrix':30} {without} of {total} tensors differ ({without / total:.1%})")
    return differ


def compare(
    tools: Path,
    model: Path,
    text: Path,
    windows: int,
    window_tokens: int = 512,
    file_type: str = "IQ3_XXS",
    process_output: bool = False,
) -> int:
    """Print the comparison; returns the number of disagreements."""
    with tempfile.TemporaryDirectory(prefix="quantcurve-imatrix-") as name:
        folder = Path(name)
        files = {"theirs": folder / "theirs.gguf", "ours": folder / "ours.gguf"}
        options = ("--process-output",) if process_output else ()
        started = time.monotonic()
        llama_tool(
            tools / "llama-imatrix",
            *("-m", str(model), "-f", str(text), "-o", str(files["theirs"]), "-c", str(window_tokens)),
            *("--chunks", str(windows), "-t", str(default_threads()), "-b", str(BATCH_TOKENS), "--no-ppl", *options),
        )
        spent = time.monotonic() - started
        started = time.monotonic()
        ours = collect_ours(model, text, windows, window_tokens, process_output, folder / "log")
        ours.save(files["ours"])
        print(f"time with loading and tokens   llama-imatrix {spent:.1f} s, ours {time.monotonic() - started:.1f} s")
        theirs = load_imatrix(files["theirs"])
        wrong = compare_matrices(theirs, load_imatrix(files["ours"]))
        same = files["theirs"].read_bytes() == files["ours"].read_bytes()
        print(f"files                          {'byte-identical' if same else 'not the same bytes'}")
        differ = compare_quantised(tools, model, files, file_type, folder)
        exact = all(np.array_equal(theirs.sums[n], s) for n, s in ours.sums.items() if n in theirs.sums)
        return wrong + (differ if exact else 0)


def main() -> int:
    """Parse the command line and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("tools", "model", "text"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--windows", type=int, default=8)
    parser.add_argument("--window-tokens", type=int, default=512)
    parser.add_argument("--type", default="IQ3_XXS")
    parser.add_argument("--process-output", action="store_true")
    options = parser.parse_args()
    wrong = compare(
        options.tools,
        options.model,
        options.text,
        options.windows,
        options.window_tokens,
        options.type,
        options.process_output,
    )
    print(f"{wrong} disagreements" if wrong else "no disagreement")
    return min(wrong, 1)


if __name__ == "__main__":
    sys.exit(main())
