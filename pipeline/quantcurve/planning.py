"""What a run would do: stages, what is in the store already, and estimates of disk, memory and time. Writes nothing."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from quantcurve import machine, openvino_lane, sources
from quantcurve.engines.child import Child
from quantcurve.errors import BackendError, ModelFileError
from quantcurve.lookup import Known, look_up
from quantcurve.plan_steps import PlannedStep, Rates, Sizes, steps
from quantcurve.recipe import LoadedRecipe, Recipe, at
from quantcurve.records import Frozen
from quantcurve.run import Where, open_session
from quantcurve.session import Session
from quantcurve.stages import scorecard, tasks
from quantcurve.texts import load_texts


class Plan(Frozen):
    """All steps, and the most memory that the run will need at once."""

    name: str
    steps: tuple[PlannedStep, ...]
    memory_bytes: int
    disk_free_bytes: int
    memory_available_bytes: int

    @property
    def seconds(self) -> float:
        """Estimate for what is not in the store, without steps of which nothing is known."""
        return sum(s.seconds or 0.0 for s in self.steps if not s.cached)

    @property
    def disk_bytes(self) -> int:
        """Estimate for what is not in the store."""
        return sum(s.disk_bytes for s in self.steps if not s.cached)


def plan(loaded: LoadedRecipe, where: Where | None = None) -> Plan:
    """Plan a run without making or writing anything.

    Raises:
        RecipeError, PrerequisiteError, ModelFileError: as `run` would before it starts to compute.
    """
    try:
        return _plan(loaded, where or Where())
    except BackendError as error:
        raise type(error)(error.message) from error  # its log went with the temporary folder


def _plan(loaded: LoadedRecipe, where: Where) -> Plan:
    recipe = loaded.recipe
    texts = load_texts(loaded)
    with tempfile.TemporaryDirectory(prefix="quantcurve-plan-") as logs:
        openvino_too = bool(recipe.variants.openvino)
        session = open_session(where._replace(logs=Path(logs)), remember=False, openvino_too=openvino_too)
        openvino_lane.require_devices(loaded, session)
        openvino_lane.require_tools(recipe)
        tasks.check(loaded, session, write=False)
        scorecard.check(loaded)
        with at(loaded, "model", "source"):
            located = sources.locate(recipe.model.source, loaded.path.parent)
        known = look_up(loaded, texts, located, session)
        with at(loaded, "variants", "gguf"):
            sizes = _sizes(located, known, recipe, session)
    rates = measure_rates(session.threads)
    return Plan(
        name=recipe.name,
        steps=tuple(steps(loaded, texts, known, sizes, rates, session)),
        memory_bytes=_memory_bytes(recipe, sizes),
        disk_free_bytes=machine.free_disk_bytes(session.store.folder),
        memory_available_bytes=machine.available_memory_bytes(),
    )


def _memory_bytes(recipe: Recipe, sizes: Sizes) -> int:
    """Most that is needed at once: a model with its buffers, or two float32 copies while an IR is written."""
    most = 8 * sizes.weights if recipe.variants.openvino else int(1.5 * sizes.reference)
    return most + 200 * 2**20


def _sizes(located: sources.Located, known: Known, recipe: Recipe, session: Session) -> Sizes:
    from quantcurve.engines import llamacpp_files, llamacpp_quantize

    labels = [v.label for v in recipe.variants.gguf]
    if located.kind == "hf_folder" and known.reference is None:
        weight_bytes = sum(p.stat().st_size for p in located.path.iterdir() if p.suffix in {".safetensors", ".bin"})
        return Sizes(weight_bytes // 2, weight_bytes, dict.fromkeys(labels, "size known when the model is converted"))
    path = known.reference.path if known.reference else located.path
    specs = [llamacpp_quantize.SizeSpec(v.type, v.tensors, v.imatrix) for v in recipe.variants.gguf]
    with Child("plan", session.log("plan")) as child:
        header = child.call(llamacpp_files.header, path)
        sizes = child.call(llamacpp_quantize.planned_sizes, path, specs)
    weights = sum(t.weights for t in header.tensors)
    reference = known.reference.step.file.size_bytes if known.reference else 2 * weights
    no_tokenizer = _no_tokenizer(path, session) if recipe.variants.openvino and located.kind == "gguf" else ""
    return Sizes(weights, reference, dict(zip(labels, sizes, strict=True)), header.tensors, no_tokenizer)


def _no_tokenizer(path: Path, session: Session) -> str:
    """Why no tokenizer for OpenVINO can be built from a GGUF file; empty if one can."""
    from quantcurve.engines import gguf_tokenizer

    try:
        with Child("tokenizer", session.log("tokenizer")) as child:
            child.call(gguf_tokenizer.check, path)
    except ModelFileError as error:
        return error.message
    return ""


def measure_rates(threads: int) -> Rates:
    """How fast this machine is. The best of several short measurements: the first ones only wake the threads up."""
    side = 512
    matrix, block = np.ones((side, side), np.float32), np.ones(2**24, np.uint8)
    products = min(_seconds(lambda: matrix @ matrix) for _ in range(12))
    copies = min(_seconds(block.copy) for _ in range(4))
    # numpy's matrix product uses all cores this process may run on.
    share = min(1.0, threads / machine.usable_cores())
    return Rates(2 * side**3 / products * share, block.nbytes / copies)


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
