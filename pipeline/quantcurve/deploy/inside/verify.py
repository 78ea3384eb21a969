"""Is this bundle what was measured, and does the runtime here give the tokens that were recorded?

    python verify.py [FOLDER] [--json FILE]

Needs Python and the target's runtime (llama-cpp-python or openvino-genai), nothing else. In this order: the SHA-256
of every file; the settings; what the runtime says of itself with the model open; the ids of the prompts; and one token
from every recorded prefix. Another token than the recorded one is let pass only where the two likeliest tokens were
closer to each other than the noise that was measured, and not much more often than that noise does it. Exit codes: 0
verified, 1 not verified, 3 the runtime or the device is not here.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

NOT_LISTED = ("manifest.json", "manifest.sha256")
SHOWN = 5
CHUNK = 2**22


@dataclass
class Check:
    """One part of the verification; `passed` is None where it was not done."""

    name: str
    passed: bool | None
    detail: str


@dataclass
class Divergence:
    """A step at which the runtime takes another token than was recorded."""

    prompt: str
    step: int
    recorded: int
    got: int | None
    margin_logits: float
    """Between the two likeliest tokens when it was recorded."""


@dataclass
class Replayed:
    """All recorded prefixes: how many gave the recorded token, and how many of the others are within the noise."""

    steps: int
    agreed: int
    within_noise: int
    first: Divergence | None
    worst: Divergence | None
    """Beyond the noise, the one with the largest margin."""


@dataclass
class Report:
    """What was found out; `missing` is set where the runtime or the device is not here."""

    checks: list[Check]
    runtime: str = ""
    replayed: Replayed | None = None
    missing: str = ""

    @property
    def verified(self) -> bool:
        """Whether every check was done and passed."""
        return not self.missing and all(check.passed for check in self.checks)


def verify(folder: Path) -> Report:
    """All checks of a bundle; the model is loaded only if its files are those of the manifest."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
        broken, differing = list(damaged(folder, manifest)), list(different(settings, manifest["settings"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        return Report([Check("files", False, f"{folder}: no whole bundle ({type(error).__name__}: {error})")])
    count = len(manifest["files"])
    report = Report(
        [
            _listed("files", broken, f"{count} files have the hashes of the manifest"),
            _listed("settings", differing, "the settings are those that were measured"),
        ]
    )
    if broken or differing:
        report.checks.append(Check("replays", None, "the model was not loaded: the bundle is not as it was written"))
        return report
    return _with_model(folder, manifest, settings, report)


def damaged(folder: Path, manifest: dict[str, Any]) -> Iterator[str]:
    """Files that are not what the manifest says, and the manifest if it is not what its own hash says."""
    told = (folder / "manifest.sha256").read_text(encoding="ascii").split()[0]
    if (found := sha256(folder / "manifest.json")) != told:
        yield f"manifest.json: SHA-256 {found[:16]}…, manifest.sha256 has {told[:16]}…"
    for file in manifest["files"]:
        path = folder / file["name"]
        if not path.is_file():
            yield f"{file['name']}: missing"
        elif (size := path.stat().st_size) != file["size_bytes"]:
            yield f"{file['name']}: {size:,} bytes, {file['size_bytes']:,} were written"
        elif (found := sha256(path)) != file["sha256"]:
            yield f"{file['name']}: SHA-256 {found[:16]}…, the manifest has {file['sha256'][:16]}…"
    known = {*NOT_LISTED, *(file["name"] for file in manifest["files"])}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        hidden = any(part.startswith((".", "__pycache__")) for part in Path(name).parts)
        if path.is_file() and name not in known and not hidden:
            yield f"{name}: not in the manifest"


def different(found: dict[str, Any], wanted: dict[str, Any]) -> Iterator[str]:
    """Settings that are not those that were measured; one that is None was not told, and is not compared."""
    for name, value in wanted.items():
        if name not in found or (value is not None and found[name] != value):
            yield f"{name} is {found.get(name, 'not there')}, measured was {value}"


def sha256(path: Path) -> str:
    """Of a file."""
    total = hashlib.sha256()
    with path.open("rb") as source:
        while part := source.read(CHUNK):
            total.update(part)
    return total.hexdigest()


def load_runtime(folder: Path) -> Any:
    """The bundle's runtime.py, which opens the model; no bytecode is left in the bundle."""
    sys.dont_write_bytecode = True
    spec = importlib.util.spec_from_file_location("bundle_runtime", folder / "runtime.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _listed(name: str, problems: Sequence[str], fine: str) -> Check:
    more = f" (and {len(problems) - SHOWN} more)" if len(problems) > SHOWN else ""
    return Check(name, not problems, "; ".join(problems[:SHOWN]) + more if problems else fine)


def _with_model(folder: Path, manifest: dict[str, Any], settings: dict[str, Any], report: Report) -> Report:
    try:
        runtime = load_runtime(folder)
        report.runtime = runtime.version()
        if reason := runtime.refusal(settings):
            report.missing = reason
            return report
        model = runtime.open_model(folder, settings)
    except ImportError as error:
        report.missing = f"the runtime is not installed here ({error}); README.md says how to install it"
        return report
    except (RuntimeError, ValueError) as error:
        report.checks.append(Check("runtime", False, f"the runtime cannot open the model: {_last_line(error)}"))
        return report
    told = model.effective()
    wanted = {name: manifest["settings"][name] for name in told}
    problems = list(different(told, wanted))
    report.checks.append(_listed("runtime", problems, _told(told)))
    recorded = json.loads((folder / "replays.json").read_text(encoding="utf-8"))["replays"]
    unlike = [found for one in recorded if (found := unlike_prompt(model, one))]
    report.checks.append(_listed("prompts", unlike, f"{len(recorded)} prompts have the recorded ids"))
    report.replayed = replay_all(model, recorded, manifest["noise"]["logits"])
    report.checks.append(_replays(report.replayed, manifest["noise"]))
    return report


def _told(told: dict[str, Any]) -> str:
    return "as the runtime tells: " + ", ".join(f"{name} {value}" for name, value in told.items())


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]


def unlike_prompt(model: Any, one: dict[str, Any]) -> str:
    """How the runtime's prompt differs from the recorded one; empty if it does not."""
    text = model.chat_text(one["messages"]) if one["messages"] else one["text"]
    if text != one["text"]:
        return f"{one['id']}: the chat template writes {_around(text, one['text'])}"
    ids = model.prompt_ids(text)
    if ids != one["prompt"]:
        place = next((i for i, (a, b) in enumerate(zip(ids, one["prompt"], strict=False)) if a != b), "the end")
        return f"{one['id']}: {len(ids)} ids, recorded were {len(one['prompt'])}; the first other one is at {place}"
    return ""


def _around(found: str, wanted: str) -> str:
    pairs = zip(found, wanted, strict=False)
    place = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(found), len(wanted)))
    return f"{found[place : place + 40]!r} at character {place}, recorded was {wanted[place : place + 40]!r}"


def replay_all(model: Any, recorded: Sequence[dict[str, Any]], noise_logits: float) -> Replayed:
    """One token from each recorded prefix: the prompt, and as many of the recorded tokens as stand before it."""
    found = Replayed(0, 0, 0, None, None)
    for one in recorded:
        got = replay(model, one["prompt"], one["tokens"])
        for step, (token, wanted) in enumerate(zip(got, one["tokens"], strict=True)):
            found.steps += 1
            if token == wanted:
                found.agreed += 1
                continue
            other = Divergence(one["id"], step, wanted, token, one["margins"][step])
            found.first = found.first or other
            if other.margin_logits <= noise_logits:
                found.within_noise += 1
            elif found.worst is None or other.margin_logits > found.worst.margin_logits:
                found.worst = other
    return found


def replay(model: Any, prompt: list[int], tokens: list[int]) -> list[int | None]:
    """The runtime's likeliest token after each prefix. As long as it takes the recorded ones it goes on by itself;
    where it does not, it is begun anew from the recorded prefix."""
    got: list[int | None] = []
    while len(got) < len(tokens):
        rest = tokens[len(got) :]
        new = model.greedy(prompt + tokens[: len(got)], len(rest)) or [None]
        for token, wanted in zip(new, rest, strict=False):
            got.append(token)
            if token != wanted:
                break
    return got


def _replays(found: Replayed, noise: dict[str, Any]) -> Check:
    other = found.steps - found.agreed
    beyond, most = other - found.within_noise, noise["most_other_tokens"]
    said = f"{found.agreed:,} of {found.steps:,} one-token replays agree ({found.agreed / max(found.steps, 1):.2%})"
    if found.within_noise:
        said += f", {found.within_noise} differ where the margin is within the noise of {noise['logits']:.3g} logits"
    if other > most:
        itself = f"{noise['other_tokens']} of {noise['steps']}"
        said += f"; {other} others are too many: the measured engine itself took {itself}, so that {most} would pass"
    if found.first:
        said += f"; first divergence: {_place(found.first)}"
    if beyond and found.worst:
        said += f"; {beyond} differ beyond the noise of {noise['logits']:.3g} logits, the worst: {_place(found.worst)}"
    return Check("replays", not beyond and other <= most and found.steps > 0, said)


def _place(one: Divergence) -> str:
    return f"{one.prompt}, token {one.step + 1}: {one.got}, recorded {one.recorded} (margin {one.margin_logits:.3g})"


def main() -> int:
    """Print what was found out, or write it as JSON; gives the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).resolve().parent)
    parser.add_argument("--json", type=Path, help="write the report to this file")
    arguments = parser.parse_args()
    report = verify(arguments.folder.resolve())
    if arguments.json:
        arguments.json.write_text(json.dumps(asdict(report) | {"verified": report.verified}), encoding="utf-8")
    for check in report.checks:
        word = {True: "ok", False: "NOT OK", None: "not done"}[check.passed]
        sys.stdout.write(f"{check.name}: {word}: {check.detail}\n")
    if report.missing:
        sys.stdout.write(f"not verified: {report.missing}\n")
        return 3
    sys.stdout.write("verified\n" if report.verified else "NOT VERIFIED\n")
    return 0 if report.verified else 1


if __name__ == "__main__":
    sys.exit(main())
