"""The OpenVINO engine as the stages see it: each call runs in a child process (openvino_child.py)."""

from __future__ import annotations

from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from quantcurve.engines import memory
from quantcurve.engines.base import OpenVinoConfig, ReferenceScratch, Tokens, TokenScores
from quantcurve.engines.child import Child
from quantcurve.errors import PrerequisiteError
from quantcurve.records import EngineIdentity, OpenVinoEffective, SpeedSamples, Workload
from quantcurve.store import HashFile

INSTALL = "pip install 'quantcurve[openvino]'"


class OpenVinoModel:
    """A model open in a child process; satisfies base.LoadedModel."""

    def __init__(self, path: Path, config: OpenVinoConfig, label: str, log: Path) -> None:
        """Compile the model of a folder.

        Raises:
            ModelFileError: a file is missing, cut short or not an IR.
            BackendError: the engine refused or died.
        """
        from quantcurve.engines import openvino_child, openvino_speed

        self._engine, self._speed = openvino_child, openvino_speed
        self._path = path
        self._config = config
        self._child = Child(label, log)
        try:
            self._effective = self._child.call(openvino_child.open_model, path, config)
        except BaseException:
            self._child.kill()
            raise

    @property
    def effective_config(self) -> OpenVinoEffective:
        """See base.LoadedModel."""
        return self._effective

    def score(
        self, windows: Tokens, reference: ReferenceScratch | None = None, keep: ReferenceScratch | None = None
    ) -> TokenScores:
        """See base.LoadedModel."""
        return self._child.call(self._engine.score, windows, reference, keep)

    def warm_up(self, workload: Workload) -> None:
        """See base.LoadedModel."""
        self._child.call(self._speed.warm_up, workload)

    def time(self, workload: Workload) -> SpeedSamples:
        """See base.LoadedModel."""
        return self._child.call(self._speed.time_once, workload)

    def time_load(self) -> float:
        """Close the model, load it again, and give the seconds that took."""
        return self._child.call(self._speed.time_load, self._path, self._config)

    def resident_bytes(self) -> int:
        """See base.LoadedModel."""
        return self._child.call(memory.resident_bytes)

    def peak_memory_bytes(self) -> int:
        """See base.LoadedModel."""
        return self._child.call(memory.peak_memory_bytes)

    def close(self) -> None:
        """See base.LoadedModel."""
        self._child.close()


def require() -> None:
    """Check that OpenVINO and what exports to it are installed.

    Raises:
        PrerequisiteError: a package is missing.
    """
    for module in ("openvino", "nncf", "optimum.intel", "openvino_tokenizers", "torch", "transformers"):
        try:
            there = find_spec(module) is not None
        except ModuleNotFoundError:  # of its parent
            there = False
        if not there:
            raise PrerequisiteError(f"{module.replace('.', '-')} is not installed: variants.openvino needs it", INSTALL)


def identity(hash_file: HashFile) -> EngineIdentity:
    """Identity of the engine without loading it: version, hash of its libraries, CPU features.

    Args:
        hash_file: gives the SHA-256 of a file (the store's memo makes this cheap).

    Raises:
        PrerequisiteError: OpenVINO is not installed.
    """
    import hashlib

    from quantcurve.machine import cpu_features

    require()
    spec = find_spec("openvino")
    assert spec and spec.origin
    folder = Path(spec.origin).parent / "libs"
    libraries = sorted(p for p in folder.iterdir() if p.is_file() and not p.is_symlink())
    build = hashlib.sha256("".join(f"{p.name} {hash_file(p)}\n" for p in libraries).encode()).hexdigest()
    return EngineIdentity(
        name="OpenVINO", version=metadata.version("openvino"), build=build, cpu_features=cpu_features()
    )
