"""lm-eval's own backends in a process of their own: what they crash of is not ours. Light: the child imports it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from quantcurve.engines.child import Child
from quantcurve.errors import BackendError

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

_opened: list[Any] = []


def open_hf(folder: Path, max_length: int) -> None:
    """In the child: the weights of tiny.gguf in torch."""
    from lm_eval.models.huggingface import HFLM
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

    weights = AutoModelForCausalLM.from_pretrained(folder, gguf_file="tiny.gguf", dtype="float32")
    weights.generation_config.eos_token_id = [0, 2]
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    _opened[:] = [HFLM(weights, tokenizer=tokenizer, max_length=max_length, batch_size=2, device="cpu")]


def open_openvino(folder: Path, config: Path, max_length: int) -> None:
    """In the child: an IR through optimum-intel."""
    from lm_eval.models.optimum_lm import OptimumLM

    _opened[:] = [OptimumLM(pretrained=str(folder), ov_config=str(config), max_length=max_length)]


def ask(what: str, requests: Sequence[Instance]) -> list[Any]:
    """In the child: a method of the backend."""
    return list(getattr(_opened[0], what)(list(requests)))


class Backend(NamedTuple):
    """A backend of lm-eval's that is open."""

    child: Child

    def ask(self, what: str, requests: Sequence[Instance]) -> list[Any]:
        """Skips where the backend itself dies of OpenVINO's or torch's division by zero, which some processors know
        (openvino issues 33300 and 35943)."""
        return _called(self.child, ask, what, requests)


@contextmanager
def opened(folder: Path, opening: Any, *arguments: Any) -> Iterator[Backend]:
    """A backend for as long as it is needed."""
    with pytest.MonkeyPatch.context() as patch:
        here = str(Path(__file__).parent)
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH")))))
        child = Child("lm-eval's backend", folder / "backend.log")
    with child:
        _called(child, opening, *arguments)
        yield Backend(child)


def _called(child: Child, function: Any, *arguments: Any) -> Any:
    try:
        return child.call(function, *arguments)
    except BackendError as error:
        if "SIGFPE" in error.message:
            pytest.skip(f"lm-eval's own backend crashes on this processor: {error.message.splitlines()[0]}")
        raise
