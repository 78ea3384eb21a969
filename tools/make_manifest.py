"""Writes calib/manifest.json from the files under calib/strata, and checks that no text is in both parts.

Usage: python tools/make_manifest.py [--check]
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from pathlib import Path

from quantcurve.texts import PARTS, Manifest, ManifestFile, render

CALIB = Path(__file__).parents[1] / "calib"
SHARED_WORDS = 8
"""So many words in a row may not stand in both parts."""


def word_runs(text: str) -> set[str]:
    """All runs of SHARED_WORDS words, and of 20 characters in scripts without spaces."""
    words = re.findall(r"\w+", text.casefold())
    runs = {" ".join(words[i : i + SHARED_WORDS]) for i in range(len(words) - SHARED_WORDS + 1)}
    return runs | {w[i : i + 20] for w in words if len(w) >= 20 and not w.isascii() for i in range(len(w) - 19)}


def main() -> int:
    """Write or check the manifest; returns the exit code."""
    files, texts = [], dict.fromkeys(PARTS, "")
    for folder in sorted(p for p in (CALIB / "strata").iterdir() if p.is_dir()):
        for part in PARTS:
            path = folder / f"{part}.jsonl"
            raw = path.read_bytes()
            items = [json.loads(line) for line in raw.decode().splitlines()]
            text = render(items)
            texts[part] += text
            files.append(
                ManifestFile(
                    path=path.relative_to(CALIB).as_posix(),
                    stratum=folder.name,
                    part=part,
                    items=len(items),
                    text_bytes=len(text.encode()),
                    sha256=hashlib.sha256(raw).hexdigest(),
                )
            )
    if shared := word_runs(texts["held_out"]) & word_runs(texts["calibration"]):
        print(f"calibration and held-out texts overlap: {sorted(shared)[:5]}", file=sys.stderr)
        return 1
    text = Manifest(licence="Apache-2.0", files=tuple(files)).model_dump_json(indent=1) + "\n"
    target = CALIB / "manifest.json"
    if "--check" in sys.argv[1:]:
        return 0 if target.read_text() == text else 1
    target.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
