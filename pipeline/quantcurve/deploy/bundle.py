"""What a bundle holds beside the model: its settings, what it was picked on, recorded answers, and the manifest."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from quantcurve.errors import RecipeError
from quantcurve.estimates import Figure
from quantcurve.records import AttentionBackend, Frozen
from quantcurve.store_files import hash_of

MANIFEST, MANIFEST_HASH = "manifest.json", "manifest.sha256"
SETTINGS, REPLAYS, CARD = "settings.json", "replays.json", "README.md"
GGUF = "model.gguf"

Target = Literal["llama.cpp", "openvino"]


class LlamaCppSettings(Frozen):
    """How llama.cpp opens the model: as it was measured."""

    runtime: Literal["llama.cpp"] = "llama.cpp"
    alias: str
    """Name that servers give the model."""
    model: str = GGUF
    device: Literal["cpu", "gpu"]
    threads: int
    context_tokens: int
    batch_tokens: int
    micro_batch_tokens: int
    k_type: str
    v_type: str
    """ggml types of the KV cache."""
    flash_attention: bool
    chat_template: bool
    """Whether the file has one."""


class OpenVinoSettings(Frozen):
    """How OpenVINO GenAI opens the model: as it was measured. What the device did not tell is None, and left to it."""

    runtime: Literal["openvino"] = "openvino"
    alias: str
    device: str
    threads: int | None
    context_tokens: int
    execution: Literal["performance", "accuracy"]
    inference_precision: str | None
    key_cache_precision: str | None
    value_cache_precision: str | None
    dynamic_quantization_group: int | None
    """Activations that share a scale; 0: none are quantised."""
    attention: AttentionBackend
    chat_template: bool


Settings = LlamaCppSettings | OpenVinoSettings


class ChatMessage(Frozen):
    """A turn of a chat."""

    role: Literal["system", "user", "assistant"]
    content: str


class Replay(Frozen):
    """A prompt, and what the measured model made of it, token by token."""

    id: str
    messages: tuple[ChatMessage, ...]
    """Empty where the template is not asked: the model has none, or it writes today's date."""
    text: str
    prompt: tuple[int, ...]
    tokens: tuple[int, ...]
    """The likeliest of each step; the one that ends the answer included."""
    margins: tuple[float, ...]
    """Of each step, the likeliest less the second likeliest logit."""


class Replays(Frozen):
    """All recorded prompts."""

    replays: tuple[Replay, ...]


class Noise(Frozen):
    """What the measured engine's own rounding does: how close the two likeliest tokens must be for a runtime to take
    another one without being wrong, and how often that may be."""

    logits: float
    """Largest difference of a margin between ways of computing the same step."""
    how: str
    steps: int
    other_tokens: int
    """Of these steps, those at which the engine itself took another token in one pass than step by step."""
    most_other_tokens: int
    """Among all recorded steps; more of them are not the same noise."""


class NamedFigure(Frozen):
    """A figure that the variant was picked on."""

    name: str
    figure: Figure


class BundleFile(Frozen):
    """A file of the bundle."""

    name: str
    size_bytes: int
    sha256: str


class Hashes(Frozen):
    """SHA-256 of what the bundle comes from."""

    measured: str
    """Of the file that was measured; of an IR, of the hashes of its graph and its weights."""
    reference: str
    calibration: str | None
    imatrix: str | None
    recipe: str


class License(Frozen):
    """The licence of the reference, as its file says."""

    name: str | None = None
    title: str | None = None
    link: str | None = None
    file: str | None = None
    """A licence text that lay beside the reference and is in the bundle."""


class Manifest(Frozen):
    """What the bundle is. The first field is what to know before anything else."""

    forced: tuple[str, ...]
    """Reasons against deploying it, which --force overrode; empty if there are none."""
    schema_version: Literal[1] = 1
    kind: Literal["quantcurve bundle"] = "quantcurve bundle"
    quantcurve_version: str
    target: Target
    variant: str
    run: str
    run_key: str
    source: str
    """Of the reference."""
    reference_precision: str
    quantization: str
    bits_per_weight: float
    size_bytes: int
    license: License
    hashes: Hashes
    settings: Settings
    measured_context_tokens: int
    measured_on: str
    noise: Noise
    figures: tuple[NamedFigure, ...]
    verdicts: tuple[str, ...]
    measured_with: tuple[str, ...]
    """Engines, with their versions."""
    not_verified: tuple[str, ...]
    """What is written and was not tried."""
    files: tuple[BundleFile, ...]
    """All but the manifest, and the file with its hash."""


def changed(folder: Path, manifest: Manifest) -> list[str]:
    """Names of the manifest's files that are missing or not as it says."""
    there = {file.name: file for file in listed(folder)}
    return [file.name for file in manifest.files if there.get(file.name) != file]


def listed(folder: Path) -> tuple[BundleFile, ...]:
    """All files of a folder, as a manifest has them."""
    paths = sorted((p.relative_to(folder).as_posix(), p) for p in folder.rglob("*") if p.is_file())
    return tuple(
        BundleFile(name=name, size_bytes=path.stat().st_size, sha256=hash_of(path))
        for name, path in paths
        if name not in {MANIFEST, MANIFEST_HASH}
    )


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write it, and its own hash, as `sha256sum --check` reads it."""
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=1) + "\n", encoding="utf-8")
    (folder / MANIFEST_HASH).write_text(f"{hash_of(folder / MANIFEST)}  {MANIFEST}\n", encoding="ascii")


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a bundle.

    Raises:
        RecipeError: there is none, or none of this version.
    """
    path = folder / MANIFEST
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise RecipeError(
            f"{folder}: no bundle ({path.name}: {error.strerror}); `quantcurve deploy RUN VARIANT --to FOLDER` writes "
            "one"
        ) from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise RecipeError(
            f"{path}: not a manifest of schema version 1 ({'.'.join(map(str, first['loc']))}: {first['msg']}); deploy "
            "the variant again"
        ) from error


def is_bundle(folder: Path) -> bool:
    """Whether a folder holds a bundle, whole or not."""
    try:
        return b'"quantcurve bundle"' in (folder / MANIFEST).read_bytes()
    except OSError:
        return False
