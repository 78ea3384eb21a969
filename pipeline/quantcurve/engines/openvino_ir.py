"""OpenVINO IR files, read without OpenVINO: an XML graph beside the bytes of its constants."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np

from quantcurve.errors import ModelFileError
from quantcurve.records import ModelFile, TensorTypeShare
from quantcurve.store import HashFile

MODEL = "openvino_model.xml"
"""The graph; its constants are in the file of the same name with the ending .bin."""
SMALL_WEIGHTS = 4096
"""Constants with fewer entries are shapes, masks and tables, not weights."""
AUXILIARY = ("/scale", "/zero_point", "/zero_points", "/scales")
"""Endings of the names that NNCF gives to what belongs to a compressed constant."""


class Constant(NamedTuple):
    """One constant of an IR."""

    name: str
    type: str
    """OpenVINO's element type, as u4, i8, f16."""
    shape: tuple[int, ...]
    offset: int
    size_bytes: int

    @property
    def entries(self) -> int:
        """Number of entries."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def is_weights(self) -> bool:
        """Whether it holds weights of the model, and not scales, zero points or small tables."""
        return (
            self.entries >= SMALL_WEIGHTS and not self.name.endswith(AUXILIARY) and self.type not in {"i64", "boolean"}
        )


def graph(folder: Path) -> ElementTree.Element:
    """The XML of the IR in a folder.

    Raises:
        ModelFileError: it is missing or is no IR.
    """
    path = folder / MODEL
    try:
        return ElementTree.parse(path).getroot()
    except FileNotFoundError as error:
        raise ModelFileError(f"{path}: no such file; name a folder that optimum-intel exported") from error
    except ElementTree.ParseError as error:
        raise ModelFileError(f"{path}: not an OpenVINO IR ({error}); export the model again") from error


def constants(folder: Path) -> list[Constant]:
    """Constants of the IR in a folder.

    Raises:
        ModelFileError: the graph is missing or is no IR.
    """
    nodes = graph(folder).iterfind("./layers/layer[@type='Const']")
    return [found for node in nodes if (found := constant_of(node))]


def constant_of(node: ElementTree.Element) -> Constant | None:
    """The constant of a node of type Const, if its bytes are in the .bin."""
    data = node.find("data")
    if data is None or "offset" not in data.attrib:
        return None
    shape = tuple(int(d) for d in data.get("shape", "").split(",") if d.strip())
    name, kind = node.get("name", ""), data.get("element_type", "")
    return Constant(name, kind, shape, int(data.get("offset", 0)), int(data.get("size", 0)))


def check_weights(folder: Path) -> None:
    """Refuse an IR whose .bin is missing or cut short: OpenVINO may read beyond its end.

    Raises:
        ModelFileError: it is; the message has both sizes.
    """
    path = (folder / MODEL).with_suffix(".bin")
    needed = max((c.offset + c.size_bytes for c in constants(folder)), default=0)
    try:
        size = path.stat().st_size
    except FileNotFoundError as error:
        raise ModelFileError(f"{path}: no such file; export the model again") from error
    if size < needed:
        raise ModelFileError(
            f"{path}: cut short: {size:,} bytes, the graph beside it needs {needed:,}; export the model again"
        )


def model_file(folder: Path, hash_file: HashFile) -> ModelFile:
    """What a written IR really is: types of its weights, bits per weight with scales and zero points counted.

    Args:
        folder: with the IR.
        hash_file: gives the SHA-256 of a file.

    Raises:
        ModelFileError: it has no weights.
    """
    import hashlib

    found = constants(folder)
    weights = [c for c in found if c.is_weights]
    total = sum(c.entries for c in weights)
    if not total:
        raise ModelFileError(f"{folder / MODEL}: a graph without weights; export the model again")
    by_type: dict[str, list[int]] = defaultdict(list)
    for constant in weights:
        by_type[constant.type].append(constant.entries)
    shares = [
        TensorTypeShare(type=kind, tensors=len(sizes), weights=sum(sizes), share=sum(sizes) / total)
        for kind, sizes in by_type.items()
    ]
    paths = [folder / MODEL, (folder / MODEL).with_suffix(".bin")]
    return ModelFile(
        content_hash=hashlib.sha256("".join(hash_file(p) for p in paths).encode()).hexdigest(),
        size_bytes=sum(p.stat().st_size for p in paths),
        weights=total,
        bits_per_weight=8 * sum(c.size_bytes for c in found if c.is_weights or c.name.endswith(AUXILIARY)) / total,
        types=tuple(sorted(shares, key=lambda s: -s.weights)),
    )
