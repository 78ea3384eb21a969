"""Records what llama-imatrix writes, for test_imatrix.py where it is not built (tools/build_llama_tools.sh).

Usage: python tests/record_imatrix.py FOLDER_OF_LLAMA_IMATRIX

    data/imatrix/text.txt     the text
    data/imatrix/moe.gguf     matrix of the tiny model with experts (`recorded_model`), 8 windows of 64 tokens
    data/imatrix/moe.dat      the same in the legacy format
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from quantcurve.recipe_text import Text
from quantcurve.texts import load_text
from tiny_moe import write_tiny_moe

DATA = Path(__file__).parent / "data" / "imatrix"
WINDOWS, WINDOW_TOKENS = 8, 64


def recorded_model(path: Path) -> Path:
    """The model that the matrices are of: F32, so that they hardly depend on the processor."""
    write_tiny_moe(path, n_layer=1, precision="F32", attention=False, never_chosen=(2,))
    return path


def main() -> None:
    """Record everything."""
    DATA.mkdir(parents=True, exist_ok=True)
    content = load_text(Text(name="parity", source="embedded:chat/calibration"), Path()).content
    (DATA / "text.txt").write_text(content[:4000].strip(), encoding="utf-8")
    with tempfile.TemporaryDirectory() as name:
        model = recorded_model(Path(name) / "moe.gguf")
        command = [str(Path(sys.argv[1]).resolve() / "llama-imatrix"), "-m", str(model), "-f", "text.txt", "--no-ppl"]
        command += ["-c", str(WINDOW_TOKENS), "--chunks", str(WINDOWS)]
        for format_ in ("gguf", "dat"):
            subprocess.run([*command, "-o", f"moe.{format_}", "--output-format", format_], check=True, cwd=DATA)


if __name__ == "__main__":
    main()
