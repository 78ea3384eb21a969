"""The page without a browser: whole, small, escaped, with a policy that its own scripts meet."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from factories import make_run
from page_runs import EVIL, TEXTS, hostile, many, nothing_measured
from quantcurve.errors import RecipeError
from quantcurve.page.curve import AXES, curve
from quantcurve.page.render import PageRun, page, save_page
from quantcurve.pick import pick
from quantcurve.pick_records import Limits
from quantcurve.report import folder
from quantcurve.report.exports import columns, save_table

MIB = 2**20
DEMO = Path(__file__).parent / "data" / "demo" / "results.json"


class Parsed(HTMLParser):
    """Scripts, tables, texts and addresses of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: str = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._open = tag
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append((dict(attrs), ""))

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open == "script":
            attributes, before = self.scripts[-1]
            self.scripts[-1] = (attributes, before + data)
        elif self._open != "style":
            self.text += data


def parsed(*runs: object) -> Parsed:
    return Parsed(page([PageRun(run, f"runs/{i}") for i, run in enumerate(runs)]))  # type: ignore[arg-type]


def test_the_policy_allows_the_pages_own_scripts_and_no_network() -> None:
    found = parsed(make_run())
    policy = next(a["content"] for t, a in found.tags if t == "meta" and a.get("http-equiv"))
    assert policy is not None and policy.startswith("default-src 'none'") and "unsafe-eval" not in policy
    allowed = re.search(r"script-src ([^;]*)", policy)
    assert allowed and "unsafe-inline" not in allowed[1]
    run = [text for attributes, text in found.scripts if "type" not in attributes]
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in run]
    assert len(run) == 2 and all(f"'sha256-{one}'" in allowed[1] for one in hashes)
    targets = {a["id"] for _, a in found.tags if "id" in a}
    assert {str(a["href"])[1:] for t, a in found.tags if t == "a"} <= targets
    assert not [a for _, a in found.tags if "src" in a or a.get("href", "#")[:1] != "#"]  # type: ignore[index]


def test_what_models_and_recipes_say_is_text() -> None:
    html = page([PageRun(hostile(), EVIL)])
    found = Parsed(html)
    assert [t for t, _ in found.tags].count("script") == 4
    assert not [t for t, _ in found.tags if t == "img"] and "{{7*7}}" in found.text and "49" not in found.text[:200]
    assert "window.hacked=1" in found.text, "it is shown as it is"
    data = next(text for attributes, text in found.scripts if attributes.get("id") == "data")
    assert "<" not in data and {p["name"] for p in json.loads(data)["points"]} >= {"Q8_0", "x" * 200}


def test_a_failing_item_is_shown_beside_the_references_answer_with_the_first_difference_marked() -> None:
    html = page([PageRun(hostile(), "runs/x")])
    assert "<pre>{&#34;a&#34;: <mark>1}</mark></pre>" in html
    assert "First other token: number 4 of the answer." in html


def test_the_verdict_and_the_table_need_no_script() -> None:
    run = make_run(texts=TEXTS)
    found = parsed(run)
    name = pick(run, Limits()).name
    assert f"Ship {name}." in found.text and f"quantcurve deploy runs/0 {name} --to deployed/{name}" in found.text
    assert all(variant.name in found.text for variant in run.variants)
    assert len([1 for t, a in found.tags if t == "th" and a.get("scope") == "row"]) > len(run.variants)
    assert "KL mean (nats) by text, worst first" in found.text


@pytest.mark.parametrize("count", [2, 200])
def test_few_and_many_variants(count: int) -> None:
    html = page([PageRun(many(count), "runs/many")])
    assert len(html.encode()) < 3 * MIB
    assert html.count('<tr id="r0v') == count


def test_a_run_without_any_figure_says_so() -> None:
    found = parsed(nothing_measured())
    assert "No variant was measured." in found.text and "There is nothing to draw" in found.text
    assert "Q2_K: llama.cpp died with signal 6" in found.text


def test_several_runs_are_told_apart() -> None:
    found = curve([many(3, "one"), many(4, "two")])
    assert [p.run for p in found.points] == [0] * 3 + [1] * 4
    assert len({p.id for p in found.points}) == 7
    assert found.points[3].tied_with == (found.points[4].id,), "ties stay inside a run"
    text = parsed(many(3, "one"), many(4, "two")).text
    assert text.count("the reference and every variant") == 2


def test_figures_on_the_axes_are_the_records() -> None:
    run = folder.load(DEMO)
    found = curve([run])
    by_name = {v.name: v for v in run.variants}
    at = {axis.key: i for i, axis in enumerate(AXES)}
    assert len(found.points) == len(run.variants) - 1, "the engine floor is a line"
    for point in found.points:
        variant = by_name[point.name]
        kl, size = point.spans[at["kl_mean"]], point.spans[at["size"]]
        assert kl and kl[0] == variant.overall.divergence.kl_mean.value  # type: ignore[union-attr]
        assert size and size[0] == variant.file.size_bytes / MIB  # type: ignore[union-attr]
    assert found.runs[0].floor_nats == by_name["OV-reference"].overall.divergence.kl_mean.value  # type: ignore[union-attr]


def test_a_page_that_cannot_be_written_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(RecipeError, match="the page cannot be written"):
        save_page([PageRun(make_run(), "runs/x")], tmp_path / "taken")
    assert [p.name for p in tmp_path.iterdir()] == ["taken"]


def test_tables_for_other_programs_have_every_model_and_interval(tmp_path: Path) -> None:
    run = hostile()
    save_table(run, tmp_path / "t.csv")
    with (tmp_path / "t.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows][:2] == ["F16", "Q8_0"] and len(rows) == len(run.variants) + 1
    kl = run.variants[0].overall.divergence.kl_mean  # type: ignore[union-attr]
    assert (float(rows[1]["kl_mean_nats"]), float(rows[1]["kl_mean_nats_low"])) == (kl.value, kl.low)  # type: ignore[union-attr]
    assert rows[-1]["kl_mean_nats"] == "" and rows[-1]["status"] == "failed"
    assert float(rows[1]["lost_points[json]"]) == pytest.approx(10)
    with pytest.raises(RecipeError, match=r"not as \.xlsx"):
        save_table(run, tmp_path / "t.xlsx")


def test_parquet_has_the_same_columns(tmp_path: Path) -> None:
    parquet = pytest.importorskip(
        "pyarrow.parquet", reason="pyarrow is not installed: pip install 'quantcurve[parquet]'"
    )
    run = make_run(texts=TEXTS)
    save_table(run, tmp_path / "t.parquet")
    assert parquet.read_table(tmp_path / "t.parquet").column_names == columns(run)


def test_spreadsheets_do_not_take_names_for_formulas(tmp_path: Path) -> None:
    run = make_run(name="=1+1")
    save_table(run, tmp_path / "t.csv")
    assert "\n'=1+1," in (tmp_path / "t.csv").read_text().replace("\r", "")
