"""Evaluation texts: every source, every way it can be wrong, and the cut into windows."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantcurve import resources, texts
from quantcurve.errors import PrerequisiteError, RecipeError
from quantcurve.recipe import Windows
from quantcurve.recipe_text import Text
from quantcurve.texts import cut, load_text, manifest

TOOLS = Path(__file__).parents[1] / "tools"
STRATA = ("chat", "code", "math_reasoning", "multilingual", "retrieval_long_context", "safety_refusal", "tool_use")
HAS_PYARROW = importlib.util.find_spec("pyarrow") is not None


def load(source: str | Path, field: str | None = None) -> texts.LoadedText:
    return load_text(Text(name="t", source=str(source), field=field), Path("/nowhere"))


def refused(source: str | Path, field: str | None = None) -> str:
    with pytest.raises(RecipeError) as caught:
        load(source, field)
    return str(caught.value)


# ---- embedded texts ----


def test_an_embedded_stratum_is_its_held_out_part():
    held_out, calibration = load("embedded:chat"), load("embedded:chat/calibration")
    assert held_out == load("embedded:chat/held_out")._replace(source="embedded:chat")
    assert held_out.content != calibration.content
    path = resources.folder("calib") / "strata/chat/held_out.jsonl"
    first = json.loads(path.read_text(encoding="utf-8").splitlines()[0])["messages"]
    assert held_out.content.startswith("\n\n".join(m["content"] for m in first))


def test_size_and_hash_are_of_the_text_in_utf8():
    text = load("embedded:multilingual")
    raw = text.content.encode()
    assert len(raw) > len(text.content)
    assert (text.size_bytes, text.content_hash) == (len(raw), hashlib.sha256(raw).hexdigest())


@pytest.mark.parametrize("rest", ["poetry", "chat/test", "", "strata/chat/held_out.jsonl", "../calib"])
def test_an_unknown_stratum_or_part_names_those_there_are(rest):
    text = refused(f"embedded:{rest}")
    assert f"text t: no embedded text {rest!r}" in text
    assert ", ".join(STRATA) in text
    assert "held_out and calibration" in text


def test_the_manifest_describes_the_files_as_they_are():
    folder = resources.folder("calib")
    known = manifest()
    assert {f.path for f in known.files} == {p.relative_to(folder).as_posix() for p in folder.glob("strata/*/*")}, (
        "files and manifest differ"
    )
    for file in known.files:
        raw = (folder / file.path).read_bytes()
        text = load(f"embedded:{file.stratum}/{file.part}")
        assert hashlib.sha256(raw).hexdigest() == file.sha256
        assert (file.items, file.text_bytes) == (len(raw.splitlines()), text.size_bytes)


def test_every_stratum_has_both_parts_of_the_promised_size():
    sizes: dict[str, dict[str, int]] = {}
    for file in manifest().files:
        sizes.setdefault(file.stratum, {})[file.part] = file.text_bytes
    assert sorted(sizes) == sorted(STRATA)
    for stratum, parts in sizes.items():
        assert set(parts) == {"held_out", "calibration"}
        assert 20_000 <= sum(parts.values()) <= 45_000, stratum


def run_make_manifest(calib: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The tool on a copy of calib/, which it finds beside its own folder."""
    tools = calib.parent / "tools"
    tools.mkdir(exist_ok=True)
    shutil.copy(TOOLS / "make_manifest.py", tools)
    command = [sys.executable, str(tools / "make_manifest.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_no_text_is_in_both_parts_and_the_manifest_is_current():
    command = [sys.executable, str(TOOLS / "make_manifest.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture
def calib_copy(tmp_path, monkeypatch):
    copy = shutil.copytree(resources.folder("calib"), tmp_path / "calib")
    monkeypatch.setattr(resources, "folder", lambda name: tmp_path / name)
    return copy


def test_the_check_finds_eight_words_in_both_parts_and_a_stale_manifest(calib_copy):
    assert run_make_manifest(calib_copy, "--check").returncode == 0
    words = "these are exactly eight words in a row"
    item = json.dumps({"messages": [{"role": "user", "content": words}]}) + "\n"
    with (calib_copy / "strata/chat/held_out.jsonl").open("a") as file:
        file.write(item)
    assert run_make_manifest(calib_copy, "--check").returncode == 1, "a stale manifest"
    assert run_make_manifest(calib_copy).returncode == 0
    assert run_make_manifest(calib_copy, "--check").returncode == 0
    with (calib_copy / "strata/code/calibration.jsonl").open("a") as file:
        file.write(item.replace("these", "yes, These"))
    done = run_make_manifest(calib_copy)
    assert done.returncode == 1 and words in done.stderr.casefold()


def test_a_tampered_embedded_file_is_refused(calib_copy):
    assert load("embedded:chat").content
    path = calib_copy / "strata/chat/held_out.jsonl"
    path.write_text(path.read_text().replace("e", "E", 1))
    with pytest.raises(PrerequisiteError, match=r"embedded text chat was changed.*\n  fix: pip install") as caught:
        load("embedded:chat")
    assert "manifest" in str(caught.value)
    assert load("embedded:code").content


@pytest.mark.parametrize("damaged", [None, "{", "{}"])
def test_a_lost_manifest_is_told(calib_copy, damaged):
    path = calib_copy / "manifest.json"
    path.unlink() if damaged is None else path.write_text(damaged)
    with pytest.raises(PrerequisiteError, match="manifest of the embedded texts cannot be read"):
        load("embedded:chat")


def test_an_embedded_file_that_is_gone_is_told(calib_copy):
    (calib_copy / "strata/chat/held_out.jsonl").unlink()
    with pytest.raises(PrerequisiteError, match="fix: pip install"):
        load("embedded:chat")


# ---- other sources ----


def test_pythons_own_topics():
    from pydoc_data.topics import topics

    text = load("pydoc:topics")
    assert text.content.startswith(topics[min(topics)])
    assert len(text.content) == sum(map(len, topics.values())) + 2 * (len(topics) - 1)
    assert text.size_bytes > 400_000
    assert "only pydoc:topics is there" in refused("pydoc:keywords")


def test_a_plain_file_is_read_from_the_recipes_folder(tmp_path):
    (tmp_path / "a.txt").write_text("Grüße\n\nund mehr\n", encoding="utf-8")
    text = load_text(Text(name="t", source="a.txt"), tmp_path)
    assert text.content == load(tmp_path / "a.txt").content == "Grüße\n\nund mehr\n"
    assert text.size_bytes == 18


RECORDS = [{"a": {"b": "first"}, "n": 1}, {"a": {"b": "zweite –"}}]


@pytest.mark.parametrize("suffix", ["jsonl", "ndjson", "json"])
def test_records_are_joined_by_a_nested_field(tmp_path, suffix):
    path = tmp_path / f"x.{suffix}"
    lines = "\n\n".join(json.dumps(r, ensure_ascii=False) for r in RECORDS) + "\n"
    path.write_text(json.dumps(RECORDS) if suffix == "json" else lines, encoding="utf-8")
    assert load(path, "a.b").content == "first\n\nzweite –"


def test_a_json_text_may_hold_any_line_separator(tmp_path):
    content = "one\u2028two\u0085three\x0bfour"
    (tmp_path / "x.jsonl").write_text(json.dumps({"t": content}, ensure_ascii=False) + "\n", encoding="utf-8")
    assert load(tmp_path / "x.jsonl", "t").content == content


def test_records_need_a_field(tmp_path):
    (tmp_path / "x.jsonl").write_text('{"a": "b"}\n')
    assert "has records; name the one with the text, for example `field: text`" in refused(tmp_path / "x.jsonl")


@pytest.mark.parametrize(
    ("name", "raw", "field", "said"),
    [
        ("x.jsonl", b'{"t": "a"}\n\n{"t": \n', "t", "x.jsonl:3: not valid JSON: Expecting value"),
        ("x.json", b'[{"t": "a"},\n {"t" "b"}]', "t", "x.json:2: not valid JSON: Expecting ':' delimiter"),
        ("x.jsonl", b'{"t": "a"}\n{"u": "b", "v": 1}\n', "t", "x.jsonl:2: no field 't' (there is: u, v)"),
        ("x.jsonl", b'{"t": {"u": "b"}}\n', "t.v", "x.jsonl:1: no field 't.v' (there is: u)"),
        ("x.jsonl", b'{"t": "a"}\n', "t.v", "x.jsonl:1: no field 't.v' (there is: str)"),
        ("x.jsonl", b"[1]\n", "t", "x.jsonl:1: no field 't' (there is: list)"),
        ("x.jsonl", b'{"t": 17}\n', "t", "x.jsonl:1: field 't' is no text but 17"),
        ("x.txt", b"", None, "x.txt is empty; give a text with at least two windows"),
        ("x.txt", b" \n\t\n", None, "x.txt is empty"),
        ("x.jsonl", b"", "t", "x.jsonl is empty"),
        ("x.txt", b"abc\xff", None, "x.txt is not UTF-8 (byte 3); convert it"),
        ("x.jsonl", b'{"t": "\xe4"}', "t", "x.jsonl is not UTF-8 (byte 7)"),
        ("x.json", b"[" * 100_000, "t", "x.json: JSON nested too deeply"),
        ("x.jsonl", b"[" * 100_000, "t", "x.jsonl: JSON nested too deeply"),
        ("x.jsonl", b'{"t": "\\ud800"}', "t", "x.jsonl has half a surrogate pair (U+D800)"),
    ],
)
def test_a_bad_file_is_refused_by_name_and_line(tmp_path, name, raw, field, said):
    (tmp_path / name).write_bytes(raw)
    text = refused(tmp_path / name, field)
    assert text.startswith("text t: ")
    assert said in text


def test_what_cannot_be_opened_is_refused_by_path(tmp_path):
    assert f"{tmp_path}/none.txt cannot be read (No such file or directory)" in refused(tmp_path / "none.txt")
    assert "cannot be read (Is a directory)" in refused(tmp_path)
    assert "names no file; write hf:OWNER/NAME[@REVISION]#FILE" in refused("hf:owner/name")


@pytest.mark.skipif(HAS_PYARROW, reason="pyarrow is installed")
def test_parquet_without_pyarrow_names_the_extra(tmp_path):
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    with pytest.raises(PrerequisiteError, match=r"x\.parquet: reading Parquet needs pyarrow") as caught:
        load(tmp_path / "x.parquet", "t")
    assert caught.value.fix == "pip install 'quantcurve[parquet]'"


@pytest.mark.skipif(not HAS_PYARROW, reason="needs pyarrow")
def test_parquet_is_read_and_a_bad_one_refused(tmp_path):
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist(RECORDS), tmp_path / "x.parquet")
    assert load(tmp_path / "x.parquet", "a.b").content == "first\n\nzweite –"
    (tmp_path / "bad.parquet").write_bytes(b"PAR1")
    assert "bad.parquet" in refused(tmp_path / "bad.parquet", "t")


# ---- windows ----


def windows(tokens: int = 16, choose: str = "first") -> Windows:
    return Windows(tokens=tokens, choose=choose)


def test_the_cut_is_llama_perplexitys():
    tokens = np.arange(16 * 5 + 15, dtype=np.int32)
    found = cut("t", tokens, windows(), None, 0)
    assert found.available == 5  # whole windows only: perplexity.cpp, n_chunk_max = tokens.size() / n_ctx
    np.testing.assert_array_equal(found.windows, tokens[:80].reshape(5, 16))
    np.testing.assert_array_equal(cut("t", tokens, windows(), 3, 0).windows, tokens[:48].reshape(3, 16))
    assert cut("t", tokens, windows(), 99, 0).windows.shape == (5, 16)


def test_a_text_too_short_names_tokens_and_what_is_needed():
    assert len(cut("t", np.arange(32), windows(), None, 0).windows) == 2
    with pytest.raises(RecipeError, match="text t: too short: 31 tokens, 2 windows of 16 need 32"):
        cut("t", np.arange(31), windows(), None, 0)


@given(st.integers(2, 40), st.integers(2, 40), st.integers(0, 2**32 - 1))
def test_a_random_choice_is_seeded_sorted_and_without_repeats(available, limit, seed):
    tokens = np.arange(16 * available + 3, dtype=np.int32)
    first, again = (cut("t", tokens, windows(choose="random"), limit, seed) for _ in range(2))
    np.testing.assert_array_equal(first.windows, again.windows)
    assert (first.available, len(first.windows)) == (available, min(limit, available))
    starts = first.windows[:, 0]
    assert np.all(np.diff(starts) > 0) and np.all(starts % 16 == 0)
    np.testing.assert_array_equal(first.windows, starts[:, None] + np.arange(16))


def test_another_seed_chooses_other_windows_from_the_whole_text():
    tokens = np.arange(16 * 100, dtype=np.int32)
    chosen = {tuple(cut("t", tokens, windows(choose="random"), 10, seed).windows[:, 0]) for seed in range(20)}
    assert len(chosen) == 20
    reached = {start // 16 for starts in chosen for start in starts}
    assert len(reached) > 70 and min(reached) < 10 and max(reached) >= 90
