"""The OpenVINO engine as the stages see it: each call runs in a child process (openvino_child.py)."""

from __future__ import annotations

from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from quantcurve.engines.base import OpenVinoConfig
from quantcurve.engines.child_model import ChildFunctions, ChildModel
from quantcurve.engines.identity import identity_of
from quantcurve.errors import PrerequisiteError
from quantcurve.records import EngineIdentity, OpenVinoEffective
from quantcurve.store import HashFile

INSTALL = "pip install 'quantcurve[openvino]'"


class OpenVinoModel(ChildModel[OpenVinoConfig, OpenVinoEffective]):
    """An IR open in a child process."""

    def __init__(self, path: Path, config: OpenVinoConfig, label: str, log: Path) -> None:
        """Compile the model of a folder.

        Raises:
            ModelFileError: a file is missing, cut short or not an IR.
            BackendError: the engine refused or died.
        """
        from quantcurve.engines import openvino_child as engine
        from quantcurve.engines import openvino_generate as answers
        from quantcurve.engines import openvino_likelihood as choices
        from quantcurve.engines import openvino_speed as speed

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


def require() -> None:
    """Check that OpenVINO and what exports to it are installed.

    Raises:
        PrerequisiteError: a package is missing.
    """
    for module in (
        "openvino",
        "nncf",
        "optimum.intel",
        "openvino_tokenizers",
        "openvino_genai",
        "torch",
        "transformers",
    ):
        try:
            there = find_spec(module) is not None
        except ModuleNotFoundError:  # of its parent
            there = False
        if not there:
            raise PrerequisiteError(f"{module.replace('.', '-')} is not installed: variants.openvino needs it", INSTALL)


def identity(hash_file: HashFile) -> EngineIdentity:
    """See identity.identity_of.

    Raises:
        PrerequisiteError: OpenVINO is not installed.
    """
    require()
    spec = find_spec("openvino")
    assert spec and spec.origin
    return identity_of("OpenVINO", metadata.version("openvino"), Path(spec.origin).parent / "libs", hash_file)
