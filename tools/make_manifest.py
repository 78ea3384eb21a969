"""Writes calib/manifest.json from the files under calib/strata and calib/encoder, and checks that what is calibrated on
is apart from what is measured on, and that no calibration sentence is nearly another.

Usage: python tools/make_manifest.py [--check]
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from quantcurve.near_duplicates import HeldOut, near_duplicates, runs
from quantcurve.texts import PARTS, EncoderFile, Manifest, ManifestFile, render

CALIB = Path(__file__).parents[1] / "calib"
ENCODER_TEXTS = ("sentence1", "sentence2", "passage", "query", "text")
"""Fields of encoder sets that hold texts."""
SENTENCE_RUNS = (3, 10)
"""Words and characters of the runs by which two sentences are compared: they are too short for runs of five words."""


def main() -> int:
    """Write or check the manifest; returns the exit code."""
    files = []
    texts: dict[str, list[str]] = {part: [] for part in PARTS}
    for folder in sorted(p for p in (CALIB / "strata").iterdir() if p.is_dir()):
        for part in PARTS:
            raw, items = _read(folder / f"{part}.jsonl")
            texts[part] += [render([item]) for item in items]
            files.append(
                ManifestFile(
                    path=f"strata/{folder.name}/{part}.jsonl",
                    stratum=folder.name,
                    part=part,
                    items=len(items),
                    text_bytes=len(render(items).encode()),
                    sha256=hashlib.sha256(raw).hexdigest(),
                )
            )
    encoder = {path: _read(path) for path in sorted((CALIB / "encoder").glob("*.jsonl"))}
    if problem := _overlap(texts["calibration"], texts["held_out"]) or _encoder_overlap(encoder):
        print(problem, file=sys.stderr)
        return 1
    sets = tuple(_encoder_file(path, *found) for path, found in encoder.items())
    text = Manifest(licence="Apache-2.0", files=tuple(files), encoder=sets).model_dump_json(indent=1) + "\n"
    target = CALIB / "manifest.json"
    if "--check" in sys.argv[1:]:
        return 0 if target.read_text() == text else 1
    target.write_text(text)
    return 0


def _read(path: Path) -> tuple[bytes, list[dict[str, Any]]]:
    raw = path.read_bytes()
    return raw, [json.loads(line) for line in raw.decode().splitlines()]


def _encoder_file(path: Path, raw: bytes, items: list[dict[str, Any]]) -> EncoderFile:
    return EncoderFile(
        path=f"encoder/{path.name}",
        items=len(items),
        text_bytes=sum(len(text.encode()) for text in _texts(items)),
        sha256=hashlib.sha256(raw).hexdigest(),
    )


def _texts(items: list[dict[str, Any]]) -> list[str]:
    return [item[field] for item in items for field in ENCODER_TEXTS if field in item]


def _overlap(calibration: list[str], held_out: list[str]) -> str:
    apart = HeldOut(held_out)
    shared = [text[:80] for text in calibration if apart.overlaps(text)]
    return f"calibration and held-out texts overlap: {shared[:5]}" if shared else ""


def _encoder_overlap(encoder: dict[Path, tuple[bytes, list[dict[str, Any]]]]) -> str:
    sentences = [t for path, (_, items) in encoder.items() if path.stem == "calibration" for t in _texts(items)]
    judged = [t for path, (_, items) in encoder.items() if path.stem != "calibration" for t in _texts(items)]
    alike = near_duplicates([runs(text, *SENTENCE_RUNS) for text in [*dict.fromkeys(judged), *sentences]], 0.5)
    again = [text for text, found in zip(sentences, alike[-len(sentences) :], strict=True) if found]
    return f"encoder sentences that are nearly others: {again[:5]}" if again else _overlap(sentences, judged)


if __name__ == "__main__":
    sys.exit(main())
