"""What `pick` gives."""

from __future__ import annotations

from quantcurve.records import Frozen


class Rejection(Frozen):
    """A variant that was not taken."""

    name: str
    why: str


class Choice(Frozen):
    """The variant to ship, and why not the others."""

    name: str | None
    """None if no variant is inside every limit."""
    why: str
    rejected: tuple[Rejection, ...]
    """Every other variant, in the order of the run."""
    nearest_miss: str | None = None
    """If none was taken: the variant whose worst excess over a limit, relative to the limit, is least."""
    provenance: str
    """What the reference is, that all were compared with."""
