"""Energy of the processor's packages, as RAPL counts it (Linux: Documentation/power/powercap/powercap.rst).

A counter is of a whole package: cores, caches, memory controller, whatever runs there. AMD's processors have the same
interface. Since Linux 5.10 only root may read it, unless its permissions say otherwise (CVE-2020-8694).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from quantcurve.estimates import Missing
from quantcurve.records import SpeedSamples

POWERCAP = Path("/sys/class/powercap")
ALLOW = f"sudo chmod a+r {POWERCAP}/intel-rapl:*/energy_uj"
"""Lasts until the next start of the machine."""
MICRO = 1e-6


class _Package(NamedTuple):
    counter: Path
    range_uj: int
    """The counter begins at 0 again behind it."""


class EnergyMeter:
    """Counters of all packages of this machine."""

    def __init__(self, folder: Path = POWERCAP) -> None:
        """Find the counters under `folder`; where there are none, or none that can be read, `unavailable` says why."""
        self.unavailable = ""
        """Empty where energy can be read."""
        self._packages: list[_Package] = []
        try:
            zones = [z for z in sorted(folder.glob("intel-rapl:*")) if _name(z).startswith("package")]
            self._packages = [_Package(z / "energy_uj", int((z / "max_energy_range_uj").read_text())) for z in zones]
            self.read()
        except PermissionError as error:
            self.unavailable = f"{error.filename} may not be read; {ALLOW}"
        except (OSError, ValueError) as error:
            self.unavailable = f"energy counters under {folder} cannot be read: {error}"
        if not self._packages and not self.unavailable:
            self.unavailable = f"this machine has no energy counters (no RAPL packages under {folder})"

    def read(self) -> tuple[int, ...]:
        """Every package's counter, microjoules.

        Raises:
            OSError: a counter cannot be read.
        """
        return tuple(int(package.counter.read_text()) for package in self._packages)

    def joules(self, before: Sequence[int], after: Sequence[int]) -> float:
        """Between two readings, of all packages; each counter may have passed its end once."""
        pairs = zip(before, after, self._packages, strict=True)
        return MICRO * sum(b - a if b >= a else b - a + package.range_uj for a, b, package in pairs)


def joules_per_token(samples: SpeedSamples, tokens: int) -> list[float] | Missing:
    """Of each repetition, of all packages, whatever else ran there.

    Missing too where a counter stood still: it moves about once a millisecond, and an energy of 0 is none.

    Args:
        samples: repetitions.
        tokens: that each decoded.
    """
    if samples.no_energy:
        return Missing(missing=samples.no_energy)
    if any(joules <= 0 for joules in samples.decode_energy_j):
        return Missing(
            missing="the energy counters did not move while a repetition decoded; raise benchmark.decode_tokens"
        )
    return [joules / tokens for joules in samples.decode_energy_j]


def _name(zone: Path) -> str:
    return (zone / "name").read_text().strip()
