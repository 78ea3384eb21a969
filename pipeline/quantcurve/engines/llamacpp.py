"""The llama.cpp engine as the stages see it: each call runs in a child process (llamacpp_child.py)."""

from __future__ import annotations

from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from quantcurve.engines.base import LlamaCppConfig
from quantcurve.engines.child import Child
from quantcurve.engines.child_model import ChildFunctions, ChildModel
from quantcurve.engines.identity import identity_of
from quantcurve.errors import PrerequisiteError
from quantcurve.records import EngineIdentity, LlamaCppEffective
from quantcurve.store import HashFile

INSTALL = "pip install llama-cpp-python"
INSTALL_GPU = (
    'CMAKE_ARGS="-DGGML_VULKAN=on" pip install --force-reinstall --no-binary llama-cpp-python llama-cpp-python'
)


class LlamaCppModel(ChildModel[LlamaCppConfig, LlamaCppEffective]):
    """A GGUF file open in a child process."""

    def __init__(self, path: Path, config: LlamaCppConfig, label: str, log: Path) -> None:
        """Load the model.

        Raises:
            ModelFileError: the file is missing, truncated, corrupt or of an unknown architecture.
            BackendError: the engine refused or died.
        """
        from quantcurve.engines import llamacpp_child as engine
        from quantcurve.engines import llamacpp_generate as answers
        from quantcurve.engines import llamacpp_likelihood as choices
        from quantcurve.engines import llamacpp_speed as speed

        functions = ChildFunctions(
            open_model=engine.open_model,
            score=engine.score,
            warm_up=speed.warm_up,
            time_once=speed.time_once,
            time_load=speed.time_load,
            generate=answers.generate,
            log_likelihoods=choices.log_likelihoods,
            end_tokens=answers.end_tokens,
        )
        super().__init__(functions, path, config, label, log)


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
    """See identity.identity_of.

    Raises:
        PrerequisiteError: llama-cpp-python is not installed.
    """
    folder = library_folder()  # before the version, whose error is not ours
    return identity_of("llama.cpp", version(), folder, hash_file)
