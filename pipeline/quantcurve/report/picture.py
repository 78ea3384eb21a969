"""The trade-off curve as a picture: decode speed (or size) against KL divergence."""

from __future__ import annotations

import math
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from quantcurve import disk
from quantcurve.errors import RecipeError
from quantcurve.report import words
from quantcurve.report.labels import Place
from quantcurve.report.scene import (
    FONT_SIZE,
    HEIGHT,
    LARGEST_MARK,
    WIDTH,
    Mark,
    Scene,
    decode_speed,
    floor_label,
    front_line,
    reference_label,
    scene,
    variant_labels,
)
from quantcurve.results import RunResult

if TYPE_CHECKING:
    import altair as alt

SUBTITLE_CHARACTERS = 112
FAR = 20  # pixels from a mark's edge: a name farther off is joined to it by a line
PNG_SCALE = 2
INK, FAINT = "#333333", "#767676"


class Look(NamedTuple):
    """How a verdict is drawn."""

    verdict: str
    colour: str
    shape: str


LOOKS = (  # colours of Okabe & Ito, told apart with any colour vision
    Look("keep", "#0072B2", "circle"),
    Look("at line", "#CC79A7", "diamond"),
    Look("suspect", "#D55E00", "triangle-up"),
    Look("discard", "#000000", "cross"),
    Look("-", "#767676", "square"),
)


def save_picture(run: RunResult, path: Path) -> None:
    """Write the curve to an .svg or .png file, which appears whole or not at all.

    RecipeError: another suffix, a folder that cannot be written, or no variant has a KL divergence.
    """
    formats: dict[str, Literal["svg", "png"]] = {".svg": "svg", ".png": "png"}
    suffix = path.suffix.lower()
    if suffix not in formats:
        raise RecipeError(f"{path}: pictures are written as .svg or .png, not as {suffix or 'a file without suffix'}")
    scale = PNG_SCALE if suffix == ".png" else 1
    chart = _chart(run, scene(run))
    try:
        with disk.drafted(path) as draft:
            chart.save(str(draft), format=formats[suffix], scale_factor=scale)
    except OSError as error:
        raise RecipeError(f"{path}: the picture cannot be written ({error.strerror})") from error


def _chart(run: RunResult, drawn: Scene) -> alt.LayerChart:
    import altair as alt

    reference = reference_label(run, drawn)
    layers = [
        *_reference_layers(drawn, reference),
        *_floor_layers(drawn),
        _front_layer(drawn),
        *_whisker_layers(drawn),
        *_mark_layers(drawn),
    ]
    for mark, place in zip(drawn.marks, variant_labels(drawn, reference), strict=True):
        layers += _label_layers(mark, place, drawn)
    title = alt.TitleParams(
        words.plain(f"{run.name}: KL divergence against {'decode speed' if drawn.by_speed else 'file size'}"),
        subtitle=_subtitle(run, drawn),
        anchor="start",
        frame="bounds",
        fontSize=17,
        subtitleFontSize=12,
        subtitleColor=INK,
        subtitlePadding=6,
        offset=14,
    )
    chart = alt.layer(*layers).properties(width=WIDTH, height=HEIGHT, title=title, background="white", padding=12)
    legend = {"labelFontSize": 12, "titleFontSize": 12, "orient": "bottom", "direction": "horizontal"}
    made: alt.LayerChart = (
        chart.configure_axis(labelFontSize=12, titleFontSize=FONT_SIZE, gridColor="#e8e8e8", titlePadding=8)
        .configure_legend(**legend)
        .configure_view(stroke="#cccccc")
    )
    return made


def _subtitle(run: RunResult, drawn: Scene) -> list[str]:
    config = run.timing_config or run.scoring_config
    texts = words.listed(tuple(f"{t.name} ({t.windows_used} windows)" for t in run.texts))
    decode = decode_speed(run.reference)
    speed = f"{words.alone(decode)} tokens/s, " if decode else ""
    sizes = sorted(mark.size_mib for mark in drawn.marks)
    engines = words.listed([f"{e.name} {e.version}" for e in (run.engine, run.openvino) if e])
    lines = [
        f"{engines}, {config.threads} threads, {run.machine.processor}; text: {texts}",
        f"reference {run.reference.name}: {speed}{words.mib(run.reference.file.size_bytes)}; "
        f"area of a mark: file size, {sizes[0]:.1f} to {sizes[-1]:.1f} MiB",
        "filled: on the Pareto front of KL, size and speed; dashed: the front in this picture; hollow: not on it, or "
        "discarded; whiskers: intervals",
    ]
    if drawn.floor:
        off = f"{drawn.floor.value:.2g} nats/token off"
        lines.append(f"engine floor: the same weights run exactly by OpenVINO are {off}")
    if drawn.not_drawn:
        lines.append(f"not drawn, for lack of a figure: {words.listed(drawn.not_drawn)}")
    return [part for line in lines for part in textwrap.wrap(words.plain(line), SUBTITLE_CHARACTERS)]


def _x(drawn: Scene, field: str = "x") -> alt.X:
    import altair as alt

    title = "decode speed (tokens/s)" if drawn.by_speed else "file size (MiB)"
    return alt.X(f"{field}:Q", title=title, scale=alt.Scale(domain=[drawn.x.low, drawn.x.high], nice=False, zero=False))


def _y(drawn: Scene, field: str = "kl") -> alt.Y:
    import altair as alt

    kind: Literal["log", "linear"] = "log" if drawn.y.log else "linear"
    scale = alt.Scale(domain=[drawn.y.low, drawn.y.high], nice=False, zero=False, type=kind)
    title = f"mean KL divergence (nats/token{', log scale' if drawn.y.log else ''})"
    return alt.Y(f"{field}:Q", title=title, scale=scale, axis=alt.Axis(format="~g", tickCount=6))


def _data(marks: tuple[Mark, ...]) -> alt.InlineData:
    import altair as alt

    return alt.InlineData(values=[mark._asdict() for mark in marks])


def _front_layer(drawn: Scene) -> alt.Chart:
    import altair as alt

    base = alt.Chart(_data(front_line(drawn))).mark_line(color=FAINT, strokeWidth=1.5, strokeDash=[5, 3], clip=True)
    made: alt.Chart = base.encode(_x(drawn), _y(drawn), order="x:Q")
    return made


def _whisker_layers(drawn: Scene) -> tuple[alt.Chart, alt.Chart]:
    import altair as alt

    base = alt.Chart(_data(drawn.marks)).mark_rule(color=INK, strokeWidth=1.2, clip=True)
    return (
        base.encode(_x(drawn, "x_low"), _y(drawn), x2="x_high:Q"),
        base.encode(_x(drawn), _y(drawn, "kl_low"), y2="kl_high:Q"),
    )


def _mark_layers(drawn: Scene) -> tuple[alt.Chart, alt.Chart]:
    import altair as alt

    looks = [look for look in LOOKS if any(mark.verdict == look.verdict for mark in drawn.marks)]
    names = [look.verdict for look in looks]
    colours = alt.Scale(domain=names, range=[look.colour for look in looks])
    shapes = alt.Scale(domain=names, range=[look.shape for look in looks])
    largest = max(mark.size_mib for mark in drawn.marks)
    sizes = alt.Scale(domain=[0, largest], range=[0, LARGEST_MARK], nice=False)
    encodings = (
        _x(drawn),
        _y(drawn),
        alt.Stroke("verdict:N", scale=colours, title="verdict"),
        alt.Shape("verdict:N", scale=shapes, title="verdict"),
        alt.Size("size_mib:Q", scale=sizes, legend=None),
    )
    front = tuple(mark for mark in drawn.marks if mark.on_front)
    others = tuple(mark for mark in drawn.marks if not mark.on_front)
    solid, hollow = (alt.Chart(_data(marks)).mark_point(strokeWidth=1.8, opacity=1) for marks in (front, others))
    return (
        hollow.encode(*encodings, fill=alt.value("white")),
        solid.encode(*encodings, alt.Fill("verdict:N", scale=colours, title="verdict")),
    )


def _label_layers(mark: Mark, place: Place, drawn: Scene) -> list[alt.Chart]:
    x, y = drawn.x_pixels(mark.x), drawn.y_pixels(mark.kl)
    label = _text(place)
    if math.hypot(place.x - x, place.y - y) - drawn.radius(mark) < FAR:
        return [label]
    return [_line(x, y, place.x, place.y), label]


def _reference_layers(drawn: Scene, label: Place | None) -> list[alt.Chart]:
    if label is None or drawn.reference_x is None:
        return []
    x = drawn.x_pixels(drawn.reference_x)
    return [_line(x, 0, x, HEIGHT), _text(label)]


def _floor_layers(drawn: Scene) -> list[alt.Chart]:
    label = floor_label(drawn)
    if label is None or drawn.floor is None:
        return []
    y = drawn.y_pixels(drawn.floor.value)
    inside = drawn.y.low <= drawn.floor.value <= drawn.y.high
    return [*([_line(0, y, WIDTH, y)] if inside else []), _text(label)]


def _text(place: Place) -> alt.Chart:
    import altair as alt

    row = alt.InlineData(values=[{}])
    base = alt.Chart(row).mark_text(align=place.align, baseline="middle", fontSize=FONT_SIZE, color=INK)
    made: alt.Chart = base.encode(x=alt.value(place.x), y=alt.value(place.y), text=alt.value(place.text))
    return made


def _line(x: float, y: float, x2: float, y2: float) -> alt.Chart:
    import altair as alt

    base = alt.Chart(alt.InlineData(values=[{}])).mark_rule(color=FAINT, strokeWidth=0.8)
    made: alt.Chart = base.encode(x=alt.value(x), y=alt.value(y), x2=alt.value(x2), y2=alt.value(y2))
    return made
