"""What accuracy control judges by: validations with their items, and what the float reference gets of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from quantcurve.encoder_recipe import EncoderValidation
from quantcurve.engines.base import Doubles, OpenVinoConfig, OpenVinoRuntime
from quantcurve.engines.child import Child
from quantcurve.engines.judging import Judge
from quantcurve.errors import RecipeError
from quantcurve.recipe_accuracy import AccuracyControl, Validation
from quantcurve.recipe_openvino import OpenVinoVariant
from quantcurve.records import EngineIdentity, Frozen
from quantcurve.session import Session
from quantcurve.validation_items import Items

STAGE = "accuracy_control"


class JournalInputs(Frozen):
    """What the values in a journal hang on, beside the set of layers that is restored."""

    version: Literal[1] = 1
    model_hash: str
    """Of what layers are restored in."""
    function_hash: str
    items_hash: str
    config: OpenVinoConfig
    engine: EngineIdentity
    packages: tuple[tuple[str, str], ...]
    """That make what is validated."""


class Prepared(NamedTuple):
    """A validation with its items."""

    validation: Validation | EncoderValidation
    items: Items
    function_hash: str
    base: Path
    """Folder of the recipe."""
    context_tokens: int
    """Longest item."""

    @property
    def of_encoder(self) -> bool:
        """Whether it judges an embedding model."""
        return isinstance(self.validation, EncoderValidation)

    @property
    def keeps_reference(self) -> bool:
        """Whether something that the reference gives is kept on disk for the function."""
        validation = self.validation
        return bool(validation.texts) if isinstance(validation, Validation) else validation.built_in

    @property
    def identity(self) -> tuple[str, str]:
        """Hashes of the function and of its items."""
        return self.function_hash, self.items.content_hash()


class ReferenceValues(NamedTuple):
    """What the float reference gets."""

    values: Doubles
    """Of all items, those that the search sees first."""
    judge: Judge


@dataclass
class References:
    """The float reference's values, and what is kept of it on disk, for as long as variants are controlled."""

    source: Path
    """Folder of the float32 IR."""
    session: Session
    stack: ExitStack = field(default_factory=ExitStack)
    known: dict[str, ReferenceValues] = field(default_factory=dict)

    def of(self, prepared: Prepared) -> ReferenceValues:
        """Values on all items of a validation, once its function is shown to give always the same.

        Raises:
            RecipeError: the function fails, or is not deterministic.
            BackendError: OpenVINO failed.
        """
        name = prepared.validation.name
        if name not in self.known:
            folder = self.stack.enter_context(self.session.store.scratch(f"reference-{name}"))
            self.known[name] = self._measured(prepared, folder)
        return self.known[name]

    def _measured(self, prepared: Prepared, folder: Path) -> ReferenceValues:
        from quantcurve.engines import control_child

        every = (*prepared.items.search, *prepared.items.held_out)
        kept = folder if prepared.keeps_reference else None
        judge = Judge(
            prepared.validation.function, prepared.base, every, self.source, kept, encoder=prepared.of_encoder
        )
        config = config_of(OpenVinoRuntime(execution="accuracy"), prepared, self.session)
        with Child(f"reference-{prepared.validation.name}", self.session.log("accuracy_control")) as child:
            child.call(control_child.judge_by, judge)
            found = child.call(control_child.reference_values, self.source, config)
        return ReferenceValues(np.array(found), judge)


@contextmanager
def references(source: Path, session: Session) -> Iterator[References]:
    """The float reference's values, while the block lasts."""
    found = References(source, session)
    with found.stack:
        yield found


def config_of(runtime: OpenVinoRuntime, prepared: Prepared, session: Session) -> OpenVinoConfig:
    """How a model is opened to be validated."""
    plain = runtime.without_generation()
    return OpenVinoConfig(threads=session.threads, window_tokens=prepared.context_tokens, runtime=plain)


class Controlled(NamedTuple):
    """What is controlled, and by what."""

    entry: OpenVinoVariant
    control: AccuracyControl
    prepared: Prepared
    reference: ReferenceValues
    max_drop: float
    """Absolute."""

    @property
    def searched(self) -> int:
        """Number of items that the search sees; the others are held out."""
        return len(self.prepared.items.search)

    @property
    def held_out(self) -> list[int]:
        """Places of the items that only the finished model is judged on."""
        return list(range(self.searched, len(self.reference.values)))


def controlled(entry: OpenVinoVariant, prepared: Prepared, reference: ReferenceValues) -> Controlled:
    """A variant with its budget in the unit of its validation.

    Raises:
        RecipeError: no share can be lost of a reference that has 0.
    """
    control = entry.accuracy_control
    assert control
    mean = float(reference.values[: len(prepared.items.search)].mean())
    if control.drop == "absolute":
        return Controlled(entry, control, prepared, reference, control.max_drop)
    if mean == 0:
        raise RecipeError(
            f"{entry.label}: accuracy_control.drop: relative: {prepared.validation.function} is 0 on the float "
            "reference, so that no share of it can be lost; use drop: absolute"
        )
    return Controlled(entry, control, prepared, reference, control.max_drop * abs(mean))
