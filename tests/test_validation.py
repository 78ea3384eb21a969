"""Validation functions without an engine: loading, what they give, records, and the choice of items."""

from __future__ import annotations

import json
import sys
import time
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from quantcurve import validation_functions as built_in
from quantcurve.errors import BackendError, ModelFileError, PrerequisiteError, QuantcurveError, RecipeError
from quantcurve.recipe_accuracy import BUILT_IN, Records, Validation
from quantcurve.recipe_text import Text
from quantcurve.validation import Item
from quantcurve.validation_items import Items, TextWindows, records, windows
from quantcurve.validation_loading import check_deterministic, load, source_hash, values

ITEMS = tuple(Item(10 + i, "wiki", record={"x": i}) for i in range(12))
GOOD = "def judge(model, items):\n    return [float(item.record['x']) for item in items]\n"


class Says:
    """Answers every prompt with itself."""

    context_tokens = 100

    def generate(self, prompts, max_tokens=64, stop=()):
        return list(prompts)


def write(folder: Path, source: str | bytes) -> Path:
    (folder / "mine.py").write_bytes(source.encode() if isinstance(source, str) else source)
    return folder


def test_every_built_in_function_is_there():
    for name in BUILT_IN:
        assert load(name, Path()) is getattr(built_in, name)
    assert len({source_hash(name, Path()) for name in BUILT_IN}) == len(BUILT_IN)


def test_a_users_function_is_loaded_as_it_is_now(tmp_path: Path):
    before = list(sys.path)
    write(tmp_path, GOOD)
    first = source_hash("mine.py:judge", tmp_path)
    assert values(load("mine.py:judge", tmp_path), "validation mine", None, ITEMS) == list(range(12))
    write(tmp_path, GOOD.replace("float", "-1 * "))  # in the same second, as long as before
    assert values(load("mine.py:judge", tmp_path), "validation mine", None, ITEMS) == [-i for i in range(12)]
    assert source_hash("mine.py:judge", tmp_path) != first
    assert source_hash("mine.py:other", tmp_path) != source_hash("mine.py:judge", tmp_path)
    assert sys.path == before and not (tmp_path / "__pycache__").exists()


def test_a_users_file_may_have_records_of_its_own(tmp_path: Path):
    source = (
        "from __future__ import annotations\nfrom dataclasses import dataclass\n\n@dataclass\nclass A:\n    x: int\n\n"
    )
    write(tmp_path, source + GOOD.replace("float(item.record['x'])", "A(3).x"))
    assert values(load("mine.py:judge", tmp_path), "validation mine", None, ITEMS) == [3] * 12


@pytest.mark.parametrize(
    ("function", "source", "said"),
    [
        ("yours.py:judge", GOOD, r"there is no file .*yours\.py; check the path"),
        ("mina.py:judge", GOOD, r"there is no file .*mina\.py; did you mean mine\.py\?"),
        ("mine.py:jugde", GOOD, r"has no jugde; did you mean judge\? its functions are: judge"),
        ("mine.py:judge", "def judge(model, items)\n    return 1\n", r"mine\.py:1: not valid Python: expected ':'"),
        ("mine.py:judge", "x = 1\nimport no_such_module\n", r"mine\.py:2: ModuleNotFoundError.*not found"),
        ("mine.py:judge", "x = 1\n\ny = 1 / 0\n", r"mine\.py:3: ZeroDivisionError: division by zero"),
        ("mine.py:judge", "raise SystemExit(3)\n", r"mine\.py:1: SystemExit: 3"),
        ("mine.py:judge", b"x = '\xff'\n", "not valid Python"),
        ("mine.py:judge", b"x = 1\0\n", "null bytes"),
        ("mine.py:judge", "judge = 3\ndef other(model, items): ...\n", "judge is no function but 3; .*other"),
        ("mine.py:judge", "def judge(model): ...\n", r"takes \(model\).*def NAME\(model, items\)"),
        ("mine.py:judge", "def judge(model, items, seed): ...\n", "takes .*missing a required argument: 'seed'"),
        ("mine.py:judge", "async def judge(model, items): ...\n", "async"),
        ("token_acuracy", "", r"did you mean token_accuracy\?"),
        ("mine.py:", "", "no validation function"),
    ],
)
def test_what_cannot_be_loaded_is_told(tmp_path: Path, function: str, source: str | bytes, said: str):
    write(tmp_path, source)
    with pytest.raises(RecipeError, match=said):
        load(function, tmp_path)


def test_a_folder_is_no_file(tmp_path: Path):
    (tmp_path / "mine.py").mkdir()
    with pytest.raises(RecipeError, match="cannot be read"):
        load("mine.py:judge", tmp_path)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (None, "gave nothing"),
        (0.5, r"gave a single float \(0\.5\).*a mean is not enough"),
        (np.float32(0.5), "gave a single float32"),
        (np.array(0.5), "gave a single ndarray"),
        ([0.5] * 11, "gave 11 values for 12 items"),
        ([], "gave 0 values for 12 items"),
        ("0.5" * 4, "gave a str"),
        ({1: 2}, "gave a dict"),
        ([0.5] * 11 + [float("nan")], r"value of item 21 \(wiki\) is nan"),
        ([0.5, -float("inf")] + [0.5] * 10, r"value of item 11 \(wiki\) is -inf"),
        ([0.5] * 3 + [None] + [0.5] * 8, r"value of item 13 \(wiki\) is no number but None"),
        (["0.5"] + [0.5] * 11, r"value of item 10 \(wiki\) is no number but '0\.5'"),
        ([1j] + [0.5] * 11, "no number but 1j"),
        (np.zeros((12, 1)), r"value of item 10 \(wiki\) is no number but array"),
        ([10**400] + [0.5] * 11, "no number but 1000"),
    ],
)
def test_what_is_not_one_number_for_each_item_is_refused(given: object, said: str):
    with pytest.raises(RecipeError, match=f"^validation mine.*{said}"):
        values(lambda model, items: given, "validation mine", None, ITEMS)


@pytest.mark.parametrize(
    "given",
    [
        np.arange(12, dtype=np.float16),
        [np.array(i) for i in range(12)],
        tuple(range(12)),
        (i for i in range(12)),
        map(float, range(12)),
        np.arange(12) * np.float64(1),
    ],
)
def test_numbers_of_any_kind_are_taken(given: object):
    found = values(lambda model, items: given, "validation mine", None, ITEMS)
    assert found == list(range(12)) and {type(v) for v in found} == {float}


def test_a_function_that_raises_is_told_with_its_line(tmp_path: Path):
    inner = "    def inner(i):\n        return i.record['y']\n"
    write(tmp_path, f"def judge(model, items):\n{inner}    return list(map(inner, items))\n")
    with pytest.raises(RecipeError, match=r"validation mine: .*mine\.py:3: KeyError: 'y'; mend"):
        values(load("mine.py:judge", tmp_path), "validation mine", None, ITEMS)
    write(tmp_path, "import json\ndef judge(model, items):\n\n    return json.loads('{')\n")
    with pytest.raises(RecipeError, match=r"mine\.py:4: JSONDecodeError"):  # raised far below
        values(load("mine.py:judge", tmp_path), "validation mine", None, ITEMS)
    write(tmp_path, "def judge(model, items):\n    for i in items:\n        yield i.record['y']\n")
    with pytest.raises(RecipeError, match=r"mine\.py:3: KeyError"):
        values(load("mine.py:judge", tmp_path), "validation mine", None, ITEMS)


@pytest.mark.parametrize(
    "error",
    [
        RecipeError("item 3 is too long"),
        BackendError("out of memory", Path("log")),
        ModelFileError("cut short"),
        PrerequisiteError("no jsonschema", "pip install jsonschema"),
    ],
)
def test_what_the_model_raises_keeps_its_kind(error: QuantcurveError):
    def judge(model, items):
        raise error

    with pytest.raises(type(error), match=f"^validation mine: {error.args[0]}") as caught:
        values(judge, "validation mine", None, ITEMS)
    assert type(caught.value) is type(error) and caught.value.args[1:] == error.args[1:]


def drawing(model, items):
    return [float(np.random.rand()) for _ in items]


def counting():
    calls = count()

    def judge(model, items):
        return [float(i.record["x"]) + 1e-4 * next(calls) for i in items]

    return judge


def by_place(model, items):
    return [float(place) for place, _ in enumerate(items)]


def by_neighbours(model, items):
    """The same in every order."""
    mean = sum(i.record["x"] for i in items) / len(items)
    return [i.record["x"] - mean for i in items]


@pytest.mark.parametrize(
    ("function", "what"),
    [
        (drawing, "two runs over the same items"),
        (counting(), "two runs over the same items"),
        (by_place, "runs over the items in two orders"),
        (by_neighbours, "all items at once and an item alone"),
    ],
)
def test_what_is_not_deterministic_is_found(function, what: str):
    said = rf"validation mine is not deterministic: {what} differ: item \d+ \(wiki\) is .* and then .*usual causes"
    with pytest.raises(RecipeError, match=said):
        check_deterministic(function, "validation mine", None, ITEMS)


def test_rounding_of_other_batches_is_let_pass():
    def judge(model, items):
        return [1000.0 + i.record["x"] + 1e-4 * len(items) for i in items]

    assert len(check_deterministic(judge, "validation mine", None, ITEMS)) == 12
    assert check_deterministic(judge, "validation mine", None, ITEMS[:1]) == pytest.approx([1000.0001])


def test_json_is_read_strictly_and_by_its_schema():
    numbers = {"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}}
    cases = [
        ('{"a": 1}', None, 1),
        ('```json\n{"a": 1}\n```', None, 1),
        ("```\n[1, 2]\n```\n", None, 1),
        (' "text" ', None, 1),
        ('Here: {"a": 1}', None, 0),
        ('```json\n```json\n{"a": 1}\n```\n```', None, 0),
        ('{"a": NaN}', None, 0),
        ('{"a": 1,}', None, 0),
        ("", None, 0),
        ("[" * 100_000, None, 0),
        ('{"a": 1}', numbers, 1),
        ('{"a": "1"}', numbers, 0),
        ("{}", numbers, 0),
        ("{}", False, 0),
    ]
    items = [
        Item(i, "qa", record={"prompt": p} | ({} if s is None else {"schema": s})) for i, (p, s, _) in enumerate(cases)
    ]
    assert built_in.json_validity(Says(), items) == [value for *_, value in cases]


@pytest.mark.parametrize(
    ("function", "record", "said"),
    [
        ("json_validity", {"prompt": "{}", "schema": {"type": "nonsense"}}, "schema is no JSON Schema"),
        ("json_validity", {"prompt": "{}", "schema": 3}, "schema is not a JSON Schema but 3"),
        ("json_validity", {"prompt": "{}", "schema": {"$ref": "http://x.invalid/y"}}, "schema cannot be applied"),
        ("json_validity", {"text": "{}"}, r"no field prompt or messages \(it has: text\)"),
        ("exact_match", {"prompt": "a"}, r"no field answer or answers \(it has: prompt\)"),
        ("exact_match", {"prompt": "a", "answer": 4}, "answer is not a text .* but 4"),
        ("exact_match", {"prompt": "a", "answers": []}, r"answers is not a text .* but \[\]"),
        ("exact_match", {"prompt": "a", "answer": "b", "max_tokens": "4"}, "max_tokens is not a whole number"),
        ("exact_match", {"prompt": "a", "answer": "b", "stop": 4}, "stop is not a text or a list"),
        ("exact_match", {"messages": "a", "answer": "b"}, "messages is not a list"),
        ("answer_log_likelihood", {"prompt": "a"}, r"no field answer \(it has: prompt\)"),
        ("answer_log_likelihood", {"prompt": "a", "answer": ""}, "answer is not a text"),
        ("answer_log_likelihood", {"prompt": "a", "answer": "b", "delimiter": 1}, "delimiter is not a text"),
        ("multiple_choice", {"question": "a", "answer": 0}, r"no field choices \(it has: question, answer\)"),
        ("multiple_choice", {"choices": ["a", "b"], "answer": 0}, "no field question or prompt"),
        ("multiple_choice", {"question": "a", "choices": ["a"], "answer": 0}, "choices is not a list of two"),
        ("multiple_choice", {"question": "a", "choices": ["a", "b"], "answer": 2}, "answer is not one of its 2"),
        ("multiple_choice", {"question": "a", "choices": ["a", "b"], "answer": "c"}, "but 'c'"),
        ("multiple_choice", {"question": "a", "choices": ["a", "a"], "answer": "a"}, "answer is not one of"),
        ("multiple_choice", {"question": "a", "choices": ["a", "b"], "answer": True}, "but True"),
        ("multiple_choice", {}, "takes records, not windows"),
    ],
)
def test_records_that_lack_something_are_named(function: str, record: dict, said: str):
    with pytest.raises(RecipeError, match=rf"item 7 \(qa\.jsonl\).*{said}"):
        getattr(built_in, function)(Says(), [Item(7, "qa.jsonl", record=record)])


def test_a_schema_without_jsonschema_names_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "jsonschema", None)
    with pytest.raises(PrerequisiteError, match="pip install jsonschema"):
        built_in.json_validity(Says(), [Item(7, "qa", record={"prompt": "{}", "schema": {}})])
    assert built_in.json_validity(Says(), [Item(7, "qa", record={"prompt": "{}"})]) == [1]


TEXTS = (Text(name="a", source="embedded:chat"),)


def of_windows(items: int, held_out: int, tokens: int = 64) -> Validation:
    return Validation(
        name="kl", function="token_accuracy", texts=TEXTS, items=items, held_out=held_out, item_tokens=tokens
    )


def noise(name: str, count: int, seed: int, tokens: int = 64) -> TextWindows:
    rng = np.random.default_rng(seed)
    return TextWindows(name, rng.integers(3, 49152, (count, tokens)).astype(np.int32))


def by_source(part: tuple[Item, ...]) -> dict[str, int]:
    return {name: sum(i.source == name for i in part) for name in {i.source for i in part}}


def test_windows_are_chosen_evenly_and_the_parts_are_disjoint():
    texts = [noise("a", 50, 0), noise("b", 6, 1), noise("c", 50, 2)]
    found = windows(of_windows(20, 10), texts, [], seed=3)
    everything = np.concatenate([t.windows for t in texts])
    numbers = [i.number for part in (found.search, found.held_out) for i in part]
    assert len(set(numbers)) == 30 and (len(found.search), len(found.held_out)) == (20, 10)
    assert by_source(found.search) == {"a": 8, "b": 4, "c": 8}
    assert by_source(found.held_out) == {"a": 4, "b": 2, "c": 4}
    for item in (*found.search, *found.held_out):
        assert (item.tokens == everything[item.number - 1]).all() and not item.tokens.flags.writeable
    assert numbers != sorted(numbers)
    again = windows(of_windows(20, 10), texts, [], seed=3)
    assert again.content_hash() == found.content_hash()
    assert windows(of_windows(20, 10), texts, [], seed=4).content_hash() != found.content_hash()
    assert (found.leaked, found.duplicates) == (0, 0)


def test_windows_that_share_a_passage_with_what_was_used_are_left_out():
    text, other = noise("a", 40, 0), noise("b", 5, 1, tokens=512)
    used = other.windows.copy()
    used[2, 100:132] = text.windows[7, 20:52]  # 32 tokens, at other places
    used[3, 5:25] = text.windows[8, :20]  # fewer
    shifted = text.windows.reshape(-1)[40 : 40 + 3 * 64].reshape(3, 64)  # of the same text, windows cut elsewhere
    short = text.windows[30:31, :16]
    found = windows(of_windows(20, 16), [text], [used, shifted, short], seed=0)
    numbers = {i.number for i in (*found.search, *found.held_out)}
    assert found.leaked == 4 and numbers == set(range(1, 41)) - {2, 3, 4, 8}


def test_a_first_token_that_stands_in_place_of_the_texts_hides_nothing():
    text = noise("a", 40, 0)
    stream = text.windows.reshape(-1)
    shifted = stream[32 : 32 + 10 * 64].reshape(10, 64).copy()
    text.windows[:, 0] = shifted[:, 0] = 1
    assert windows(of_windows(10, 10), [text], [shifted], seed=0).leaked == 11


def test_windows_that_repeat_one_another_count_once():
    text = noise("a", 30, 0)
    text.windows[10:20] = text.windows[0]
    text.windows[20, 10:50] = text.windows[1, 20:60]
    found = windows(of_windows(10, 9), [text], [], seed=0)
    numbers = {i.number for i in (*found.search, *found.held_out)}
    assert len(numbers & {1, *range(11, 21)}) == 1 and len(numbers & {2, 21}) == 1
    with pytest.raises(RecipeError, match=r"validation kl: 19 of 30 windows can be used \(0 share 31.*, 11 with one"):
        windows(of_windows(10, 10), [text], [], seed=0)


def test_too_few_windows_are_told_with_the_reason():
    text = noise("a", 12, 0)
    said = r"8 of 12 windows can be used \(4 share 31 tokens .*items: 6 and held_out: 6 ask for 12; add texts"
    with pytest.raises(RecipeError, match=said):
        windows(of_windows(6, 6), [text], [text.windows[:4]], seed=0)


def test_short_windows_are_compared_by_nearly_half():
    text = noise("a", 30, 0, tokens=16)
    used = np.full((1, 40), 2, np.int32)
    used[0, 11:18] = text.windows[3, 5:12]
    assert windows(of_windows(10, 10, 16), [text], [used], seed=0).leaked == 1


def test_a_hundred_thousand_tokens_are_compared_in_a_moment():
    text, used = noise("a", 1600, 0), noise("b", 200, 1, tokens=512)
    start = time.perf_counter()
    windows(of_windows(400, 400), [text], [used.windows], seed=0)
    assert time.perf_counter() - start < 5


def of_records(folder: Path, rows: list, name: str = "qa.jsonl", **sizes: int) -> Items:
    (folder / name).write_text("\n".join(json.dumps(row) for row in rows) if name.endswith("l") else json.dumps(rows))
    validation = Validation(name="qa", function="exact_match", records=Records(source=name), **sizes)
    return records(validation, folder, seed=0)


def test_records_are_split_and_repetitions_are_left_out(tmp_path: Path):
    rows = [{"prompt": f"p{i % 10}", "answer": "a"} for i in range(14)]
    rows[12] = {"answer": "a", "prompt": "p2"}  # the same, in another order
    found = of_records(tmp_path, rows, items=6, held_out=4)
    numbers = [i.number for i in (*found.search, *found.held_out)]
    assert sorted(numbers) == list(range(1, 11)) and numbers != sorted(numbers)
    assert found.duplicates == 4 and len(found.search) == 6
    assert {i.source for i in found.search} == {"qa.jsonl"}
    assert all(i.record == rows[i.number - 1] and not len(i.tokens) for i in found.search)
    assert of_records(tmp_path, rows, "qa.json", items=6, held_out=4).duplicates == 4


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"a": 1}] * 9, r"1 of 9 records can be used \(8 stand there more than once\); items: 2 .*ask for 4"),
        ([{"a": 1}, "text"], r"qa\.jsonl:2: a record is an object with fields, not 'text'"),
        ([{"a": 1}, {}], r"qa\.jsonl:2: a record is an object"),
        ([{"a": "\ud800"}], r"qa\.jsonl:1: half a surrogate pair"),
    ],
)
def test_records_that_cannot_be_used_are_told(tmp_path: Path, rows: list, said: str):
    with pytest.raises(RecipeError, match=f"^validation qa: .*{said}"):
        of_records(tmp_path, rows, items=2, held_out=2)


def test_files_that_are_no_records_are_told(tmp_path: Path):
    (tmp_path / "qa.txt").write_text("plain")
    for name, said in [("qa.txt", "is plain text; records are objects"), ("no.jsonl", "cannot be read")]:
        with pytest.raises(RecipeError, match=f"^validation qa: .*{said}"):
            records(Validation(name="qa", function="exact_match", records=Records(source=name)), tmp_path, seed=0)
    (tmp_path / "bad.jsonl").write_text('{"a": 1}\n{"a": \n')
    with pytest.raises(RecipeError, match=r"^validation qa: .*bad\.jsonl:2: not valid JSON"):
        records(Validation(name="qa", function="exact_match", records=Records(source="bad.jsonl")), tmp_path, seed=0)
