"""Where a variant of a finished run lies in the store, found by the hash of its content, and the recipe it is from."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from quantcurve import recipe_errors, sources
from quantcurve.engines.base import CacheTypes, OpenVinoRuntime, Runtime
from quantcurve.errors import PrerequisiteError, QuantcurveError, RecipeError
from quantcurve.pick_weigh import NO_VARIANT
from quantcurve.recipe import Recipe
from quantcurve.recipe_openvino import FLOOR
from quantcurve.records import ModelFile
from quantcurve.report.explain import summary
from quantcurve.report.words import listed
from quantcurve.results import RunResult, VariantResult
from quantcurve.store import Store
from quantcurve.store_files import damage

GGUF_STAGES = ("quantize", "resolve")
IR_STAGES = ("compress", "accuracy_control", "export")
GGUF = "model.gguf"


class Source(NamedTuple):
    """What is deployed."""

    run: RunResult
    recipe: Recipe
    variant: VariantResult
    file: ModelFile
    path: Path
    """GGUF file, or an IR's folder."""
    runtime: Runtime
    """How it was run."""
    reference: Path | None
    """GGUF file of the reference, where it is still there."""
    original: Path | None
    """Hugging Face folder that the reference was converted from, where it is still there."""

    @property
    def quantization(self) -> str:
        """Its format as the recipe has it, and the types of its weights, the commonest first."""
        types = ", ".join(f"{t.type} {t.share:.1%}" for t in self.file.types)
        return f"{format_of(self.recipe, self.variant.name)} ({types})"


def find(run: RunResult, place: Path, name: str, store: Store, forced: bool) -> tuple[Source, tuple[str, ...]]:
    """A variant and its files; beside it the reasons against deploying it.

    Args:
        run: the record.
        place: of the run, for messages.
        name: of the variant.
        store: that the run used.
        forced: whether it is deployed all the same.

    Raises:
        RecipeError: there is no such variant, it has no file, or there are reasons against it and it is not forced.
        PrerequisiteError: the store does not have it any more.
    """
    variant = next((v for v in run.variants if v.name == name), None)
    if variant is None:
        raise RecipeError(f"{place}: no variant is called {name}; there are {listed([v.name for v in run.variants])}")
    if variant.file is None or variant.status == "failed":
        raise RecipeError(f"{name}: failed in this run and has no file: {variant.failure}; name another variant")
    against = reasons_against(variant)
    if against and not forced:
        raise RecipeError(
            f"{name}: {'; '.join(against)}; name another variant (`quantcurve pick {place}`), or add --force, which "
            "the manifest and the model card will say"
        )
    openvino = variant.engine == "OpenVINO"
    found = artifact(store, variant.file.content_hash, IR_STAGES if openvino else GGUF_STAGES)
    if found is None or not (openvino or (found / GGUF).is_file()):
        raise PrerequisiteError(
            f"{name}: {store.folder} does not have its files any more, or they are damaged",
            f"quantcurve run {recipe_file(place)}   # makes them again",
        )
    recipe = recipe_of(run, place)
    reference, original = _reference(run, recipe, place, store)
    path = found if openvino else found / GGUF
    return Source(run, recipe, variant, variant.file, path, runtime_of(recipe, name), reference, original), against


def reasons_against(variant: VariantResult) -> tuple[str, ...]:
    """Why a variant is not to be deployed; empty if nothing speaks against it."""
    reasons = []
    if variant.name == FLOOR:
        reasons.append(NO_VARIANT)
    if variant.scorecard and variant.scorecard.verdict.decision == "fail":
        reasons.append(f"breaks the contract: {variant.scorecard.verdict.sentence}")
    if variant.verdict and variant.verdict.decision == "discard":
        reasons.append(f"discarded by the screen: {variant.verdict.sentence}")
    if variant.accuracy_control and variant.accuracy_control.verdict == "fail":
        reasons.append(f"accuracy control failed: {summary(variant.accuracy_control)}")
    return tuple(reasons)


def artifact(store: Store, content_hash: str, stages: tuple[str, ...]) -> Path | None:
    """Folder of the finished step that made a file with this content, if its files are whole."""
    for stage in stages:
        for folder in _steps(store, stage):
            if _file_hash(folder) == content_hash and damage(folder, store.hash_file) is None:
                return folder
    return None


def recipe_of(run: RunResult, place: Path) -> Recipe:
    """The recipe that a run was made with.

    Raises:
        RecipeError: this version does not read it.
    """
    from pydantic import ValidationError

    path = recipe_file(place)
    try:
        return Recipe.model_validate(recipe_errors.parse(path, run.recipe_text))
    except ValidationError as error:
        raise RecipeError(f"{path}: this version does not read the run's recipe; run it again\n  {error}") from error


def recipe_file(place: Path) -> Path:
    """The recipe beside a run's record."""
    return (place if place.is_dir() else place.parent) / "recipe.yaml"


def runtime_of(recipe: Recipe, name: str) -> Runtime:
    """How a variant was run."""
    if name == FLOOR:
        return OpenVinoRuntime(execution="accuracy")
    for entry in recipe.variants.openvino:
        if entry.label == name:
            return entry.as_run
    return next((entry.cache for entry in recipe.variants.gguf if entry.label == name), CacheTypes())


def format_of(recipe: Recipe, name: str) -> str:
    """GGUF type, or weight format of OpenVINO."""
    found = [entry.type for entry in recipe.variants.gguf if entry.label == name]
    found += [entry.weights for entry in recipe.variants.openvino if entry.label == name]
    return found[0] if found else "F32"


def _steps(store: Store, stage: str) -> Iterator[Path]:
    return (p for p in sorted((store.folder / "artifacts" / stage).glob("*")) if p.is_dir())


def _file_hash(folder: Path) -> str | None:
    """Of the model file that a step made."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return str(json.loads((folder / "result.json").read_bytes())["file"]["content_hash"])
    return None


def _reference(run: RunResult, recipe: Recipe, place: Path, store: Store) -> tuple[Path | None, Path | None]:
    """The reference's GGUF file and the folder it came from, as far as they can be found; nothing hangs on them but
    what is said of the licence."""
    located = None
    if not recipe.model.source.startswith("hf:"):  # nothing is downloaded for that
        with contextlib.suppress(QuantcurveError):  # moved, or the recipe lay elsewhere
            located = sources.locate(recipe.model.source, recipe_file(place).parent)
    original = located.path if located and located.kind == "hf_folder" else None
    made = artifact(store, run.reference.file.content_hash, ("resolve",))
    if made and (made / GGUF).is_file():
        return made / GGUF, original
    return (located.path if located and located.kind == "gguf" else None), original
