"""What is measured of an encoder."""

from __future__ import annotations

from pydantic import Field

from quantcurve.records import Frozen


class EncoderWorkload(Frozen):
    """What one round of the benchmark does."""

    tokens: int = Field(ge=2)
    batch: int = Field(ge=1)
    passes: int = Field(ge=1)
    seed: int = 0
