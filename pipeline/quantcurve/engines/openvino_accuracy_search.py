"""What NNCF's accuracy control asks of us, answered from the graphs as they are deployed; runs in a child process (see
child.py)."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from nncf.quantization.algorithms.accuracy_control import openvino_backend

from quantcurve.engines.accuracy_outcome import Settings
from quantcurve.engines.openvino_judged import Judged, key_of, quantizers
from quantcurve.errors import BackendError

REFERENCE = "reference"
"""Key of the float model: it has no quantizers, as has a model with all layers restored."""
SHIFTED = 1.0
"""The reference's mean as NNCF sees it."""


class Raised(BaseException):
    """Carries what a judge raised through NNCF's `except Exception`."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


class OutOfTime(BaseException):
    """The search took as long as it may."""


class Whole(NamedTuple):
    """A validation on all items."""

    seconds: float
    names: frozenset[str]
    """Of the quantizers that the graph has."""
    mean: float


class Items:
    """The numbers of the items as NNCF asks for them (nncf.Dataset)."""

    def __init__(self, numbers: Sequence[int]) -> None:
        self._numbers = numbers
        self.some = False
        """Whether NNCF asked for some only, to rank by."""

    def get_data(self, indices: list[int] | None = None) -> list[int]:
        """Those at given places, or all."""
        self.some = indices is not None
        return list(self._numbers) if indices is None else [self._numbers[i] for i in indices]

    def get_length(self) -> int:
        """Number of items."""
        return len(self._numbers)


class Prepared:
    """In place of NNCF's OVPreparedModel: the graph itself, which is compiled if it has to be judged."""

    def __init__(self, model: Any, use_fp32_precision: bool = True) -> None:
        self.model_for_inference = model

    @property
    def engine(self) -> Any:
        """Would give tensors to rank by."""
        raise BackendError("NNCF fell into its ranking by tensors, which is inverted: please report this")


class Search:
    """Judges the graphs that NNCF asks about, and remembers the best."""

    def __init__(self, judged: Judged, reference: Any, settings: Settings, began: float) -> None:
        """Judge the reference.

        Args:
            judged: by which graphs are judged.
            reference: the float graph, before SmoothQuant.
            settings: budget, limits, and what to judge on.
            began: time.monotonic() of the start.
        """
        self.items = Items(settings.item_numbers)
        self.judged = judged
        self.settings = settings
        self.began = began
        values = settings.reference or judged.values(REFERENCE, reference, settings.item_numbers)
        self._reference = dict(zip(settings.item_numbers, values, strict=True))
        self.reference_mean = mean_of(values)
        self.initial: Any = None
        """The float graph that NNCF gets, with the reference's function."""
        self.whole: list[Whole] = []
        self.plain: Any = None
        self.best: Any = None
        """The first graph within the budget, or the first of those that lose least."""
        self.best_mean = -math.inf
        self.rankings = 0
        self.ranking_validations = 0
        self._ranking = False

    def validation(self, graph: Any, asked: Sequence[int]) -> tuple[float, list[float]]:
        """The function that NNCF calls."""
        try:
            values = self._values(graph, list(asked))
        except Exception as error:
            raise Raised(error) from error
        shift = SHIFTED - self.reference_mean
        return mean_of(values) + shift, [value + shift for value in values]

    def within(self, mean: float) -> bool:
        """Whether a mean is within the budget."""
        return self.reference_mean - mean <= self.settings.max_drop

    def _values(self, graph: Any, numbers: list[int]) -> list[float]:
        if graph is self.initial:
            return [self._reference[number] for number in numbers]
        limit_s = self.settings.max_seconds
        if self.whole and limit_s is not None and time.monotonic() - self.began > limit_s:
            raise OutOfTime
        names = quantizers(graph)
        values = self.judged.values(key_of(names), graph, numbers)
        if self.items.some:
            self.rankings += not self._ranking
            self.ranking_validations += 1
        else:
            self._keep(graph, names, mean_of(values))
        self._ranking = self.items.some
        return values

    def _keep(self, graph: Any, names: frozenset[str], mean: float) -> None:
        self.whole.append(Whole(time.monotonic() - self.began, names, mean))
        self.plain = graph if self.plain is None else self.plain
        if self.best is None or (mean > self.best_mean and not self.within(self.best_mean)):
            self.best, self.best_mean = graph, mean


@contextlib.contextmanager
def prepared_here() -> Iterator[None]:
    """Have NNCF take Prepared; it looks the class up whenever it prepares a model (evaluator.py, prepare_model)."""
    original = openvino_backend.OVPreparedModel
    openvino_backend.OVPreparedModel = Prepared
    try:
        yield
    finally:
        openvino_backend.OVPreparedModel = original


def mean_of(values: Sequence[float]) -> float:
    """Of values, free of rounding on the way."""
    return math.fsum(values) / len(values)
