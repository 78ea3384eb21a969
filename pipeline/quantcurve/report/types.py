"""The list of GGUF file types."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from quantcurve.engines.gguf_types import FILE_TYPES

if TYPE_CHECKING:
    from rich.console import RenderableType


def _bits() -> dict[str, float]:
    """Asked of the installed build, in a process of its own."""
    import tempfile
    from pathlib import Path

    from quantcurve.engines import llamacpp_files
    from quantcurve.engines.child import Child

    with (
        tempfile.TemporaryDirectory(prefix="quantcurve-types-") as folder,
        Child("types", Path(folder) / "log") as child,
    ):
        return child.call(llamacpp_files.nominal_bits)


def types_json() -> str:
    """Names, base tensor types, nominal bits per weight and whether an importance matrix is needed."""
    bits = _bits()
    rows = [
        {
            "name": t.name,
            "base_type": t.base,
            "nominal_bits_per_weight": bits[t.base],
            "needs_importance_matrix": t.needs_imatrix,
        }
        for t in FILE_TYPES
    ]
    return json.dumps(rows, indent=1)


def types_table() -> RenderableType:
    """The same as a table."""
    from rich.console import Group
    from rich.table import Table

    bits = _bits()
    table = Table()
    table.add_column("file type")
    table.add_column("base tensor type")
    table.add_column("bits per weight", justify="right")
    table.add_column("importance matrix")
    for t in FILE_TYPES:
        table.add_row(t.name, t.base, f"{bits[t.base]:.4g}", "needed" if t.needs_imatrix else "")
    return Group(
        table,
        "Bits per weight are the base type's. A file mixes types, and a tensor whose columns do not fill a type's "
        "blocks falls back to another: what a written file really has is in the trade-off table.",
    )
