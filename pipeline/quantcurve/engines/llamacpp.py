"""The llama.cpp engine as the stages see it: each call runs in a child process (llamacpp_child.py)."""

from __future__ import annotations

from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from quantcurve.engines import memory
from quantcurve.engines.base import LlamaCppConfig, ReferenceScratch, Tokens, TokenScores
from quantcurve.engines.child import Child
from quantcurve.errors import PrerequisiteError
from quantcurve.records import EngineIdentity, LlamaCppEffective, SpeedSamples, Workload
from quantcurve.store import HashFile

INSTALL = "pip install llama-cpp-python"
INSTALL_GPU = (
    'CMAKE_ARGS="-DGGML_VULKAN=on" pip install --force-reinstall --no-binary llama-cpp-python llama-cpp-python'
)


class LlamaCppModel:
    """A model open in a child process; satisfies base.LoadedModel."""

    def __init__(self, path: Path, config: LlamaCppConfig, label: str, log: Path) -> None:
        """Load the model.

        Raises:
            ModelFileError: the file is missing, truncated, corrupt or of an unknown architecture.
            BackendError: the engine refused or died.
        """
        from quantcurve.engines import llamacpp_child, llamacpp_speed

        self._engine, self._speed = llamacpp_child, llamacpp_speed
        self._path = path
        self._config = config
        self._child = Child(label, log)
        try:
            self._effective = self._child.call(llamacpp_child.open_model, path, config)
        except BaseException:
            self._child.kill()
            raise

    @property
    def effective_config(self) -> LlamaCppEffective:
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


def require_gpu() -> None:
    """Check that the installed build can use a GPU.

    Raises:
        PrerequisiteError: it cannot.
    """
    import tempfile

    from quantcurve.engines import llamacpp_native

    with tempfile.TemporaryDirectory(prefix="quantcurve-gpu-") as folder, Child("gpu", Path(folder) / "log") as child:
        offered = child.call(llamacpp_native.offers_gpu)
    if not offered:
        raise PrerequisiteError("the installed llama.cpp has no GPU support", INSTALL_GPU)


@cache
def library_folder() -> Path:
    """Folder of llama.cpp's shared libraries.

    Raises:
        PrerequisiteError: llama-cpp-python is not installed.
    """
    spec = find_spec("llama_cpp")
    if spec is None or spec.origin is None:
        raise PrerequisiteError("llama-cpp-python is not installed", INSTALL)
    return Path(spec.origin).parent / "lib"


def version() -> str:
    """Version of the installed llama-cpp-python."""
    return metadata.version("llama-cpp-python")


def identity(hash_file: HashFile) -> EngineIdentity:
    """Identity of the engine without loading it: version, hash of its libraries, CPU features.

    Args:
        hash_file: gives the SHA-256 of a file (the store's memo makes this cheap).
    """
    import hashlib

    from quantcurve.machine import cpu_features

    libraries = sorted(p for p in library_folder().iterdir() if p.is_file() and not p.is_symlink())
    build = hashlib.sha256("".join(f"{p.name} {hash_file(p)}\n" for p in libraries).encode()).hexdigest()
    return EngineIdentity(name="llama.cpp", version=version(), build=build, cpu_features=cpu_features())
