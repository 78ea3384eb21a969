"""Places for the names of marks in a picture, such that they cover neither one another nor a mark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

Align = Literal["left", "center", "right"]
CHARACTER_WIDTH = 0.6  # of the font size: the mean of a sans-serif font, rounded up
CLEARANCE = 6.0  # pixels between a name and other marks, lest it be read as theirs


class Box(NamedTuple):
    """A rectangle in pixels, y downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, other: Box) -> float:
        """Area shared with another rectangle, pixels squared."""
        wide = min(self.right, other.right) - max(self.left, other.left)
        high = min(self.bottom, other.bottom) - max(self.top, other.top)
        return wide * high if wide > 0 and high > 0 else 0.0

    def area_outside(self, other: Box) -> float:
        """Area of this one that the other does not cover, pixels squared."""
        return (self.right - self.left) * (self.bottom - self.top) - self.overlap(other)


class Anchor(NamedTuple):
    """A mark that wants its name beside it."""

    name: str
    x: float
    y: float
    radius: float


class Place(NamedTuple):
    """Where a text goes: pixels of its middle line, and which side of the text lies there."""

    text: str
    x: float
    y: float
    align: Align
    box: Box


def place_labels(
    anchors: Sequence[Anchor], plot: Box, font_size: float, obstacles: Sequence[Box] = ()
) -> tuple[Place, ...]:
    """A place for every name, in the order given: of all candidates around a mark the one that covers least.

    obstacles: boxes besides the marks that names keep clear of (whiskers, other text).
    """
    places: list[Place] = []
    for anchor in anchors:
        marks = (_mark_box(other, 0 if other is anchor else CLEARANCE) for other in anchors)
        taken = (*obstacles, *marks, *(place.box for place in places))
        places.append(min(_candidates(anchor, font_size), key=lambda place: _cost(place.box, taken, plot)))
    return tuple(places)


def placed(text: str, x: float, y: float, align: Align, font_size: float) -> Place:
    """A line of text with the room it takes."""
    width = CHARACTER_WIDTH * font_size * len(text)
    left = x - {"left": 0.0, "center": width / 2, "right": width}[align]
    return Place(text, x, y, align, Box(left, y - 0.6 * font_size, left + width, y + 0.6 * font_size))


def _candidates(anchor: Anchor, font_size: float) -> list[Place]:
    """Beside the mark, over and under it, then the corners, then the same farther away."""
    places = []
    for distance in (3.0, 12.0, 24.0, 40.0):
        aside, above = anchor.radius + distance, anchor.radius + distance + 0.6 * font_size
        slant = 0.7 * above
        offsets: tuple[tuple[float, float, Align], ...] = (
            (aside, 0, "left"),
            (-aside, 0, "right"),
            (0, -above, "center"),
            (0, above, "center"),
            (slant, -slant, "left"),
            (slant, slant, "left"),
            (-slant, -slant, "right"),
            (-slant, slant, "right"),
        )
        for dx, dy, align in offsets:
            places.append(placed(anchor.name, anchor.x + dx, anchor.y + dy, align, font_size))
    return places


def _cost(box: Box, taken: Sequence[Box], plot: Box) -> float:
    return sum(box.overlap(other) for other in taken) + 10 * box.area_outside(plot)


def _mark_box(anchor: Anchor, clearance: float) -> Box:
    x, y, radius = anchor.x, anchor.y, anchor.radius + clearance
    return Box(x - radius, y - radius, x + radius, y + radius)
