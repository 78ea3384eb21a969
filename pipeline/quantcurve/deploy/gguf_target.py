"""A bundle for llama.cpp: the GGUF file, start commands for its servers, and a Modelfile for Ollama."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Literal

from quantcurve.deploy import gguf_copy, ollama
from quantcurve.deploy.bundle import GGUF, Hashes, License, LlamaCppSettings
from quantcurve.deploy.prompts import Prompts
from quantcurve.deploy.source import Source
from quantcurve.errors import RecipeError
from quantcurve.records import LlamaCppEffective

LLAMA_SERVER, LLAMA_CPP_PYTHON, MODELFILE = "start-llama-server.sh", "start-llama-cpp-python.sh", "Modelfile"
INSIDE = {"verify.py": "verify.py", "chat.py": "chat.py", "serve.py": "serve.py", "llamacpp_runtime.py": "runtime.py"}
"""Modules that are copied into the bundle, and their names there."""
NOT_VERIFIED = (
    f"{LLAMA_SERVER}: llama.cpp's own server was not run",
    f"{MODELFILE}: Ollama was not run",
)
SERVE = '"${PYTHON:-python3}" serve.py --port "${PORT:-8000}"'
FLASH = {"enabled": True, "on": True, "disabled": False, "off": False}


def settings(source: Source, alias: str, context_tokens: int, chat_template: bool) -> LlamaCppSettings:
    """How the variant was opened for measuring, but for the context.

    Raises:
        RecipeError: the run's record does not say.
    """
    effective = source.variant.scoring_config or source.variant.timing_config
    if not isinstance(effective, LlamaCppEffective):
        raise RecipeError(f"{source.variant.name}: the run does not say how it was opened; run the recipe again")
    device: Literal["cpu", "gpu"] = "gpu" if effective.device == "gpu" else "cpu"
    batch = min(effective.batch_tokens, context_tokens)
    return LlamaCppSettings(
        alias=alias,
        device=device,
        threads=effective.threads,
        context_tokens=context_tokens,
        batch_tokens=batch,
        micro_batch_tokens=min(effective.micro_batch_tokens, batch),
        k_type=effective.k_type,
        v_type=effective.v_type,
        flash_attention=FLASH.get(effective.flash_attention, True),
        chat_template=chat_template,
    )


def write(
    source: Source,
    draft: Path,
    opened: LlamaCppSettings,
    hashes: Hashes,
    known: License,
    asking: Prompts,
    log: Path,
) -> None:
    """Write what a bundle for llama.cpp has of its own.

    Raises:
        ModelFileError: the file cannot be read.
        BackendError: what was written has not the measured tensors.
    """
    added = {
        f"{gguf_copy.PREFIX}variant": source.variant.name,
        f"{gguf_copy.PREFIX}quantization": source.quantization,
        f"{gguf_copy.PREFIX}measured.sha256": hashes.measured,
        f"{gguf_copy.PREFIX}reference.sha256": hashes.reference,
        f"{gguf_copy.PREFIX}recipe.sha256": hashes.recipe,
        f"{gguf_copy.PREFIX}run_key": source.run.run_key,
    }
    added |= {f"{gguf_copy.PREFIX}calibration.sha256": hashes.calibration} if hashes.calibration else {}
    added |= {f"{gguf_copy.PREFIX}imatrix.sha256": hashes.imatrix} if hashes.imatrix else {}
    values = (known.name, known.title, known.link)
    added |= {key: value for key, value in zip(gguf_copy.LICENSE_KEYS, values, strict=True) if value}
    gguf_copy.copy(source.path, draft / GGUF, added, log)
    _script(draft / LLAMA_SERVER, llama_server_command(opened), "llama.cpp's llama-server")
    _script(draft / LLAMA_CPP_PYTHON, SERVE, "llama-cpp-python's server")
    text = ollama.modelfile(opened, asking.template, asking.bos, known.name or "")
    (draft / MODELFILE).write_text(text, encoding="utf-8")


def llama_server_command(opened: LlamaCppSettings) -> str:
    """The command that serves the model with the measured settings."""
    options = {
        "--model": opened.model,
        "--alias": opened.alias,
        "--ctx-size": opened.context_tokens,
        "--parallel": 1,
        "--batch-size": opened.batch_tokens,
        "--ubatch-size": opened.micro_batch_tokens,
        "--threads": opened.threads,
        "--cache-type-k": opened.k_type,
        "--cache-type-v": opened.v_type,
        "--flash-attn": "on" if opened.flash_attention else "off",
        "--n-gpu-layers": 999 if opened.device == "gpu" else 0,
        "--host": "127.0.0.1",
    }
    told = " ".join(f"{name} {shlex.quote(str(value))}" for name, value in options.items())
    jinja = " --jinja" if opened.chat_template else ""
    return f'"${{LLAMA_SERVER:-llama-server}}" {told} --port "${{PORT:-8080}}"{jinja}'


def _script(path: Path, command: str, server: str) -> None:
    text = f"""#!/bin/sh
# Serves the model by {server} with the settings that were measured; what is written behind it is passed on.
set -eu
cd "$(dirname "$0")"
exec {command} "$@"
"""
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
