"""A GGUF file with more said of it in its header, and the same bytes of every tensor."""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from quantcurve.engines.child import Child
from quantcurve.engines.gguf_file import GgufHeader
from quantcurve.errors import BackendError, ModelFileError

PREFIX = "quantcurve."
"""Of the names of what is added."""
LICENSE_KEYS = ("general.license", "general.license.name", "general.license.link")
PROBE_BYTES = 2**16


def license_fields(path: Path) -> dict[str, str]:
    """What a file says of its licence: those of LICENSE_KEYS that it has.

    Raises:
        ModelFileError: gguf cannot read it.
    """
    fields = _reader(path).fields
    return {key: str(fields[key].contents()) for key in LICENSE_KEYS if key in fields}


def copy(source: Path, target: Path, added: Mapping[str, str], log: Path) -> None:
    """Write a file with the same fields and tensors, and more text fields.

    Args:
        source: GGUF file.
        target: to write.
        added: text fields by name; one that is there already is replaced.
        log: of the process that checks what was written.

    Raises:
        ModelFileError: gguf cannot read the source.
        BackendError: what was written has not the source's tensors.
        OSError: it cannot be written.
    """
    import gguf

    reader = _reader(source)
    architecture = reader.fields[gguf.Keys.General.ARCHITECTURE].contents()
    writer = gguf.GGUFWriter(target, arch=architecture, endianess=reader.endianess)
    if alignment := reader.fields.get(gguf.Keys.General.ALIGNMENT):
        writer.data_alignment = alignment.contents()
    for name, field in reader.fields.items():
        if name == gguf.Keys.General.ARCHITECTURE or name.startswith("GGUF.") or name in added:
            continue
        inner = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(name, field.contents(), field.types[0], sub_type=inner)
    for name, text in added.items():
        writer.add_string(name, text)
    for tensor in reader.tensors:
        writer.add_tensor_info(
            tensor.name, tensor.data.shape, tensor.data.dtype, tensor.data.nbytes, tensor.tensor_type
        )
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for tensor in reader.tensors:
            writer.write_tensor_data(tensor.data, tensor_endianess=reader.endianess)
    except OSError:
        _raise_cause(target)
        raise
    finally:
        writer.close()
    _check(source, target, log)


def _raise_cause(target: Path) -> None:
    """Write more, which tells why: numpy does not."""
    with target.open("ab") as file:
        file.write(bytes(PROBE_BYTES))


def _reader(path: Path) -> Any:
    import gguf

    try:
        return gguf.GGUFReader(path)
    except (ValueError, KeyError, IndexError) as error:
        raise ModelFileError(f"{path}: the gguf package cannot read it: {error}; get the file again") from error


def _check(source: Path, target: Path, log: Path) -> None:
    """Every tensor by ggml's own reader: name, type, shape and the hash of its bytes."""
    from quantcurve.engines import llamacpp_files

    with Child(target.name, log) as child:
        headers = [child.call(llamacpp_files.header, path) for path in (source, target)]
    wanted, found = (_hashes(path, header) for path, header in zip((source, target), headers, strict=True))
    if wanted != found:
        other = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
        raise BackendError(
            f"{target.name}: {len(other)} tensors are not those that were measured ({', '.join(other[:3])}); this is a "
            "bug in quantcurve or the gguf package"
        )


def _hashes(path: Path, header: GgufHeader) -> dict[str, tuple[str, tuple[int, ...], str]]:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        view = memoryview(data)
        try:
            return {
                t.name: (t.type, t.shape, hashlib.sha256(view[t.offset : t.offset + t.size_bytes]).hexdigest())
                for t in header.tensors
            }
        finally:
            view.release()
