"""The tokenizers of all lanes are compared before anything is measured; planted wrong ones are caught and named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from quantcurve.engines import gguf_tokenizer, tokenizer_lanes
from quantcurve.engines.child import Child
from quantcurve.errors import BackendError, ModelFileError
from quantcurve.records import EngineIdentity
from quantcurve.session import Session
from quantcurve.stages import tokenizer_difference, tokenizer_gate
from quantcurve.stages.tokenizer_gate import ADVERSARIAL, Lane, NamedText, check, first_difference
from quantcurve.store import Store
from quantcurve.texts import LoadedText

pytest.importorskip("tokenizers")
pytest.importorskip("transformers")
pytest.importorskip("openvino_tokenizers")
pytestmark = pytest.mark.real
CHAT = "What is  7 x 6?\n\n\tIt is the 42.\n" * 40
HASH = "1" * 64
BOS = "<|im_start|>"


@pytest.fixture(scope="module")
def folder(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded model's tokenizer as transformers and OpenVINO read it."""
    place = tmp_path_factory.mktemp("tokenizer")
    with Child("tokenizer", place / "log") as child:
        child.call(tokenizer_lanes.write_tokenizer, smollm2, None, place)
    return place


@pytest.fixture
def session(tmp_path: Path) -> Session:
    engine = EngineIdentity(name="llama.cpp", version="0", build="0", cpu_features="")
    events: list[object] = []
    return Session(Store(), engine, 1, "cpu", tmp_path / "logs", events.append, openvino=engine)


def loaded(content: str, name: str = "chat") -> LoadedText:
    import hashlib

    raw = content.encode()
    return LoadedText(name, "test", content, hashlib.sha256(raw).hexdigest(), len(raw))


def wrong(folder: Path, target: Path, change: str) -> Path:
    """A copy of a tokenizer's folder with a mistake in it."""
    shutil.copytree(folder, target)
    path = target / gguf_tokenizer.TOKENIZER
    content = json.loads(path.read_text("utf-8"))
    cuts = content["pre_tokenizer"]["pretokenizers"]
    if change == "merge":
        content["model"]["merges"].remove(["Ġ", "t"])
    elif change == "digits":
        cuts[:] = [{**cuts[-1], "use_regex": True}]
    elif change == "converter":  # OpenVINO's makes one pattern of these two, which is another one
        cuts[:] = [{"type": "Digits", "individual_digits": True}, {**cuts[-1], "use_regex": True}]
    elif change == "bos":
        content["post_processor"] = {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": BOS, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": content["post_processor"]["pair"],
            "special_tokens": {BOS: {"id": BOS, "ids": [1], "tokens": [BOS]}},
        }
        config = target / gguf_tokenizer.CONFIG
        config.write_text(config.read_text("utf-8").replace('"add_bos_token": false', '"add_bos_token": true'))
    path.write_text(json.dumps(content), "utf-8")
    if change == "converter":
        with Child("tokenizer", target / "log") as child:
            child.call(tokenizer_lanes.write_openvino, target)
    return target


def test_equal_tokenizers_pass_and_a_second_run_only_reads(smollm2: Path, folder: Path, session: Session) -> None:
    step = check(smollm2, HASH, folder, [loaded(CHAT)], session)
    assert step.lanes == ("llama.cpp", "transformers", "OpenVINO")
    assert step.strings == len(ADVERSARIAL) + 1
    assert step.tokens > 2000
    key = tokenizer_gate.gate_inputs(HASH, folder, [loaded(CHAT)], session)
    assert session.cached("tokenizer_gate", key)
    shutil.rmtree(session.logs)
    assert check(smollm2, HASH, folder, [loaded(CHAT)], session) == step
    assert not session.logs.exists()


def test_what_is_compared_is_in_the_key(folder: Path, session: Session, tmp_path: Path) -> None:
    def key(reference: str = HASH, place: Path = folder, content: str = CHAT) -> tokenizer_gate.GateInputs:
        return tokenizer_gate.gate_inputs(reference, place, [loaded(content)], session)

    other = tmp_path / "other"
    shutil.copytree(folder, other)
    assert key(place=other) == key()
    (other / "tokenizer.json").write_text("{}")
    assert len({key(), key("2" * 64), key(content="x"), key(place=other)}) == 4


@pytest.mark.parametrize(
    ("change", "lane", "parts"),
    [
        ("merge", "transformers", ["text 'chat'", "'Ġt'", "left as text"]),
        ("digits", "transformers", ["text 'chat'", "'Ġ', ", "left as text"]),
        pytest.param(
            "converter",
            "OpenVINO",
            ["text 'chat'", "'  7'", "256 'ĠĠ', 39 '7'", "216 'Ġ', 216 'Ġ', 39 '7'", "parsed"],
            marks=pytest.mark.slow,
        ),
        ("bos", "transformers", ["text 'chat'", "1 '<|im_start|>'", "at token 0"]),
    ],
)
def test_a_wrong_tokenizer_stops_the_run(
    change: str,
    lane: str,
    parts: list[str],
    smollm2: Path,
    folder: Path,
    session: Session,
    tmp_path: Path,
) -> None:
    planted = wrong(folder, tmp_path / "planted", change)
    with pytest.raises(BackendError) as stopped:
        check(smollm2, HASH, planted, [loaded(CHAT)], session)
    message = str(stopped.value)
    for part in (
        f"the tokenizers of llama.cpp and {lane} differ",
        "nothing was measured",
        "Hugging Face folder",
        *parts,
    ):
        assert part in message, message
    assert not session.cached("tokenizer_gate", tokenizer_gate.gate_inputs(HASH, planted, [loaded(CHAT)], session))


@pytest.mark.slow
def test_the_tokenizer_that_transformers_makes_of_the_embedded_file_is_caught(
    smollm2: Path, session: Session, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    AutoTokenizer.from_pretrained(smollm2.parent, gguf_file=smollm2.name).save_pretrained(tmp_path / "theirs")
    with pytest.raises(BackendError, match=r"the tokenizers of llama\.cpp and transformers differ"):
        check(smollm2, HASH, tmp_path / "theirs", [loaded(CHAT)], session)


def test_the_gate_is_what_catches_it(
    smollm2: Path, folder: Path, session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the comparison taken out, the planted tokenizer passes: nothing else would notice."""
    planted = wrong(folder, tmp_path / "planted", "merge")
    monkeypatch.setattr(tokenizer_difference, "agree", lambda a, b: True)
    check(smollm2, HASH, planted, [loaded(CHAT)], session)


def test_a_folder_without_a_tokenizer_is_named(smollm2: Path, session: Session, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"tokenizer\.json: no such file; export the model again"):
        check(smollm2, HASH, tmp_path, [loaded("x")], session)


def letters(name: str, upper_from: int = 1_000) -> Lane:
    """A tokenizer of characters; from some code on it is wrong."""

    def tokenize(texts: list[str]) -> list[np.ndarray]:
        return [np.array([ord(c) if ord(c) < upper_from else 1 for c in text], np.int32) for text in texts]

    return Lane(name, tokenize, lambda ids: [chr(i) for i in ids])


def test_a_difference_is_narrowed_to_its_place() -> None:
    text = "".join(f"line {i}: nothing here\n" for i in range(20_000)) + "here it{is wrong}\n" + "more\n" * 9_000
    asked = 0
    right, bad = letters("right"), letters("bad", ord("{"))

    def counted(texts: list[str]) -> list[np.ndarray]:
        nonlocal asked
        asked += 1
        return bad.tokenize(texts)

    found = first_difference([right, Lane("bad", counted, bad.pieces)], [NamedText("t", "fine"), NamedText("u", text)])
    assert found is not None
    assert (found.text, found.string, found.position) == ("u", "}", 0)
    assert (found.expected.ids, found.found.ids) == ((ord("}"),), (1,))
    assert asked < 100


def test_equal_lanes_have_no_difference() -> None:
    assert (
        first_difference([letters("a"), letters("b"), letters("c")], [NamedText("t", "same"), NamedText("u", "")])
        is None
    )


def test_a_lane_that_stops_early_differs_at_its_end() -> None:
    short = Lane(
        "short", lambda texts: [letters("x").tokenize([t])[0][:5] for t in texts], lambda ids: [chr(i) for i in ids]
    )
    found = first_difference([letters("a"), short], [NamedText("t", "abcdefghij")])
    assert found is not None
    assert found.position == 5 and found.found.total == 5 and len(found.string) == 6
    assert "(no tokens)" not in str(tokenizer_difference.error(found, "how"))


def test_one_lane_is_nothing_to_compare() -> None:
    with pytest.raises(ValueError, match="1 tokenizers on 1 texts"):
        first_difference([letters("a")], [NamedText("t", "x")])
