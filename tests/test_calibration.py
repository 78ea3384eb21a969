"""Calibration sets: the mix, the sources, what is left out, the draw, the windows, and the words about them."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
import time
from io import StringIO
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from rich.console import Console

import tiny
from quantcurve import calibration_sift, near_duplicates, resources
from quantcurve.calibration import (
    EMBEDDED,
    STRATUM_NAMES,
    Calibration,
    CalibrationResult,
    CalibrationSource,
    load_mix,
    mix_path,
)
from quantcurve.calibration_items import NOT_SAID, PIECE_CHARACTERS, Item, boilerplate_of, load_offered, pieces
from quantcurve.calibration_sampling import choose, cut, fill, pack, spread, whole_parts
from quantcurve.calibration_sift import Fate, sift
from quantcurve.calibration_texts import write
from quantcurve.errors import RecipeError
from quantcurve.near_duplicates import NEAR_DUPLICATE, HeldOut, jaccard, runs
from quantcurve.recipe import load
from quantcurve.report.calibration import coverage
from quantcurve.run import Where, open_session
from quantcurve.stages import calibrate, resolve
from quantcurve.texts import load_texts, manifest
from test_chat_template import SMOLLM2, STRICT

SYLLABLES = [a + b for a in "bdfgklmnprstvz" for b in ("a", "e", "i", "o", "u", "an", "el", "or")]
MIXES = sorted(p.stem for p in (resources.folder("calib") / "mixes").glob("*.yaml"))


def prose(seed: int, count: int) -> str:
    draw = random.Random(seed)
    return " ".join("".join(draw.choices(SYLLABLES, k=draw.randint(1, 4))) for _ in range(count))


def changed(text: str, places: range, word: str = "otherwise") -> str:
    words = text.split()
    for place in places:
        words[place] = word
    return " ".join(words)


def chat(user: str, assistant: str, system: str | None = None, **more) -> Item:
    messages = [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]
    return Item(tuple([{"role": "system", "content": system}] * (system is not None) + messages), "", **more)


def fates(items: list[Item], held_out: tuple[str, ...] = ()) -> list[Fate]:
    return [Fate(f) for f in sift(items, held_out)]


# ---- records and mixes ----


def test_the_strata_are_those_that_texts_are_shipped_of():
    shipped = {f.stratum for f in manifest().files}
    assert set(EMBEDDED) == shipped
    assert STRATUM_NAMES[:-1] == EMBEDDED


def test_the_default_mix_has_the_promised_weights():
    mix = load_mix(mix_path("default", Path()))
    assert {s.name: s.weight for s in mix.strata} == {
        "chat": 20,
        "code": 15,
        "math_reasoning": 15,
        "retrieval_long_context": 15,
        "tool_use": 10,
        "safety_refusal": 10,
        "domain": 15,
    }


def test_there_are_three_mixes_and_each_adds_up_to_100():
    assert MIXES == ["coding-assistant", "default", "support-bot"]
    for name in MIXES:
        mix = load_mix(mix_path(name, Path()))
        assert sum(s.weight for s in mix.strata) == 100
        assert [s.name for s in mix.strata if not s.sources] == ["domain"]
        sources = {source.source for s in mix.strata for source in s.sources}
        assert "embedded:multilingual/calibration" in sources
        assert all(source.endswith("/calibration") for source in sources)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("strata:\n  - {name: poetry, weight: 1}", "mix.yaml:2: strata.0.name: must be one of 'chat'"),
        ("strata:\n  - {name: chat, weight: 0}", "mix.yaml:2: strata.0.weight: input should be greater than 0 (got 0)"),
        ("strata:\n  - {name: chat, weight: -3}", "strata.0.weight: input should be greater than 0 (got -3)"),
        ("strata:\n  - {name: chat, weight: .nan}", "strata.0.weight"),
        ("strata:\n  - {name: chat, wieght: 3}", "strata.0.wieght: unknown key (got 3); did you mean weight?"),
        ("strata:\n  - {name: chat, weight: 1}\n  - {name: chat, weight: 2}", "mix.yaml:1: strata: named twice: chat"),
        ("strata: []", "mix.yaml:1: strata"),
        ("weights: {}", "strata: required key is missing"),
        ("- chat", "mix.yaml:1:"),
        ("strata: [", "not valid YAML"),
        ("strata: [{name: chat, weight: 1, sources: [{source: a, share: 0}]}]", "strata.0.sources.0.share"),
    ],
)
def test_a_bad_mix_is_refused_by_line_and_key(tmp_path, text, said):
    path = tmp_path / "mix.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError) as caught:
        load_mix(path)
    assert said in str(caught.value)


def test_an_unknown_mix_names_those_there_are(tmp_path):
    with pytest.raises(RecipeError, match=r"no mix 'suport-bot': there are coding-assistant, .* mean support-bot\?"):
        mix_path("suport-bot", tmp_path)
    assert mix_path("own/mix.yaml", tmp_path) == tmp_path / "own/mix.yaml"
    with pytest.raises(RecipeError, match="the mix cannot be read"):
        load_mix(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"tokens": 4000}, r"tokens \(4000\) must be at least 4096, 8 windows of 512"),
        ({"window_tokens": 8}, "window_tokens"),
        ({"sources": [{"name": "a", "source": "x", "stratum": "poetry"}]}, "sources.0.stratum"),
        ({"sources": [{"name": "a", "source": "x"}, {"name": "a", "source": "y"}]}, "named twice: a"),
        ({"sources": [{"name": "a", "source": "x", "share": 0}]}, "sources.0.share"),
        ({"sources": [{"name": "a/b", "source": "x"}]}, "sources.0.name"),
    ],
)
def test_bad_settings_are_refused(settings, said):
    with pytest.raises(ValidationError, match=said):
        Calibration.model_validate(settings)


# ---- near-duplicates and overlap ----


def test_a_changed_word_leaves_a_near_duplicate_and_a_third_of_them_does_not():
    text = prose(1, 60)
    items = [Item((), text), Item((), changed(text, range(30, 31))), Item((), changed(text, range(0, 60, 3)))]
    assert fates(items) == [Fate.KEPT, Fate.NEAR_DUPLICATE, Fate.KEPT]


def test_case_and_white_space_do_not_tell_texts_apart():
    text = prose(2, 30)
    items = [Item((), text), Item((), text.upper().replace(" ", "\n ", 3)), Item((), prose(3, 30))]
    assert fates(items) == [Fate.DUPLICATE if i == 1 else Fate.KEPT for i in range(3)]


def test_a_shared_system_prompt_makes_no_duplicates_and_no_leak():
    prompt = prose(4, 200)
    items = [chat(f"question {i} {prose(i, 3)}?", prose(100 + i, 12), prompt) for i in range(20)]
    assert fates(items, (prompt + "\n\n" + prose(5, 50),)) == [Fate.KEPT] * 20
    assert boilerplate_of(items) == {prompt}
    again = chat(items[0].messages[1]["content"], items[0].messages[2]["content"], prompt)
    assert fates([*items, again])[-1] is Fate.DUPLICATE
    alone = chat("what does it say?", "much", prompt)
    assert fates([alone], (prompt,)) == [Fate.OVERLAPPING], "a system message of one item is its content"


def test_texts_that_share_half_of_their_words_are_both_kept():
    block = prose(6, 100)
    assert fates([Item((), f"{block} {prose(i, 100)}") for i in (7, 8)]) == [Fate.KEPT] * 2


def test_short_sums_that_differ_in_a_sign_are_both_kept():
    assert fates([chat("3 + 4?", "7"), chat("3 - 4?", "7")]) == [Fate.KEPT] * 2


@pytest.mark.parametrize(
    ("item", "overlaps"),
    [
        (prose(10, 20) + " " + " ".join(prose(9, 100).split()[40:48]) + " " + prose(11, 20), True),
        (prose(10, 20) + " " + " ".join(prose(9, 100).split()[40:47]) + " " + prose(11, 20), False),
        (" ".join(prose(9, 100).split()[10:15]).upper(), True),
        (" ".join(prose(9, 100).split()[10:13]), False),
        (prose(12, 5), False),
        ("", False),
    ],
)
def test_eight_words_in_a_row_overlap_and_so_does_a_short_text_that_stands_there(item, overlaps):
    assert HeldOut([prose(9, 100), prose(13, 50)]).overlaps(item) is overlaps


HELD_OUT_CJK = (
    "上午有云。今天天气很好，我们去公园。晚上回家吃饭。谢谢！\n\n"
    "山の上に、小さな茶屋があった。冒険家はPythonで地図を描き、道に迷うことがなかった。\n\n"
    "วันนี้อากาศดีมากเราจะไปสวนสาธารณะ ขอบคุณครับ\n"
)


@pytest.mark.parametrize(
    ("item", "overlaps"),
    [
        ("今天天气很好，我们去公园。", True),  # a whole short text that stands there
        ("今天天气 很好 我们去公园", True),  # other signs between
        ("今天天气很好，我们去海边。", False),  # six of eleven characters
        ("谢谢！", False),  # said everywhere
        ("晚上回家吃饭。", False),
        ("前置：有云。今天天气很好，我们去公园。晚上回家吃饭。谢幕", True),  # twenty across signs
        ("不然我们也可以在家里看书；今天天气很好，我们去游泳。", False),  # ten in a long one
        ("冒険家はＰｙｔｈｏｎで地図を描き", True),  # full-width letters
        ("วันนี้อากาศดีมาก", True),
        ("ขอบคุณครับ", False),
    ],
)
def test_scripts_without_spaces_overlap_by_characters(item, overlaps):
    assert HeldOut([prose(9, 100), HELD_OUT_CJK]).overlaps(item) is overlaps


def test_words_between_characters_do_not_run_together():
    held_out = "新的 AI 和旧 AI 不同， AI 会 AI 的事 AI 再 AI 学 AI 一遍 AI"
    assert not HeldOut([held_out]).overlaps("人对 AI 说 AI 想 AI 在 AI 里 AI 看 AI 到 AI ， AI 来了")


@pytest.mark.parametrize("text", ["yes", "Thank you!", "谢谢", "❤️ ❤️ ❤️ ❤️", "?"])
def test_what_is_said_everywhere_is_left_out_only_where_it_is_all_that_is_held_out(text):
    assert not HeldOut([prose(9, 100), f"{prose(13, 50)} {text} {prose(14, 50)}", f"q\n\n{text}\n"]).overlaps(text)
    assert HeldOut([prose(9, 100), f" {text.upper()}\n"]).overlaps(text)


def test_short_replies_do_not_empty_a_set():
    held_out = f"{prose(16, 30)}\n\nyes\n\n谢谢\n\n今天天气很好，我们去公园。"
    items = [Item((), t) for t in ("yes", "谢谢", "今天天气很好，我们去公园。", "今天下雨，我们在家看书。")]
    assert fates(items, (held_out,)) == [Fate.KEPT, Fate.KEPT, Fate.OVERLAPPING, Fate.KEPT]


def test_marks_belong_to_their_letters():
    assert near_duplicates.units("Cafe\u0301 हिन्दी, ขอบคุณ ❤️").texts == [
        *("café", "हिन्दी"),
        *("ข", "อ", "บ", "คุ", "ณ"),
    ]


def test_nearly_the_same_text_without_spaces_is_found():
    text = "".join(chr(0x4E00 + 7 * i) for i in range(120))
    items = [Item((), text), Item((), text[:60] + "字" + text[61:]), Item((), text[::-1])]
    assert fates(items) == [Fate.KEPT, Fate.NEAR_DUPLICATE, Fate.KEPT]


def test_an_item_that_holds_a_held_out_text_is_left_out():
    text = prose(14, 60)
    assert fates([Item((), text), Item((), prose(15, 60))], (prose(16, 30) + " " + text,)) == [
        Fate.OVERLAPPING,
        Fate.KEPT,
    ]


word = st.sampled_from(["a", "b", "c", "dd", "日本", "é"])


@settings(max_examples=60, deadline=None, derandomize=True)  # a pair at 0.7 is missed once in 5000
@given(st.lists(st.lists(word, min_size=5, max_size=14).map(" ".join), max_size=12))
def test_near_duplicates_are_those_that_all_pairs_give(texts):
    shingles = [calibration_sift._shingles(t) for t in texts]
    kept: list[int] = []
    for i, own in enumerate(shingles):
        if all(jaccard(own, shingles[j]) < NEAR_DUPLICATE for j in kept):
            kept.append(i)
    found = near_duplicates.near_duplicates(shingles)
    assert np.flatnonzero(~found).tolist() == kept


def test_similarity_is_that_of_the_sets_of_runs():
    a, b = prose(20, 40).split(), prose(20, 40).split()
    b[10] = "otherwise"
    sets = [{tuple(w[i : i + 5]) for i in range(36)} for w in (a, b)]
    expected = len(sets[0] & sets[1]) / len(sets[0] | sets[1])
    assert jaccard(runs(" ".join(a), 5, 12), runs(" ".join(b), 5, 12)) == pytest.approx(expected)


def test_thousands_of_texts_are_compared_in_seconds():
    block = prose(30, 60)
    shingles = [runs(f"{block} {prose(i, 60)}", 5, 12) for i in range(2000)]
    started = time.perf_counter()
    assert not near_duplicates.near_duplicates([*shingles, *shingles[:5]])[:2000].any()
    assert time.perf_counter() - started < 30


# ---- the draw ----


def test_what_an_absent_stratum_was_given_is_spread_in_proportion():
    shares = spread([20, 15, 15, 15, 10, 10, 15], [True] * 6 + [False])
    assert shares.sum() == pytest.approx(1)
    assert shares[-1] == 0 and shares[0] == pytest.approx(20 / 85) and shares[0] / shares[4] == pytest.approx(2)


positive = st.floats(1e-3, 1e3)


@given(st.lists(positive, min_size=1, max_size=8), st.integers(0, 10**6))
def test_whole_parts_add_up_and_are_within_one(shares, total):
    parts = whole_parts(np.array(shares), total)
    exact = np.array(shares) / sum(shares) * total
    assert parts.sum() == total and np.all(np.abs(parts - exact) < 1 + 1e-6)


@given(st.lists(st.tuples(positive, st.integers(0, 5000)), min_size=1, max_size=6), st.integers(0, 20_000))
def test_short_sources_are_filled_up_by_the_others(sources, total):
    shares, available = np.array([s for s, _ in sources]), [n for _, n in sources]
    given_ = fill(shares, available, total)
    assert np.all(given_ <= available) and given_.sum() == min(total, sum(available))
    open_ = [i for i, n in enumerate(available) if given_[i] < n]
    for i in open_:  # whoever has more to give gives at least its share of what is asked
        assert given_[i] >= np.floor(shares[i] / shares.sum() * total) - len(sources)


lengths_ = st.lists(st.integers(1, 900), max_size=60).map(lambda x: np.array(x, np.int64))


@given(lengths_, st.integers(0, 20_000), st.integers(0, 5))
def test_a_draw_meets_its_budget_and_repeats_nothing(lengths, budget, seed):
    chosen = choose(lengths, budget, np.random.default_rng(seed))
    assert len(set(chosen.items.tolist())) == len(chosen.items)
    assert chosen.tokens.sum() == min(budget, lengths.sum())
    assert np.all(chosen.tokens[:-1] == lengths[chosen.items[:-1]]), "only the last item is cut short"
    again = choose(lengths, budget, np.random.default_rng(seed))
    assert again.items.tolist() == chosen.items.tolist()


def test_each_class_of_length_is_drawn_from_in_turn():
    lengths = np.random.default_rng(0).permutation(
        np.r_[np.full(50, 20), np.full(50, 100), np.full(50, 400), [900] * 50]
    )
    chosen = choose(lengths.astype(np.int64), 20_000, np.random.default_rng(1))
    drawn = lengths[chosen.items]
    counts = [int(np.sum(drawn == n)) for n in (20, 100, 400, 900)]
    assert max(counts) - min(counts) <= 1 and min(counts) >= 13
    assert drawn[0] == 900, "a small set has a long item too"
    few = choose(lengths.astype(np.int64), 1420, np.random.default_rng(1))
    assert sorted(lengths[few.items]) == [20, 100, 400, 900]


texts_ = st.lists(st.lists(st.integers(0, 9), max_size=30).map(lambda x: np.array(x, np.int32)), max_size=10)


@given(texts_, st.integers(2, 12), st.sampled_from([None, 0]))
def test_windows_hold_the_texts_in_order(texts, window, bos):
    packed = pack(texts, window, bos)
    stream = [int(t) for text in texts for t in text]
    assert packed.windows.shape == packed.owners.shape and packed.windows.shape[1] == window
    own = packed.windows[packed.owners >= 0].tolist()
    assert own == stream[: len(own)]
    assert len(stream) - len(own) < window, "less than a window is dropped"
    assert packed.owners[packed.owners >= 0].tolist() == [i for i, t in enumerate(texts) for _ in t][: len(own)]
    if bos is None:
        assert np.all(packed.owners >= 0)
    else:
        assert np.all(packed.windows[:, 0] == bos) and np.all(packed.owners[:, 1:] >= 0)


@given(st.integers(1, 1000), st.integers(1, 300))
def test_pieces_cover_an_item(length, most):
    found = cut(length, most)
    assert found[0][0] == 0 and found[-1][1] == length
    assert all(a[1] == b[0] for a, b in pairwise(found))
    assert all(stop - start == most for start, stop in found[:-1])


# ---- reading sources ----


def lines(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), encoding="utf-8")
    return path


RECIPE = """name: t
model: {source: model.gguf}
texts:
  - {name: e, source: evaluation.txt}
variants: {gguf: [Q8_0]}
"""


class Place:
    """A recipe's folder with a mix of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "recipe.yaml").write_text(RECIPE)
        (folder / "evaluation.txt").write_text(prose(999, 400))

    def mix(self, **weights: float) -> str:
        """One source STRATUM.jsonl for each stratum that has such a file."""
        rows = []
        for name, weight in weights.items():
            has = (self.folder / f"{name}.jsonl").exists()
            sources = f", sources: [{{source: {name}.jsonl}}]" if has else ""
            rows.append(f"  - {{name: {name}, weight: {weight}{sources}}}\n")
        (self.folder / "own.yaml").write_text("strata:\n" + "".join(rows))
        return "own.yaml"

    def write(self, name: str, items: list[tuple[str, str]] | list[dict]) -> None:
        rows = [i if isinstance(i, dict) else {"messages": list(chat(*i).messages)} for i in items]
        lines(self.folder / f"{name}.jsonl", rows)

    def offered(self, settings: Calibration):
        loaded = load(self.folder / "recipe.yaml")
        return load_offered(loaded, settings, load_texts(loaded))

    def make(self, settings: Calibration, session, seed: int = 0) -> calibrate.Calibrated:
        loaded = load(self.folder / "recipe.yaml")
        reference = resolve.resolve(loaded.recipe.model, self.folder, session)
        return calibrate.calibrate(self.offered(settings), settings, seed, reference, session)


@pytest.fixture
def place(tmp_path) -> Place:
    return Place(tmp_path)


def source_of(place: Place, **entry):
    settings = Calibration(sources=(CalibrationSource(name="own", **entry),))
    return place.offered(settings).sources[-1]


def refused(place: Place, **entry) -> str:
    with pytest.raises(RecipeError) as caught:
        source_of(place, **entry)
    return str(caught.value)


def test_records_have_a_text_or_messages(place):
    rows = [{"messages": [{"role": "user", "content": "hi"}], "tools": [{"name": "f"}], "language": "de"}]
    lines(place.folder / "x.jsonl", rows)
    item = source_of(place, source="x.jsonl").items[0]
    assert (item.messages, item.tools, item.language) == (tuple(rows[0]["messages"]), ({"name": "f"},), "de")
    lines(place.folder / "y.jsonl", [{"a": {"b": "text"}}, {"a": {"b": " "}}])
    assert source_of(place, source="y.jsonl", field="a.b").items == (Item((), "text", language=NOT_SAID),)


def test_plain_text_is_cut_between_paragraphs(place):
    paragraphs = [prose(i, 60) for i in range(100)]
    (place.folder / "x.txt").write_text("\n\n".join(paragraphs))
    found = [item.text for item in source_of(place, source="x.txt").items]
    assert len(found) > 3 and max(map(len, found)) <= PIECE_CHARACTERS
    assert all(any(p in piece for piece in found) for p in paragraphs)
    assert [len(p) for p in pieces("x" * (2 * PIECE_CHARACTERS + 5))] == [PIECE_CHARACTERS] * 2 + [7]


def test_embedded_items_are_chats_with_a_language(place):
    sources = place.offered(Calibration()).sources
    assert [s.stratum for s in sources] == [
        "chat",
        *[s.name for s in load_mix(mix_path("default", Path())).strata[:-1]],
    ]
    items = [item for source in sources for item in source.items]
    assert len(items) == 152 and all(item.messages and not item.text for item in items)
    assert len({item.language for item in items}) == 23
    assert sum(item.uses_tools for item in items) == 10


@pytest.mark.parametrize(
    ("raw", "field", "said"),
    [
        ('{"t": 1}', "t", "x.jsonl:1: field 't' is no text but 1"),
        ('{"t": "a"}\n{"u": "b"}', "t", "x.jsonl:2: no field 't' (there is: u)"),
        ('{"t": "a"}', None, "has records; name the one with the text, for example `field: text`"),
        ('{"m": []}', "m", "x.jsonl:1: field 'm' has no messages"),
        (
            '{"m": [{"role": "user"}]}',
            "m",
            "has a message that is not {role: TEXT, content: TEXT} but {'role': 'user'}",
        ),
        ('{"m": [{"from": "human", "value": "x"}]}', "m", "has a message that is not"),
        ('{"m": ["x"]}', "m", "has a message that is not"),
        ('{"m": [{"role": "assistant", "tool_calls": "x"}]}', "m", "has a message that is not"),
        ('{"m": [{"role": "user", "content": [{"type": "image"}]}]}', "m", "has a message that is not"),
        ('{"t": " "}', "t", "calibration source own: x.jsonl has no texts"),
        ('{"t": "\\ud800"}', "t", "has half a surrogate pair"),
        ("", "t", "calibration source own: x.jsonl has no texts"),
        ("{", "t", "x.jsonl:1: not valid JSON"),
    ],
)
def test_a_bad_source_is_refused_by_name_and_line(place, raw, field, said):
    (place.folder / "x.jsonl").write_text(raw)
    text = refused(place, source="x.jsonl", field=field)
    assert text.startswith(f"{place.folder / 'recipe.yaml'}:1: calibration.sources.0.source: ")
    assert said in text


def test_other_wrong_sources_are_refused(place):
    assert "cannot be read (No such file" in refused(place, source="none.jsonl")
    assert "no embedded text 'poetry'" in refused(place, source="embedded:poetry")
    text = refused(place, source="embedded:chat/calibration", stratum="multilingual")
    assert "calibration.sources.0.stratum: the mix default has no stratum 'multilingual' (it has chat, code" in text


def test_a_mix_without_any_text_is_refused(place):
    with pytest.raises(RecipeError, match=r"calibration\.mix: the mix own names no texts"):
        place.offered(Calibration(mix=place.mix(domain=1)))


def test_large_sources_are_sampled(place, monkeypatch):
    monkeypatch.setattr("quantcurve.calibration_items.MOST_ITEMS", 10)
    lines(place.folder / "x.jsonl", [{"t": f"text {i}"} for i in range(50)])
    source = source_of(place, source="x.jsonl", field="t")
    assert (len(source.items), source.records) == (10, 50)
    assert source.items == source_of(place, source="x.jsonl", field="t").items


# ---- the set ----

SMALL = {"window_tokens": 64, "tokens": 64 * 40}


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    return open_session(Where(threads=1, cache=tmp_path_factory.mktemp("calibration")))


def write_model(path: Path, monkeypatch: pytest.MonkeyPatch, template: str | None, add_bos: bool = False) -> None:
    plain = tiny._add_tokenizer

    def with_template(writer, vocab, add_bos):
        plain(writer, vocab, add_bos)
        if template:
            writer.add_chat_template(template)

    with monkeypatch.context() as patch:
        patch.setattr(tiny, "_add_tokenizer", with_template)
        tiny.write_tiny_llama(path, add_bos=add_bos)


TEMPLATE = "{% for m in messages %}<|start|>{{ m.role }}\n{{ m.content }}<|end|>{% endfor %}"


@pytest.fixture
def tiny_place(place, monkeypatch) -> Place:
    write_model(place.folder / "model.gguf", monkeypatch, TEMPLATE)
    place.write("chat", [(prose(i, 8), prose(100 + i, 4 + i)) for i in range(40)])
    place.write("code", [(prose(200 + i, 8), prose(300 + i, 20)) for i in range(40)])
    return place


@pytest.mark.real
def test_a_set_has_the_wanted_shares_and_is_the_same_again(tiny_place, session):
    asked = Calibration(mix=tiny_place.mix(chat=3, code=1), **SMALL)
    made = tiny_place.make(asked, session)
    assert made.windows.shape == (40, 64) and made.windows.dtype == np.int32
    assert [round(s.reached_share, 2) for s in made.result.strata] == [0.75, 0.25]
    assert made.result.chat_template == "model"
    again = tiny_place.make(asked, open_session(Where(threads=1, cache=tiny_place.folder / "other")))
    assert again.result == made.result and np.array_equal(again.windows, made.windows)
    other = tiny_place.make(asked, session, seed=1)
    assert other.result.content_hash != made.result.content_hash
    assert other.windows.shape == made.windows.shape


@pytest.mark.real
def test_a_set_is_found_again_and_a_changed_text_is_another_set(tiny_place, session):
    asked = Calibration(mix=tiny_place.mix(chat=3, code=1), **SMALL)
    made = tiny_place.make(asked, session)
    reference = resolve.resolve(load(tiny_place.folder / "recipe.yaml").recipe.model, tiny_place.folder, session)
    reference_hash = reference.step.file.content_hash
    found = calibrate.find(tiny_place.offered(asked), asked, 0, reference_hash, session)
    assert found and found.result == made.result
    (tiny_place.folder / "evaluation.txt").write_text(prose(998, 400))
    assert calibrate.find(tiny_place.offered(asked), asked, 0, reference_hash, session) is None


@pytest.mark.real
def test_control_tokens_of_the_template_are_single_tokens(tiny_place, session):
    made = tiny_place.make(Calibration(mix=tiny_place.mix(chat=3, code=1), **SMALL), session)
    counts = {t.text: t.count for t in made.result.special_tokens}
    assert set(counts) == {"<|start|>", "<|end|>"}
    assert counts["<|start|>"] == int(np.sum(made.windows == 1)) > 20
    assert made.result.special_tokens_missing == ()


@pytest.mark.real
def test_what_is_planted_is_left_out_and_counted(tiny_place, session):
    rows = [(prose(i, 8), prose(100 + i, 40)) for i in range(30)]
    near = (rows[5][0], changed(rows[5][1], range(20, 21)))
    leak = (prose(500, 8), " ".join(prose(999, 400).split()[100:120]))
    tiny_place.write("chat", [*rows, rows[3], near, leak])
    asked = Calibration(mix=tiny_place.mix(chat=1, code=1), **SMALL)
    chats, code = tiny_place.make(asked, session).result.strata
    assert (chats.offered, chats.duplicates, chats.near_duplicates, chats.overlapping) == (33, 1, 1, 1)
    assert (code.duplicates, code.near_duplicates, code.overlapping, code.refused) == (0, 0, 0, 0)


@pytest.mark.real
def test_a_short_stratum_is_said_and_nothing_is_repeated(tiny_place, session):
    tiny_place.write("code", [(prose(200, 8), prose(300, 40))])
    result = tiny_place.make(Calibration(mix=tiny_place.mix(chat=1, code=1), **SMALL), session).result
    code = result.strata[1]
    assert code.used == 1 and code.reached_share < 0.25 and code.wanted_share == 0.5
    said = f"code: its texts have {code.available_tokens:,} of 1,280 tokens wanted, and none is repeated"
    assert said in result.notes and not any(n.startswith("chat") for n in result.notes)
    assert code.tokens == code.available_tokens


@pytest.mark.real
def test_a_domain_without_texts_is_spread_aloud_and_one_with_texts_is_used(tiny_place, session):
    mix = tiny_place.mix(chat=2, code=1, domain=1)
    result = tiny_place.make(Calibration(mix=mix, **SMALL), session).result
    assert [round(s.wanted_share, 3) for s in result.strata] == [0.667, 0.333, 0]
    assert any(
        n.startswith("no texts of your own domain: its 25 % are spread over the other strata") for n in result.notes
    )
    lines(tiny_place.folder / "own.jsonl", [{"t": prose(700 + i, 30)} for i in range(30)])
    own = CalibrationSource(name="own", source="own.jsonl", field="t")
    result = tiny_place.make(Calibration(mix=mix, sources=(own,), **SMALL), session).result
    assert result.strata[2].reached_share == pytest.approx(0.25, abs=0.02)
    assert not any("domain" in n for n in result.notes)


@pytest.mark.real
def test_a_set_that_is_too_small_says_what_is_needed(tiny_place, session):
    tiny_place.write("chat", [("one question", "one answer")])
    with pytest.raises(
        RecipeError, match=r"too small: 0 windows of 64 tokens from 1 items .* 8 windows are needed, 512 "
    ):
        tiny_place.make(Calibration(mix=tiny_place.mix(chat=1), **SMALL), session)


@pytest.mark.real
def test_a_source_that_empties_is_refused_by_name(tiny_place, session):
    words = prose(999, 400).split()
    tiny_place.write("chat", [(" ".join(words[i : i + 20]), "yes") for i in range(0, 200, 20)])
    with pytest.raises(RecipeError, match=r"source chat-1: none of its 10 items is left: .* 10 overlap with held-out"):
        tiny_place.make(Calibration(mix=tiny_place.mix(chat=1, code=1), **SMALL), session)
    lines(tiny_place.folder / "own.jsonl", [{"t": prose(300 + i, 20)} for i in range(3)])
    tiny_place.write("chat", [{"messages": [{"role": "user", "content": prose(300 + i, 20)}]} for i in range(3)])
    own = CalibrationSource(name="own", source="own.jsonl", field="t", stratum="code")
    with pytest.raises(RecipeError, match=r"source own: none of its 3 items is left: 3 duplicates, 0 near"):
        tiny_place.make(Calibration(mix=tiny_place.mix(chat=1, code=1), sources=(own,), **SMALL), session)


@pytest.mark.real
@pytest.mark.parametrize("template", [None, TEMPLATE])
def test_windows_start_with_bos_where_the_vocabulary_asks_for_it(tiny_place, session, monkeypatch, template):
    write_model(tiny_place.folder / "model.gguf", monkeypatch, template, add_bos=True)
    made = tiny_place.make(Calibration(mix=tiny_place.mix(chat=1, code=1), **SMALL), session)
    assert np.all(made.windows[:, 0] == 1)
    assert not np.any((made.windows[:, :-1] == 1) & (made.windows[:, 1:] == 1)), "BOS stands there once"


@pytest.mark.real
def test_a_model_without_a_template_gets_plain_text(tiny_place, session, monkeypatch):
    write_model(tiny_place.folder / "model.gguf", monkeypatch, None)
    result = tiny_place.make(Calibration(mix=tiny_place.mix(chat=1, code=1), **SMALL), session).result
    assert (result.chat_template, result.special_tokens) == ("none", ())
    assert any(n.startswith("the model has no chat template: chats are plain text") for n in result.notes)


@pytest.mark.real
def test_templates_that_refuse_or_cannot_be_used_are_told(tiny_place, session, monkeypatch):
    asked = Calibration(mix=tiny_place.mix(chat=1, code=1), **SMALL)
    write_model(tiny_place.folder / "model.gguf", monkeypatch, "{% for %}")
    result = tiny_place.make(asked, session).result
    assert result.chat_template == "unusable"
    assert any(w.startswith("the model's chat template cannot be used (") for w in result.warnings)
    rows = [{"messages": list(chat(prose(i, 8), prose(100 + i, 30), "Be brief.").messages)} for i in range(30)]
    tiny_place.write("chat", rows)
    write_model(tiny_place.folder / "model.gguf", monkeypatch, STRICT)
    result = tiny_place.make(asked, session).result
    assert any("refuses 30 chats as they are (System role not supported)" in n for n in result.notes)
    write_model(tiny_place.folder / "model.gguf", monkeypatch, "{{ raise_exception('not today') }}")
    result = tiny_place.make(asked, session).result
    assert "the model's chat template cannot be used (not today): chats are plain text" in result.warnings
    picky = "{% if 'Be brief.' in messages[0].content %}{{ raise_exception('too brief') }}{% endif %}" + TEMPLATE
    write_model(tiny_place.folder / "model.gguf", monkeypatch, picky)
    with pytest.raises(RecipeError, match=r"source chat-1: none of its 30 items .* the template says: too brief"):
        tiny_place.make(asked, session)
    tiny_place.write("chat", [*rows, *((prose(400 + i, 8), prose(500 + i, 20)) for i in range(30))])
    result = tiny_place.make(asked, session).result
    assert result.strata[0].refused == 30
    assert "the chat template refuses 30 chats in any form (too brief): they are left out" in result.warnings


@pytest.mark.real
def test_what_is_missing_is_told_in_words(tiny_place, session):
    result = tiny_place.make(Calibration(mix=tiny_place.mix(chat=1), window_tokens=512, tokens=8 * 512), session).result
    assert {
        "no tool calls: expect tool-use regressions",
        "no safety or refusal texts: expect refusals to change",
        "no code: expect regressions in code",
        "no language but English is named: expect regressions in other languages",
    } <= set(result.warnings)
    longest = result.lengths.longest
    assert longest < 512
    assert f"longest item {longest} tokens: activation ranges of long contexts are not seen" in result.warnings


@pytest.mark.real
def test_a_long_item_is_drawn_in_pieces_from_all_its_length(tiny_place, session):
    tiny_place.write("chat", [(" ".join(f"w{i}" for i in range(4000)), "yes")])
    made = tiny_place.make(Calibration(mix=tiny_place.mix(chat=1), **SMALL), session)
    tokens = tiny.vocabulary(300)[0]
    text = "".join(tokens[t] for t in made.windows.ravel()).replace(tiny.byte_letters()[32], " ")
    seen = {int(n) for n in re.findall(r" w(\d+) ", text)}
    assert made.result.lengths.longest > 7 * SMALL["tokens"]
    assert min(seen) < 1500 and max(seen) > 2500, "not the beginning alone"


def test_chats_without_a_template_are_the_contents_of_their_messages():
    item = chat("what?", "that", "Be brief.")
    assert write([item], [0], None, "", "").plain == {0: "Be brief.\n\nwhat?\n\nthat\n"}
    assert write([item, Item((), "text")], [1], SMOLLM2, "", "")[:3] == ({}, {1: "text"}, "model")


# ---- the shipped strata ----


@pytest.fixture(scope="module")
def shipped(session, tmp_path_factory, smollm2):
    place_ = Place(tmp_path_factory.mktemp("shipped"))
    (place_.folder / "model.gguf").symlink_to(smollm2)
    return {mix: place_.make(Calibration(mix=mix), session) for mix in MIXES}


@pytest.mark.real
def test_the_default_set_reaches_its_shares(shipped):
    result = shipped["default"].result
    assert shipped["default"].windows.shape == (64, 512)
    for stratum in result.strata:
        assert stratum.reached_share == pytest.approx(stratum.wanted_share, abs=0.01), stratum.name
        assert stratum.duplicates == stratum.near_duplicates == stratum.overlapping == stratum.refused == 0
    assert result.warnings == ()
    assert len(result.languages) > 2 and result.languages[0].language == "en"
    assert {t.text for t in result.special_tokens} == {"<|im_start|>", "<|im_end|>"}


@pytest.mark.real
@pytest.mark.parametrize("mix", MIXES)
def test_every_shipped_mix_makes_a_set_of_its_own(shipped, mix):
    result = shipped[mix].result
    assert result.windows >= 40 and result.tokens == result.windows * 512
    assert result.lengths.longest > 1000 and result.lengths.shortest < 150
    assert len({made.result.content_hash for made in shipped.values()}) == 3
    for stratum in result.strata:  # all that is wanted, or all there is; less than a window is dropped, of the largest
        wanted = min(stratum.wanted_tokens, stratum.available_tokens)
        assert wanted - 512 <= stratum.tokens <= wanted, stratum.name
    short = [s.name for s in result.strata if s.tokens < min(s.wanted_tokens, s.available_tokens)]
    assert len(short) <= 1
    lacking = [w for w in result.warnings if w.startswith("no ")]
    assert lacking == (["no code: expect regressions in code"] if mix == "support-bot" else [])


@pytest.mark.real
def test_calibrating_on_the_held_out_part_is_refused(session, tmp_path, smollm2):
    place_ = Place(tmp_path)
    (tmp_path / "model.gguf").symlink_to(smollm2)
    own = CalibrationSource(name="own", source="embedded:code/held_out", stratum="code")
    with pytest.raises(RecipeError, match=r"source own: none of its 18 items is left: .* 18 overlap with held-out"):
        place_.make(Calibration(sources=(own,)), session)


# ---- the report and the command ----


def shown(result, columns: int) -> str:
    screen = Console(width=columns, file=StringIO(), highlight=False)
    screen.print(coverage(result))
    return screen.file.getvalue()


@pytest.mark.real
@pytest.mark.parametrize("columns", [80, 120])
def test_the_report_fits_the_terminal(shipped, columns):
    text = shown(shipped["support-bot"].result, columns)
    assert max(map(len, text.splitlines())) <= columns
    rows = {row.split()[1]: row for row in text.splitlines() if row.startswith("│")}
    assert set(rows) == {s.name for s in shipped["support-bot"].result.strata}
    assert "33.3 %" in rows["chat"] and "spread" in rows["domain"]
    assert "no code: expect regressions in code" in text
    assert "<|im_start|>" in text and "en " in text and "median" in text


@pytest.mark.real
def test_what_was_left_out_is_in_the_report(tiny_place, session):
    tiny_place.write("chat", [(prose(i, 8), prose(100 + i, 40)) for i in [*range(30), 3]])
    result = tiny_place.make(Calibration(mix=tiny_place.mix(chat=1, code=1), **SMALL), session).result
    assert "of 31 │ 1 same" in shown(result, 120)


@pytest.mark.real
def test_a_set_is_complete_only_where_every_stratum_is_in_it(shipped):
    result = shipped["default"].result
    assert result.warnings == () and not result.strata[-1].tokens
    text = shown(result, 120)
    assert "every stratum is seen" not in text and re.search(r"^not seen +domain *$", text, re.M)
    whole = result.model_copy(update={"strata": result.strata[:-1]})
    assert re.search(r"^complete +every stratum is seen *$", shown(whole, 120), re.M)


def check(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "quantcurve.cli", "calib", "check", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.real
def test_calib_check_prints_the_set_that_a_run_would_use(tiny_place):
    recipe, cache = tiny_place.folder / "recipe.yaml", tiny_place.folder / "cache"
    done = check(recipe, "--cache", cache)
    assert done.returncode == 0, done.stderr
    assert "Calibration set, mix default: 64 windows of 512 tokens" in done.stdout
    assert "domain" in done.stdout and "spread over the other strata" in done.stdout
    told = CalibrationResult.model_validate_json(check(recipe, "--cache", cache, "--json").stdout)
    made = tiny_place.make(Calibration(), open_session(Where(threads=1, cache=cache)))
    assert told == made.result
    assert len(list((cache / "artifacts" / "calibrate").iterdir())) == 1, "the second time it was read"


@pytest.mark.real
def test_calib_check_names_the_place_of_a_mistake(tiny_place):
    recipe = tiny_place.folder / "recipe.yaml"
    (tiny_place.folder / "evaluation.txt").unlink()
    done = check(recipe, "--cache", tiny_place.folder / "cache")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"quantcurve: {recipe}:4: texts.0.source: text e:" in done.stderr
