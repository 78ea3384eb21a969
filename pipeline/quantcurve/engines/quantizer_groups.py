"""Groups of quantizers that are restored together, as NNCF's accuracy control does it; found by openvino_groups.py."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from quantcurve.errors import BackendError
from quantcurve.records import Frozen

FILE = "groups.json"


class Group(Frozen):
    """Quantizers that are removed together."""

    number: int
    """In NNCF's order."""
    quantizers: tuple[str, ...]
    """Names of FakeQuantize operations."""
    operations: tuple[str, ...]
    """Names of those that run in float without them, in the graph's order."""
    layers: tuple[str, ...]
    """What these are, for people: model.layers.0.mlp.up_proj, or model.layers.0.self_attn:Multiply without weights."""
    multiply_accumulates: int
    """For one token, of its products with stored weights."""


class Groups(Frozen):
    """All of a model."""

    groups: tuple[Group, ...]
    multiply_accumulates_total: int
    """For one token, of all products with stored weights, in a group or not."""

    def share(self, numbers: Sequence[int]) -> float:
        """Of the compute with stored weights that is in these groups, 0 to 1."""
        own = sum(self.groups[number].multiply_accumulates for number in numbers)
        return own / self.multiply_accumulates_total if self.multiply_accumulates_total else 0.0


def save(groups: Groups, folder: Path) -> None:
    """Write them beside the graph that they are of."""
    (folder / FILE).write_text(groups.model_dump_json(indent=1))


def load(folder: Path) -> Groups:
    """Read what `save` wrote.

    Raises:
        BackendError: it is not there.
    """
    try:
        return Groups.model_validate_json((folder / FILE).read_text())
    except FileNotFoundError as error:
        raise BackendError(f"{folder / FILE}: no such file; quantise the model again") from error
