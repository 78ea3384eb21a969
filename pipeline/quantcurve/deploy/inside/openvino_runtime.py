"""The bundle's model in OpenVINO GenAI, opened as settings.json says: for verify.py and chat.py.

Needs openvino-genai, nothing else.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

LOG_LEVEL = {"OPENVINO_LOG_LEVEL": "2"}
"""From this level on GenAI prints the properties of what it has compiled."""
NAME = "openvino-genai"
CHOOSING = ("AUTO", "MULTI", "HETERO", "BATCH")
"""Devices that hand a model to others, which may be named after a colon."""
BACKENDS = {"LLM with Paged Attention": "PA", "Stateful LLM model": "SDPA"}
"""What GenAI calls a model in what it prints, by its attention backend."""
TOLD = {
    "INFERENCE_NUM_THREADS": "threads",
    "INFERENCE_PRECISION_HINT": "inference_precision",
    "KEY_CACHE_PRECISION": "key_cache_precision",
    "VALUE_CACHE_PRECISION": "value_cache_precision",
    "DYNAMIC_QUANTIZATION_GROUP_SIZE": "dynamic_quantization_group",
}
"""Properties that it prints, and the settings that they are."""
OPEN = ("dynamic", "undefined")
"""Values of a type that is left open."""


def version() -> str:
    """Of the runtime."""
    return f"{NAME} {metadata.version(NAME)}"


def refusal(settings: dict[str, Any]) -> str:
    """Why the model cannot run here; empty if it can."""
    import openvino as ov

    found = [str(device) for device in ov.Core().available_devices]
    first, _, others = settings["device"].partition(":")
    names = [name for name in (first, *others.split(",")) if name and name not in CHOOSING]
    absent = [n for n in names if not any(n == d or d.startswith(f"{n}.") or n == f"{d}.0" for d in found)]
    if not absent:
        return ""
    return f"device {' and '.join(absent)} is not on this machine; OpenVINO finds {', '.join(found) or 'none'}"


def properties(settings: dict[str, Any]) -> dict[str, Any]:
    """What the pipeline is opened with, beside the device; what was not told is left to the device."""
    found: dict[str, Any] = {
        "ATTENTION_BACKEND": settings["attention"],
        "PERFORMANCE_HINT": "LATENCY",
        "EXECUTION_MODE_HINT": settings["execution"].upper(),
    }
    if settings["device"] == "CPU" and settings["threads"]:
        found["INFERENCE_NUM_THREADS"] = settings["threads"]
    if settings["execution"] == "accuracy":  # devices ignore others beside it
        return found
    key, value = settings["key_cache_precision"], settings["value_cache_precision"]
    if key is not None and key == value:
        found["KV_CACHE_PRECISION"] = key
    elif key is not None and value is not None:
        found |= {"KEY_CACHE_PRECISION": key, "VALUE_CACHE_PRECISION": value}
    if settings["inference_precision"]:
        found["INFERENCE_PRECISION_HINT"] = settings["inference_precision"]
    if settings["dynamic_quantization_group"] is not None:
        found["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = str(settings["dynamic_quantization_group"])
    return found


def open_model(folder: Path, settings: dict[str, Any]) -> Model:
    """Open it.

    Raises:
        RuntimeError: OpenVINO refused the files or the settings.
        ImportError: OpenVINO GenAI is not installed.
    """
    os.environ |= LOG_LEVEL
    return Model(folder, settings)


class Model:
    """An open pipeline."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        import openvino_genai  # type: ignore[import-not-found, unused-ignore]

        self._genai = openvino_genai
        self._chats = settings["chat_template"]
        with captured() as printed:
            self._pipeline = openvino_genai.LLMPipeline(folder, settings["device"], **properties(settings))
        self._told = printed()
        self._tokenizer = self._pipeline.get_tokenizer()

    def effective(self) -> dict[str, Any]:
        """Settings as the device tells them of the compiled model."""
        text = self._told
        found: dict[str, Any] = {}
        for name, setting in TOLD.items():
            values = re.findall(rf"^ +{name}: (.*)$", text, re.M)
            if values and values[-1].strip() not in OPEN:
                value = values[-1].strip()
                found[setting] = int(value) if value.isdigit() else value
        if titles := re.findall(r"^Model: (.*)$", text, re.M):
            found["attention"] = BACKENDS.get(titles[-1].strip(), titles[-1].strip())
        return found

    def chat_text(self, messages: Sequence[dict[str, str]]) -> str:
        """A chat as the template in the tokenizer writes it, up to where the answer begins."""
        return str(self._tokenizer.apply_chat_template(list(messages), add_generation_prompt=True))

    def prompt_ids(self, text: str) -> list[int]:
        """Ids of a prompt, control tokens in it included."""
        found = self._tokenizer.encode(text, add_special_tokens=not self._chats).input_ids.data
        return [int(i) for i in found[0]]

    def greedy(self, prefix: list[int], count: int) -> list[int]:
        """The likeliest tokens after a prefix, whatever they are."""
        import numpy as np
        import openvino as ov

        config = self._genai.GenerationConfig(
            max_new_tokens=count, ignore_eos=True, do_sample=False, apply_chat_template=False
        )
        found = self._pipeline.generate(ov.Tensor(np.array([prefix], np.int64)), config)
        return [int(token) for token in found.tokens[0]]

    def answer(self, messages: Sequence[dict[str, str]], max_tokens: int, write: Callable[[str], object]) -> str:
        """An answer to a chat, greedily; `write` gets it piece by piece while it comes."""
        config = self._pipeline.get_generation_config()
        config.max_new_tokens, config.do_sample = max_tokens, False
        parts = []

        def take(part: str) -> bool:
            parts.append(part)
            write(part)
            return False

        self._pipeline.generate(self._genai.ChatHistory(list(messages)), config, take)
        return "".join(parts)


@contextmanager
def captured() -> Iterator[Callable[[], str]]:
    """Take what native code prints on standard output within the block; afterwards the function gives it."""
    sys.stdout.flush()
    kept = os.dup(1)
    with tempfile.TemporaryFile() as sink:
        os.dup2(sink.fileno(), 1)
        text: list[str] = []
        try:
            yield lambda: "".join(text)
        finally:
            os.dup2(kept, 1)
            os.close(kept)
            sink.seek(0)
            text.append(sink.read().decode("utf-8", "replace"))
