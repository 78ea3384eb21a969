"""Writes calib/manifest.json from the files under calib/strata, and checks that no text is in both parts.

Usage: python tools/make_manifest.py [--check]
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

from quantcurve.near_duplicates import HeldOut
from quantcurve.texts import PARTS, Manifest, ManifestFile, render

CALIB = Path(__file__).parents[1] / "calib"


def main() -> int:
    """Write or check the manifest; returns the exit code."""
    files = []
    texts: dict[str, list[str]] = {part: [] for part in PARTS}
    for folder in sorted(p for p in (CALIB / "strata").iterdir() if p.is_dir()):
        for part in PARTS:
            path = folder / f"{part}.jsonl"
            raw = path.read_bytes()
            items = [json.loads(line) for line in raw.decode().splitlines()]
            text = render(items)
            texts[part] += [render([item]) for item in items]
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
    apart = HeldOut(texts["held_out"])
    if shared := [text for text in texts["calibration"] if apart.overlaps(text)]:
        print(f"calibration and held-out texts overlap: {[text[:80] for text in shared[:5]]}", file=sys.stderr)
        return 1
    text = Manifest(licence="Apache-2.0", files=tuple(files)).model_dump_json(indent=1) + "\n"
    target = CALIB / "manifest.json"
    if "--check" in sys.argv[1:]:
        return 0 if target.read_text() == text else 1
    target.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
