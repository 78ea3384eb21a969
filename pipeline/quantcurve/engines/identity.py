"""Which engine is installed, told without loading it."""

from __future__ import annotations

from pathlib import Path

from quantcurve.records import EngineIdentity
from quantcurve.store import HashFile


def identity_of(name: str, version: str, libraries: Path, hash_file: HashFile) -> EngineIdentity:
    """Identity of an engine: version, hash of its libraries, CPU features.

    Args:
        name: of the engine.
        version: of its package.
        libraries: folder of its shared libraries; links in it are left out, since they only name others.
        hash_file: gives the SHA-256 of a file (the store's memo makes this cheap).
    """
    import hashlib

    from quantcurve.machine import cpu_features

    files = sorted(p for p in libraries.iterdir() if p.is_file() and not p.is_symlink())
    build = hashlib.sha256("".join(f"{p.name} {hash_file(p)}\n" for p in files).encode()).hexdigest()
    return EngineIdentity(name=name, version=version, build=build, cpu_features=cpu_features())
