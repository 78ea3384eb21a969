"""The bundle's model in llama-cpp-python, opened as settings.json says: for verify.py, chat.py and serve.py.

Needs llama-cpp-python, nothing else.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable, Sequence
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import Any

import llama_cpp

NAME = "llama-cpp-python"
BF16 = 30
"""GGML_TYPE_BF16 (ggml/include/ggml.h), which llama-cpp-python does not name."""
FROM_FILE = "chat_template.default"
"""llama-cpp-python's name of the template in the file; else it takes one of its own that it thinks is the same."""
_log_lines: list[str] = []


@llama_cpp.llama_log_callback  # type: ignore[untyped-decorator, unused-ignore]
def _log(level: int, text: bytes, user_data: object) -> None:
    _log_lines.append(text.decode("utf-8", "replace"))


def version() -> str:
    """Of the runtime."""
    return f"{NAME} {metadata.version(NAME)}"


def refusal(settings: dict[str, Any]) -> str:
    """Why the model cannot run here; empty if it can."""
    if settings["device"] == "gpu" and not llama_cpp.llama_supports_gpu_offload():
        return (
            f"device gpu is not there: {version()} was built without GPU support; build it with that, as its README has"
        )
    return ""


def arguments(folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """What llama-cpp-python is opened with; its server takes the same names, but for the model's."""
    return {
        "model_path": str(folder / settings["model"]),
        "n_gpu_layers": -1 if settings["device"] == "gpu" else 0,
        "n_ctx": settings["context_tokens"],
        "n_batch": settings["batch_tokens"],
        "n_ubatch": settings["micro_batch_tokens"],
        "n_threads": settings["threads"],
        "n_threads_batch": settings["threads"],
        "type_k": ggml_type(settings["k_type"]),
        "type_v": ggml_type(settings["v_type"]),
        "flash_attn": settings["flash_attention"],
        "chat_format": FROM_FILE if settings["chat_template"] else None,
    }


def ggml_type(name: str) -> int:
    """Number of a type of the KV cache.

    Raises:
        ValueError: there is no such type.
    """
    found = BF16 if name == "bf16" else getattr(llama_cpp, f"GGML_TYPE_{name.upper()}", None)
    if found is None:
        raise ValueError(f"{name}: no type of a KV cache; settings.json names it")
    return int(found)


def open_model(folder: Path, settings: dict[str, Any]) -> Model:
    """Open it.

    Raises:
        ValueError: llama.cpp refused the file or the settings.
    """
    llama_cpp.llama_log_set(_log, ctypes.c_void_p(0))
    return Model(folder, settings)


class Model:
    """An open model."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        start = len(_log_lines)
        self._llama: Any = llama_cpp.Llama(**arguments(folder, settings), verbose=False)
        self._log = "".join(_log_lines[start:])
        source = self._llama.metadata.get("tokenizer.chat_template")
        self._template = self._formatter(source) if source else None

    def effective(self) -> dict[str, Any]:
        """Settings as llama.cpp tells them of the open model."""
        context = self._llama.ctx
        found: dict[str, Any] = {
            "context_tokens": llama_cpp.llama_n_ctx(context),
            "batch_tokens": llama_cpp.llama_n_batch(context),
            "micro_batch_tokens": llama_cpp.llama_n_ubatch(context),
            "threads": llama_cpp.llama_n_threads(context),
        }
        if cache := re.search(r"K \((\w+)\): .*V \((\w+)\):", self._log):
            found |= {"k_type": cache[1], "v_type": cache[2]}
        if flash := re.search(r"flash_attn +(?:=|is) (enabled|disabled)", self._log):
            found["flash_attention"] = flash[1] == "enabled"
        return found

    def chat_text(self, messages: Sequence[dict[str, str]]) -> str:
        """A chat as the file's template writes it, up to where the answer begins."""
        assert self._template
        return str(self._template(messages=list(messages)).prompt)

    def prompt_ids(self, text: str) -> list[int]:
        """Ids of a prompt, control tokens in it included."""
        return list(self._llama.tokenize(text.encode(), add_bos=self._template is None, special=True))

    def greedy(self, prefix: list[int], count: int) -> list[int]:
        """The likeliest tokens after a prefix, whatever they are."""
        self._llama.reset()  # or it would go on from what the prefix shares with the one before
        return list(islice(self._llama.generate(prefix, temp=0.0, repeat_penalty=1.0), count))

    def answer(self, messages: Sequence[dict[str, str]], max_tokens: int, write: Callable[[str], object]) -> str:
        """An answer to a chat, greedily; `write` gets it piece by piece while it comes."""
        chunks = self._llama.create_chat_completion(
            list(messages), temperature=0.0, repeat_penalty=1.0, max_tokens=max_tokens, stream=True
        )
        parts: list[str] = []
        for chunk in chunks:
            parts.append(chunk["choices"][0]["delta"].get("content") or "")
            write(parts[-1])
        return "".join(parts)

    def _formatter(self, source: str) -> Any:
        from llama_cpp.llama_chat_format import Jinja2ChatFormatter

        llama = self._llama

        def text(token: int) -> str:
            return str(llama._model.token_get_text(token)) if token != -1 else ""

        return Jinja2ChatFormatter(
            template=source, eos_token=text(llama.token_eos()), bos_token=text(llama.token_bos())
        )
