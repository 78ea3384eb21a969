"""Runs a bundle's verification in a fresh process, and reads its report.

What runs is quantcurve's own copy of verify.py, whatever lies in the bundle.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from quantcurve.deploy import bundle
from quantcurve.errors import BackendError
from quantcurve.records import Frozen

SCRIPT = Path(__file__).parent / "inside" / "verify.py"
LIMIT_S = 3600.0
LAST_LINES = 5


class Check(Frozen):
    """One part of a verification."""

    name: Literal["files", "settings", "runtime", "prompts", "replays"]
    passed: bool | None
    """None where it was not done."""
    detail: str


class Divergence(Frozen):
    """A step at which the runtime takes another token than was recorded."""

    prompt: str
    step: int
    recorded: int
    got: int | None
    margin_logits: float


class Replayed(Frozen):
    """All recorded prefixes."""

    steps: int
    agreed: int
    within_noise: int
    first: Divergence | None
    worst: Divergence | None


class Verification(Frozen):
    """What was found out about a bundle."""

    checks: tuple[Check, ...]
    runtime: str
    """With its version; empty where it was not loaded."""
    replayed: Replayed | None
    missing: str
    """The runtime or device that is not here; empty if nothing is missing."""
    verified: bool

    def lines(self) -> list[str]:
        """For a reader."""
        words = {True: "ok", False: "NOT OK", None: "not done"}
        found = [f"{check.name}: {words[check.passed]}: {check.detail}" for check in self.checks]
        if self.missing:
            return [*found, f"not verified: {self.missing}"]
        return [*found, f"verified with {self.runtime}" if self.verified else "NOT VERIFIED"]


def verify(folder: Path) -> Verification:
    """Verify a bundle with the target's runtime of this interpreter.

    Raises:
        RecipeError: there is no bundle.
        BackendError: the process died.
    """
    bundle.read_manifest(folder)
    with tempfile.TemporaryDirectory(prefix="quantcurve-verify-") as place:
        report = Path(place) / "report.json"
        command = [sys.executable, "-I", str(SCRIPT), str(folder.resolve()), "--json", str(report)]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, errors="replace", check=False, timeout=LIMIT_S
            )
        except subprocess.TimeoutExpired as error:
            raise BackendError(f"{folder}: the verification took more than {LIMIT_S:.0f} s; it was ended") from error
        try:
            return Verification.model_validate_json(report.read_bytes())
        except (OSError, ValidationError) as error:
            tail = "\n    ".join((done.stderr or done.stdout).strip().splitlines()[-LAST_LINES:])
            raise BackendError(
                f"{folder}: the verification died with exit code {done.returncode}; its last words:\n    {tail}"
            ) from error
