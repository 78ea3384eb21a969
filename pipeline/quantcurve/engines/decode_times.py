"""Decoded tokens one by one: the whole time, each step's, and the energy; runs in a child process."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from typing import NamedTuple

from quantcurve.energy import EnergyMeter
from quantcurve.records import SpeedSamples


class DecodeTimes(NamedTuple):
    """Of one repetition."""

    whole_s: float
    steps_s: tuple[float, ...]
    energy_j: tuple[float, ...]
    """One value, or none."""
    no_energy: str
    """Why there is none; empty where there is."""

    def samples(self, prefill_s: float, first_token_s: float) -> SpeedSamples:
        """The whole repetition, with what came before."""
        return SpeedSamples(
            prefill_s=(prefill_s,),
            decode_s=(self.whole_s,),
            first_token_s=(first_token_s,),
            load_s=(),
            decode_steps_s=(self.steps_s,),
            decode_energy_j=self.energy_j,
            no_energy=self.no_energy,
        )


@cache
def meter() -> EnergyMeter:
    """Of this machine."""
    return EnergyMeter()


def timed(step: Callable[[int], object], count: int) -> DecodeTimes:
    """Decode `count` tokens; `step` decodes one, of a place from 0 on, and waits for it.

    Counters that cannot be read any more cost the energy, not the times.
    """
    before, why = _read()
    marks = [time.perf_counter()]
    for place in range(count):
        step(place)
        marks.append(time.perf_counter())
    after, lost = _read()
    energy = (meter().joules(before, after),) if before and after else ()
    steps = tuple(b - a for a, b in pairwise(marks))
    return DecodeTimes(marks[-1] - marks[0], steps, energy, why or lost)


def _read() -> tuple[tuple[int, ...], str]:
    """Every counter, or none and why."""
    if why := meter().unavailable:
        return (), why
    try:
        return meter().read(), ""
    except (OSError, ValueError) as error:
        return (), f"energy counters could not be read while decoding: {error}"
