"""Tables and pictures: what they say, that it fits, and that text from a run is never markup."""

from __future__ import annotations

import io
import re
import struct
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from factories import DEFAULT, Made, estimate, failed_variant, make_run, make_slice
from quantcurve.errors import RecipeError
from quantcurve.estimates import Estimate, Missing
from quantcurve.report import words
from quantcurve.report.labels import Anchor, Box, place_labels
from quantcurve.report.markdown import escape, markdown
from quantcurve.report.picture import save_picture
from quantcurve.report.scene import front_line, scene
from quantcurve.report.table import table
from quantcurve.results import RunResult

EVIL = "[red]x[/red] <b>|`y`"
TEXTS = ("wiki", "code", "deutsch")


def printed(run: RunResult, width: int = 100, colour: bool = False) -> str:
    from rich.console import Console

    out = io.StringIO()
    console = Console(file=out, width=width, no_color=not colour, force_terminal=colour, highlight=False)
    console.print(table(run))
    return out.getvalue()


def row_of(text: str, name: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(name + " "))


@pytest.fixture(scope="module")
def full_run() -> RunResult:
    discarded = Made("Q2_K", 1.4, 70.0, None, decision="discard")
    return make_run((*DEFAULT, discarded), failed=[failed_variant("IQ1_S")], texts=TEXTS, warnings=["too noisy"])


# ---- the terminal ----


@pytest.mark.parametrize("width", [60, 80, 100, 132])
def test_no_line_is_longer_than_the_width_and_no_figure_is_cut(full_run: RunResult, width: int) -> None:
    text = printed(full_run, width)
    assert max(len(line) for line in text.splitlines()) <= width
    assert "…" not in text
    assert "\x1b" not in text


def test_narrow_tables_say_what_they_leave_out(full_run: RunResult) -> None:
    wide, narrow = printed(full_run, 160), printed(full_run, 80)
    assert "Left out" not in wide
    (sentence,) = re.findall(r"Left out at 80 columns: (.*?)\.", " ".join(narrow.split()))
    left_out = sentence.split(", ")
    assert "bits/weight" in left_out
    assert not {"size", "KL mean", "decode", "PPL ratio"} & set(left_out)
    assert "0.0124±0.0005" in row_of(narrow, "Q5_0")
    assert "6.03" in row_of(wide, "Q5_0")
    assert "6.03" not in row_of(narrow, "Q5_0")


def test_rows_are_the_reference_then_variants_by_size(full_run: RunResult) -> None:
    text = printed(full_run)
    names = ["F16", "Q2_K", "Q3_K_S", "IQ4_NL", "Q5_0", "Q5_K_M", "Q4_K_M", "Q8_0", "IQ1_S"]
    places = [text.index(f"\n{name} ") for name in names]
    assert places == sorted(places)


def test_verdicts_and_marks_are_words_without_colour(full_run: RunResult) -> None:
    text = printed(full_run)
    assert re.match(r"Q5_0 +keep +\* ", row_of(text, "Q5_0"))
    assert re.match(r"Q4_K_M +keep +† ", row_of(text, "Q4_K_M"))
    assert re.match(r"IQ4_NL +at line +\* ", row_of(text, "IQ4_NL"))
    assert re.match(r"Q2_K +discard +\d", row_of(text, "Q2_K"))
    assert re.match(r"IQ1_S +failed( +-)+ *$", row_of(text, "IQ1_S"))
    assert "\x1b[" in printed(full_run, colour=True)


def test_notes_say_fallbacks_ties_failures_and_warnings(full_run: RunResult) -> None:
    text = " ".join(printed(full_run, 200).split())
    assert "Q4_K_M: 79 % of weights fell back: 150 tensors q4_K -> q5_0 (78 %), 1 tensor q6_K -> q8_0 (0.64 %)" in text
    assert "Q5_K_M and Q5_0 cannot be told apart in KL divergence." in text
    assert text.count("cannot be told apart") == 1
    assert "IQ1_S: llama.cpp died with signal 6; log: /tmp/quantcurve/IQ1_S.log" in text
    assert "The reference's weights are native." in text
    assert "too noisy" in text
    assert "Q3_K_S (suspect): perplexity of Q3_K_S was screened" in text
    assert "speed of Q2_K: not measured" in text


def test_three_ties_are_one_sentence() -> None:
    made = [Made(name, 0.01, 90, tied_with=tuple({"a", "b", "c"} - {name})) for name in "abc"]
    text = " ".join(printed(make_run(made), 200).split())
    assert "a cannot be told apart in KL divergence from b and c." in text
    assert "b and c cannot be told apart in KL divergence." in text


def test_a_missing_figure_is_a_dash_and_a_reason() -> None:
    text = printed(make_run([Made("a", 0.01, 90, kl_p99=Missing(missing="too few tokens")), Made("b", 0.02, 80)]), 160)
    assert "KL divergence p99 of a: too few tokens" in text
    assert row_of(text, "a").split().count("-") == 1
    assert row_of(text, "b").split().count("-") == 0


def test_texts_come_worst_first(full_run: RunResult) -> None:
    text = printed(full_run, 160)
    part = text[text.index("by text") :]
    assert part.index("\ndeutsch ") < part.index("\ncode ") < part.index("\nwiki ")
    assert "by text" not in printed(make_run(DEFAULT))


def test_figures_by_text_are_whole_at_any_width(full_run: RunResult) -> None:
    wide = printed(full_run, 160).split("by text, worst first")[1].split("Reference")[0]
    figures = re.findall(r"[\d.]+±[\d.]+", wide)
    assert len(figures) == len(TEXTS) * (len(DEFAULT) + 1)
    narrow = printed(full_run, 60)
    assert all(figure in narrow for figure in figures)


def test_one_bad_text_of_one_variant_is_first_although_the_discarded_are_worse() -> None:
    run = make_run([Made("a", 0.01, 90), Made("bad", 1.0, 80, decision="discard")], texts=("wiki", "code"))
    figures = {"a": (0.5, 0.01), "bad": (1.0, 9.0)}
    variants = tuple(
        v.model_copy(
            update={
                "slices": tuple(
                    make_slice(estimate(kl, 0.001), text=t)
                    for kl, t in zip(figures[v.name], ("wiki", "code"), strict=True)
                )
            }
        )
        for v in run.variants
    )
    part = printed(run.model_copy(update={"variants": variants}), 160).split("by text")[1]
    assert part.index("\nwiki ") < part.index("\ncode ")


def test_text_of_a_run_is_not_rich_markup() -> None:
    run = make_run(
        [Made(EVIL, 0.01, 90)], failed=[failed_variant("dead", f"{EVIL} [/]\x1b[31m")], warnings=[f"[/]{EVIL}"]
    )
    text = printed(run, 160)
    assert text.count(EVIL) == 3
    assert "\\x1b[31m" in text
    assert "\x1b" not in text


def test_long_names_and_paths_are_folded_not_cut() -> None:
    name = "a_very_long_name_of_a_variant_" * 4
    text = printed(make_run([Made(name, 0.01, 90)], failed=[failed_variant(name + "2")]), 80)
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "…" not in text


# ---- figures in words ----


@pytest.mark.parametrize(
    ("value", "half", "scale", "expected"),
    [
        (0.01234, 0.00042, 1, "0.0123±0.0004"),
        (0.01234, 0.00142, 1, "0.0123±0.0014"),
        (812.3, 35, 1, "812±35"),
        (0.9712, 0.0031, 100, "97.1±0.3"),
        (40.0, 0.0, 1, "40.0"),
        (0.1 + 0.2, 1e-17, 1, "0.300"),
        (0.0, 0.0, 1, "0.00"),
    ],
)
def test_a_figure_has_the_digits_its_interval_allows(value: float, half: float, scale: float, expected: str) -> None:
    assert words.spread(estimate(value, half), scale) == expected


def test_the_farther_end_is_shown() -> None:
    figure = Estimate(value=40, low=38, high=40.5, n=5, unit="t/s", method="made up")
    assert words.spread(figure) == "40.0±2.0"
    assert words.bounds(figure, unit="t/s") == "40.0 t/s [38.0, 40.5]"


@given(some.floats(-1e6, 1e6), some.floats(0, 1e3))
def test_words_of_a_figure_are_near_it(value: float, half: float) -> None:
    said = words.spread(estimate(value, half))
    number = float(said.split("±")[0])
    assert abs(number - value) <= max(half, 0.01 * abs(value))
    assert "e" not in said


# ---- Markdown ----


def table_lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("|")]


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def test_markdown_has_every_column_with_bounds(full_run: RunResult) -> None:
    lines = table_lines(markdown(full_run))
    header = cells(lines[0])
    assert header[3:] == [
        "size (MiB)", "bits/weight", "PPL ratio", "KL mean (nats)", "KL p99 (nats)", "top-1 (%)", "prefill (t/s)",
        "decode (t/s)", "TTFT (ms)", "latency (ms/token)", "memory (MiB)", "windows", "run as",
    ]  # fmt: skip
    row = next(cells(line) for line in lines if line.startswith("| Q5_0 "))
    assert row[:3] == ["Q5_0", "keep", "\\*"]
    assert row[header.index("KL mean (nats)")] == "0.0124 \\[0.0119, 0.0129\\]"


def test_markdown_rows_have_as_many_cells_as_their_header(full_run: RunResult) -> None:
    evil = make_run([Made(EVIL, 0.01, 90)], texts=("a|b", "<i>"), warnings=["| x | y |"])
    for run in (full_run, evil):
        for block in markdown(run).split("\n\n"):
            assert len({len(cells(line)) for line in table_lines(block)}) <= 1


def test_markdown_and_html_in_a_run_are_escaped() -> None:
    run = make_run([Made(EVIL, 0.01, 90)], warnings=["<script>alert(1)</script>", "# not a heading", "two\n- lines"])
    text = markdown(run)
    assert not re.search(r"<(?!!)[a-z/]", text)
    assert "\\[red\\]x\\[/red\\] &lt;b>\\|\\`y\\`" in text
    assert "- \\# not a heading" in text
    assert "- two - lines" in text
    assert "Q4_K_M" in markdown(make_run(DEFAULT))


@pytest.mark.parametrize(
    ("text", "expected"), [("a_b", "a_b"), ("_a_", "\\_a\\_"), ("-", "-"), ("q4_K -> q5_0", "q4_K -> q5_0")]
)
def test_escaping_leaves_harmless_text_alone(text: str, expected: str) -> None:
    assert escape(text) == expected


# ---- the picture ----


def svg_texts(path: Path) -> list[str]:
    return ["".join(element.itertext()) for element in ET.parse(path).iter("{http://www.w3.org/2000/svg}text")]


def test_svg_names_every_drawn_variant_and_axis_with_units(tmp_path: Path, full_run: RunResult) -> None:
    save_picture(full_run, tmp_path / "curve.svg")
    texts = svg_texts(tmp_path / "curve.svg")
    for made in DEFAULT:
        assert made.name in texts
    assert "Q2_K" not in texts  # was not timed
    assert any("not drawn" in text and "Q2_K and IQ1_S" in text for text in texts)
    assert "decode speed (tokens/s)" in texts
    assert "mean KL divergence (nats/token, log scale)" in texts
    assert any("Xeon" in text and "wiki" in text for text in texts)
    assert {"keep", "at line", "suspect"} <= set(texts)
    assert [path.name for path in tmp_path.iterdir()] == ["curve.svg"]


def test_without_speed_size_is_drawn_and_a_small_spread_is_linear(tmp_path: Path) -> None:
    made = [m._replace(decode_tokens_per_s=None, kl=0.02 + m.kl / 10) for m in DEFAULT]
    save_picture(make_run(made), tmp_path / "curve.svg")
    texts = svg_texts(tmp_path / "curve.svg")
    assert "file size (MiB)" in texts
    assert "mean KL divergence (nats/token)" in texts


def test_names_in_svg_are_text(tmp_path: Path) -> None:
    save_picture(make_run([Made(EVIL, 0.01, 90), Made("b", 0.2, 80)]), tmp_path / "curve.svg")
    assert EVIL in svg_texts(tmp_path / "curve.svg")


def test_png_is_wide_enough_to_read(tmp_path: Path) -> None:
    path = tmp_path / "curve.PNG"
    save_picture(make_run(DEFAULT), path)
    head = path.read_bytes()[:24]
    assert head.startswith(b"\x89PNG")
    assert 1300 <= struct.unpack(">I", head[16:20])[0] <= 1500


@pytest.mark.parametrize("made", [[Made("one", 0.01, 90)], [Made("zero", 0.0, 90, kl_half=0), Made("b", 0.1, 80)],
                                  [Made("negative", 0.001, 90, kl_half=0.01), Made("b", 0.1, 80, kl_half=0.2)],
                                  [Made("zero", 0.0, 90, None, kl_half=0)]])  # fmt: skip
def test_degenerate_ranges_are_drawn(tmp_path: Path, made: list[Made]) -> None:
    save_picture(make_run(made), tmp_path / "curve.svg")
    assert made[0].name in svg_texts(tmp_path / "curve.svg")


@pytest.mark.parametrize("name", ["curve.pdf", "curve"])
def test_other_suffixes_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(RecipeError, match=r"\.svg or \.png") as error:
        save_picture(make_run(DEFAULT), tmp_path / name)
    assert (Path(name).suffix or "without suffix") in str(error.value)


def test_nothing_to_draw_and_nowhere_to_write_are_said(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="nothing to draw"):
        save_picture(make_run([], failed=[failed_variant()]), tmp_path / "curve.svg")
    with pytest.raises(RecipeError, match="cannot be written"):
        save_picture(make_run(DEFAULT), tmp_path / "nowhere" / "curve.svg")


def test_the_front_line_only_improves() -> None:
    made = [
        Made("fast", 0.3, 80, 50.0, on_front=True),
        Made("small", 0.4, 60, 30.0, on_front=True),  # on the front for its size, behind in this plane
        Made("good", 0.1, 90, 40.0, on_front=True),
        Made("dominated", 0.2, 95, 39.0),
    ]
    assert [m.name for m in front_line(scene(make_run(made)))] == ["fast", "good"]


@given(some.lists(some.tuples(some.integers(1, 6), some.integers(1, 6)), min_size=1, max_size=8, unique=True))
def test_labels_collide_with_nothing(grid: list[tuple[int, int]]) -> None:
    anchors = [Anchor(f"Q{i}_K_M", 85.0 * x, 55.0 * y, 9.0) for i, (x, y) in enumerate(grid)]
    plot = Box(0, 0, 620, 400)
    boxes = [place.box for place in place_labels(anchors, plot, 13)]
    marks = [Box(a.x - 9, a.y - 9, a.x + 9, a.y + 9) for a in anchors]
    for i, box in enumerate(boxes):
        assert box.area_outside(plot) < 1e-6
        assert not any(box.overlap(other) for other in [*marks, *boxes[:i]])
