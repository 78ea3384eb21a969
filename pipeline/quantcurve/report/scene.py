"""What the trade-off picture shows, and where: marks, axes and labels, before anything is drawn.

Pixels count from the upper left corner of the plot.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

from quantcurve.errors import RecipeError
from quantcurve.estimates import Estimate
from quantcurve.recipe_openvino import FLOOR
from quantcurve.report import words
from quantcurve.report.labels import Anchor, Box, Place, place_labels, placed
from quantcurve.report.rows import judged, kl_mean
from quantcurve.results import ReferenceResult, RunResult, Speed, VariantResult

WIDTH, HEIGHT = 620, 400
FONT_SIZE = 13
SEGMENT_BOXES = 80
LARGEST_MARK = 420  # area in square pixels of the largest file's mark


class Mark(NamedTuple):
    """One variant as it is drawn."""

    name: str
    verdict: str
    size_mib: float
    on_front: bool
    x: float
    """Decode speed, tokens/s, or file size, MiB."""
    x_low: float
    x_high: float
    kl: float
    """Mean KL divergence, nats."""
    kl_low: float
    kl_high: float


class Axis(NamedTuple):
    """A range of values and whether it is logarithmic."""

    low: float
    high: float
    log: bool = False

    def share(self, value: float) -> float:
        """Where a value lies, 0 at the low end to 1 at the high end; values beyond an end are moved to it."""
        inside = min(max(value, self.low), self.high)
        if self.log:
            return math.log(inside / self.low) / math.log(self.high / self.low)
        return (inside - self.low) / (self.high - self.low)


class Scene(NamedTuple):
    """Everything the picture shows."""

    marks: tuple[Mark, ...]
    by_speed: bool
    """Whether x is decode speed; file size if no speed was measured."""
    x: Axis
    y: Axis
    reference_x: float | None
    """Where the reference lies; None if that is unknown or too far off."""
    not_drawn: tuple[str, ...]
    """Variants that lack a figure."""
    floor: Estimate | None = None
    """KL divergence between the two engines on the same weights, where both ran; it has no mark."""

    def x_pixels(self, value: float) -> float:
        """Horizontal place of an x value."""
        return WIDTH * self.x.share(value)

    def y_pixels(self, kl: float) -> float:
        """Vertical place of a KL divergence."""
        return HEIGHT * (1 - self.y.share(kl))

    def radius(self, mark: Mark) -> float:
        """Radius of a mark, whose area is proportional to the file's size."""
        return math.sqrt(LARGEST_MARK / math.pi * mark.size_mib / max(m.size_mib for m in self.marks))


def scene(run: RunResult) -> Scene:
    """Marks and axes of a run; RecipeError if no variant has a KL divergence."""
    floor = _floor(run)
    shown = [v for v in run.variants if v.name != FLOOR or floor is None]
    by_speed = any(decode_speed(v) for v in shown)
    marks = tuple(mark for v in shown if (mark := _mark(v, by_speed)))
    if not marks:
        raise RecipeError(f"{run.name}: nothing to draw, no variant has a KL divergence; the table says why")
    drawn = {mark.name for mark in marks}
    not_drawn = tuple(name for v in shown if (name := words.plain(v.name)) not in drawn)
    reference_x = _reference_x(run.reference, by_speed)
    x = _x_axis(marks, reference_x)
    inside = reference_x is not None and x.low <= reference_x <= x.high
    return Scene(marks, by_speed, x, _y_axis(marks, floor), reference_x if inside else None, not_drawn, floor)


def front_line(drawn: Scene) -> tuple[Mark, ...]:
    """Marks of the front that are the best so far in the two axes drawn, from the best x on."""
    front = (mark for mark in drawn.marks if mark.on_front)
    best_x_first = sorted(front, key=lambda m: (-m.x if drawn.by_speed else m.x, m.kl))
    least_before = [math.inf, *accumulate((m.kl for m in best_x_first), min)]
    return tuple(m for m, least in zip(best_x_first, least_before, strict=False) if m.kl < least)


def variant_labels(drawn: Scene, reference: Place | None) -> tuple[Place, ...]:
    """Places of the variants' names, clear of marks, whiskers, lines, and the names of reference and floor."""
    obstacles = [box for mark in drawn.marks for box in _whiskers(mark, drawn)]
    obstacles += [box for a, b in pairwise(front_line(drawn)) for box in _segment(a, b, drawn)]
    if reference and drawn.reference_x is not None:
        x = drawn.x_pixels(drawn.reference_x)
        obstacles += [reference.box, Box(x - 1, 0, x + 1, HEIGHT)]
    if floor := floor_label(drawn):
        obstacles.append(floor.box)
    anchors = [Anchor(m.name, drawn.x_pixels(m.x), drawn.y_pixels(m.kl), drawn.radius(m)) for m in drawn.marks]
    return place_labels(anchors, Box(0, 0, WIDTH, HEIGHT), FONT_SIZE, obstacles)


def reference_label(run: RunResult, drawn: Scene) -> Place | None:
    """Place of the reference's name, at the top of its line, on the side that has room."""
    if drawn.reference_x is None:
        return None
    text, x = f"reference {words.plain(run.reference.name)}", drawn.x_pixels(drawn.reference_x)
    right = placed(text, x + 5, 12, "left", FONT_SIZE)
    return right if right.box.right <= WIDTH else placed(text, x - 5, 12, "right", FONT_SIZE)


def floor_label(drawn: Scene) -> Place | None:
    """Place of the engine floor's name and value: above its line, or at the lower edge if it lies below that."""
    if drawn.floor is None:
        return None
    kl = drawn.floor.value
    below = ", below the axis" if kl < drawn.y.low else ""
    return placed(f"engine floor {kl:.2g}{below}", WIDTH - 4, drawn.y_pixels(kl) - 9, "right", FONT_SIZE)


def decode_speed(model: VariantResult | ReferenceResult) -> Estimate | None:
    """Tokens per second, if they were measured."""
    figure = model.speed.decode_tokens_per_s if isinstance(model.speed, Speed) else model.speed
    return figure if isinstance(figure, Estimate) else None


def _floor(run: RunResult) -> Estimate | None:
    kl = next((kl_mean(v.overall) for v in run.variants if v.name == FLOOR), None)
    return kl if isinstance(kl, Estimate) else None


def _mark(variant: VariantResult, by_speed: bool) -> Mark | None:
    kl, decode = kl_mean(variant.overall), decode_speed(variant)
    if variant.file is None or not isinstance(kl, Estimate) or (by_speed and decode is None):
        return None
    size_mib = variant.file.size_bytes / words.MIB
    x = (decode.value, decode.low, decode.high) if by_speed and decode else (size_mib, size_mib, size_mib)
    name, verdict = words.plain(variant.name), judged(variant)
    return Mark(name, verdict, size_mib, variant.on_front, *x, kl.value, kl.low, kl.high)


def _reference_x(reference: ReferenceResult, by_speed: bool) -> float | None:
    if not by_speed:
        return reference.file.size_bytes / words.MIB
    decode = decode_speed(reference)
    return decode.value if decode else None


def _x_axis(marks: Sequence[Mark], reference_x: float | None) -> Axis:
    """Range of the marks, with the reference if it no more than doubles that."""
    low, high = min(m.x_low for m in marks), max(m.x_high for m in marks)
    if reference_x is not None and max(high, reference_x) - min(low, reference_x) <= 2 * (high - low):
        low, high = min(low, reference_x), max(high, reference_x)
    margin = 0.08 * (high - low) or 0.1 * abs(high)
    return Axis(max(0.0, low - margin), high + margin)


def _y_axis(marks: Sequence[Mark], floor: Estimate | None) -> Axis:
    """Logarithmic if the values are positive and span more than a factor of ten; else from zero. It reaches up to a
    floor above the marks, but not down to one below them, which would press them together."""
    least, most = min(m.kl for m in marks), max(m.kl for m in marks)
    low, high = min(m.kl_low for m in marks), max(m.kl_high for m in marks)
    high = max(high, floor.value) if floor else high
    if least > 0 and most / least > 10:
        return Axis(max(low, least / 3) / 1.5, high * 1.5, log=True)
    margin = 0.1 * (high - min(low, 0.0)) or 1e-6
    return Axis(low - margin if low < 0 else 0.0, high + margin)


def _whiskers(mark: Mark, drawn: Scene) -> tuple[Box, Box]:
    x, y = drawn.x_pixels(mark.x), drawn.y_pixels(mark.kl)
    across = Box(drawn.x_pixels(mark.x_low), y - 1, drawn.x_pixels(mark.x_high), y + 1)
    return across, Box(x - 1, drawn.y_pixels(mark.kl_high), x + 1, drawn.y_pixels(mark.kl_low))


def _segment(a: Mark, b: Mark, drawn: Scene) -> list[Box]:
    """The line between two marks as small boxes."""
    boxes = []
    for step in range(SEGMENT_BOXES):
        share = (step + 0.5) / SEGMENT_BOXES
        x = drawn.x_pixels(a.x) * (1 - share) + drawn.x_pixels(b.x) * share
        y = drawn.y_pixels(a.kl) * (1 - share) + drawn.y_pixels(b.kl) * share
        boxes.append(Box(x - 2, y - 2, x + 2, y + 2))
    return boxes
