"""An IR as it is deployed, as a Runner; runs in a child process (see child.py)."""

from __future__ import annotations

from pathlib import Path

from quantcurve.engines import openvino_child
from quantcurve.engines.base import Floats, OpenVinoConfig, Tokens
from quantcurve.engines.runner import Runner


class DeployedRunner(Runner):
    """The model of this process (openvino_child.open_model), with one infer request."""

    def __init__(self, path: Path, config: OpenVinoConfig) -> None:
        """Compile a folder's IR, in place of the model that this process held.

        Raises:
            ModelFileError: a file is missing, cut short or not an IR.
            BackendError: the device is not there, or refuses the model or the configuration.
        """
        self.path = path
        self.config = config
        self.effective = openvino_child.open_model(path, config)
        """The configuration read back."""
        self._model = openvino_child.current()
        self.vocabulary = self._model.vocabulary
        self.plain_cache = self._model.plain_cache
        self._request = self._model.compiled.create_infer_request()

    def forward(self, tokens: Tokens, past: int, positions: int = 1) -> Floats:
        """See Runner.forward."""
        return openvino_child.forward(self._model, self._request, tokens, past, positions)
