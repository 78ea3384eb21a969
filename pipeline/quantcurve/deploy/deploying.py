"""From a variant of a finished run to a bundle in its place: written, verified, then put there."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from quantcurve import __version__, machine
from quantcurve.deploy import (
    bundle,
    card,
    figures,
    gguf_target,
    licence,
    openvino_target,
    prompts,
    replays,
    source,
    writing,
)
from quantcurve.deploy.bundle import Hashes, LlamaCppSettings, Manifest, OpenVinoSettings
from quantcurve.deploy.source import Source
from quantcurve.deploy.verification import Verification, verify
from quantcurve.engines import llamacpp, openvino_devices
from quantcurve.engines.base import OpenVinoRuntime
from quantcurve.engines.child import Child
from quantcurve.errors import BackendError, PrerequisiteError, RecipeError
from quantcurve.records import LlamaCppEffective
from quantcurve.results import RunResult
from quantcurve.store import Store

LEAST_CONTEXT = 512
"""Tokens; what was measured at less could not hold a chat."""
BESIDE_BYTES = 4 * 2**20
"""What a bundle takes beside the model, at most."""
INSIDE = Path(__file__).parent / "inside"


class Wish(NamedTuple):
    """What is asked for."""

    run: RunResult
    place: Path
    """Of the run."""
    variant: str
    folder: Path
    force: bool = False
    context_tokens: int | None = None
    """None: the longest that was measured, and LEAST_CONTEXT at least."""
    cache: Path | None = None


class Deployed(NamedTuple):
    """A bundle in its place."""

    folder: Path
    manifest: Manifest
    verification: Verification
    replaced: bool
    """Whether one stood there before; `deploy --rollback` brings it back."""


def deploy(wish: Wish, say: Callable[[str], object] = str) -> Deployed:
    """Write a bundle, verify it, and put it in its place; where anything fails, what stands there is left alone.

    Args:
        wish: what is asked for.
        say: gets a line when a step begins.

    Raises:
        RecipeError: the variant or the folder cannot be taken.
        PrerequisiteError: the store, the device or the disk lacks something.
        BackendError: an engine failed, or the bundle was not verified.
    """
    store = Store(wish.cache)
    folder = writing.check_place(wish.folder)
    found, against = source.find(wish.run, wish.place, wish.variant, store, wish.force)
    _require_device(found, store.folder / "logs" / "deploy.log")
    with store.in_use(), writing.draft_of(folder, found.file.size_bytes + BESIDE_BYTES) as draft:
        manifest = _write(found, against, wish, draft, store.folder / "logs" / "deploy.log", say)
        say("verifying it in a fresh process")
        verification = verify(draft)
        if not verification.verified:
            told = "\n    ".join(verification.lines())
            raise BackendError(
                f"{wish.variant}: the bundle does not give what was measured, and was not deployed; {folder} is as it "
                f"was:\n    {told}"
            )
        return Deployed(folder, manifest, verification, writing.put(draft, folder))


def _write(
    found: Source, against: tuple[str, ...], wish: Wish, draft: Path, log: Path, say: Callable[[str], object]
) -> Manifest:
    hashes, known = _hashes(found), licence.carried_over(found, draft)
    longest = figures.longest_measured(found.recipe, found.variant)
    context = _context(found, wish.context_tokens, longest)
    alias = f"{found.run.name}-{found.variant.name}"
    opened: LlamaCppSettings | OpenVinoSettings
    say(f"writing {wish.variant}")
    if isinstance(found.runtime, OpenVinoRuntime):
        asking = prompts.of_folder(found.path, context)
        opened = openvino_target.settings(found, alias, context, asking.template is not None)
        openvino_target.write(found, draft, opened)
        inside, untried = openvino_target.INSIDE, openvino_target.not_verified(opened)
    else:
        asking = prompts.of_gguf(found.path, context, log)
        opened = gguf_target.settings(found, alias, context, asking.template is not None)
        gguf_target.write(found, draft, opened, hashes, known, asking, log)
        inside, untried = gguf_target.INSIDE, gguf_target.NOT_VERIFIED
    for name, there in inside.items():
        shutil.copyfile(INSIDE / name, draft / there)
    (draft / bundle.SETTINGS).write_text(opened.model_dump_json(indent=1) + "\n", encoding="utf-8")
    say(f"recording answers to {len(asking.asked)} prompts with the measured model")
    recorded = replays.record(_opening(found, log), asking.asked, found.run)
    text = bundle.Replays(replays=recorded.replays).model_dump_json()
    (draft / bundle.REPLAYS).write_text(text + "\n", encoding="utf-8")
    manifest = _manifest(found, against, opened, known, hashes, longest, recorded.noise, untried)
    (draft / bundle.CARD).write_text(card.card(manifest), encoding="utf-8")
    manifest = manifest.model_copy(update={"files": bundle.listed(draft)})
    bundle.write_manifest(draft, manifest)
    return manifest


def _manifest(
    found: Source,
    against: tuple[str, ...],
    opened: LlamaCppSettings | OpenVinoSettings,
    known: bundle.License,
    hashes: Hashes,
    longest: int,
    noise: bundle.Noise,
    untried: tuple[str, ...],
) -> Manifest:
    run, variant, file = found.run, found.variant, found.file
    engine = run.openvino if isinstance(opened, OpenVinoSettings) else run.engine
    return Manifest(
        forced=against,
        quantcurve_version=__version__,
        target="openvino" if isinstance(opened, OpenVinoSettings) else "llama.cpp",
        variant=variant.name,
        run=run.name,
        run_key=run.run_key,
        source=run.reference.source,
        reference_precision=run.reference.precision,
        quantization=found.quantization,
        bits_per_weight=file.bits_per_weight,
        size_bytes=file.size_bytes,
        license=known,
        hashes=hashes,
        settings=opened,
        measured_context_tokens=longest,
        measured_on=run.machine.processor,
        noise=noise,
        figures=figures.figures(variant),
        verdicts=figures.verdicts(variant),
        measured_with=(
            f"quantcurve {run.quantcurve_version}",
            *((f"{engine.name} {engine.version}",) if engine else ()),
        ),
        not_verified=untried,
        files=(),
    )


def _hashes(found: Source) -> Hashes:
    run = found.run
    entry = next((e for e in found.recipe.variants.gguf if e.label == found.variant.name), None)
    other = next((e for e in found.recipe.variants.openvino if e.label == found.variant.name), None)
    by_matrix = bool(entry and entry.imatrix)
    calibrated = (by_matrix and not found.recipe.imatrix.file) or bool(other and other.data_aware)
    return Hashes(
        measured=found.file.content_hash,
        reference=run.reference.file.content_hash,
        calibration=run.calibration.content_hash if run.calibration and calibrated else None,
        imatrix=run.imatrix.content_hash if run.imatrix and by_matrix else None,
        recipe=hashlib.sha256(run.recipe_text.encode()).hexdigest(),
    )


def _context(found: Source, asked: int | None, longest: int) -> int:
    """Tokens of the bundle's context; no longer than the model was trained for, where the record says.

    Raises:
        RecipeError: it was not trained for what is asked for.
    """
    config = found.run.scoring_config
    trained = config.trained_context_tokens if isinstance(config, LlamaCppEffective) else 0
    if asked and trained and asked > trained:
        raise RecipeError(f"--context {asked}: the model was trained for {trained:,} tokens; give at most that many")
    wanted = asked or max(longest, LEAST_CONTEXT)
    return min(wanted, trained) if trained else wanted


def _opening(found: Source, log: Path) -> replays.Opening:
    """The measured model as the run opened it."""
    config = found.variant.scoring_config or found.variant.timing_config
    threads = config.threads if config and config.threads else machine.default_threads()
    return replays.Opening(
        path=found.path,
        runtime=found.runtime,
        device=config.device if isinstance(config, LlamaCppEffective) else "cpu",
        threads=threads,
        flash_attention=found.recipe.engine.flash_attention,
        label=found.variant.name,
        log=log,
    )


def _require_device(found: Source, log: Path) -> None:
    """Refuse a variant whose device is not here.

    Raises:
        PrerequisiteError: with the devices that are.
    """
    if isinstance(found.runtime, OpenVinoRuntime):
        with Child("OpenVINO", log) as child:
            there = child.call(openvino_devices.available)
        if reason := openvino_devices.refusal(found.runtime.device, there):
            raise PrerequisiteError(
                f"{found.variant.name}: {reason}; a bundle that cannot be verified is not deployed",
                "run the same command on a machine that has it",
            )
    elif isinstance(found.variant.scoring_config, LlamaCppEffective) and found.variant.scoring_config.device == "gpu":
        llamacpp.require_gpu()
