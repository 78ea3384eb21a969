"""What variants are deployed with, compared with the reference's own: by name, by place, and in a whole run."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from gguf_parts import rewritten
from quantcurve.engines import gguf_settings, gguf_tokenizer, llamacpp_quantize
from quantcurve.engines.base import OpenVinoRuntime
from quantcurve.engines.text_side import TextSide
from quantcurve.errors import ModelFileError
from quantcurve.recipe import load
from quantcurve.report.contract_notes import contract_sentences
from quantcurve.run import Where, open_session, run
from quantcurve.session import Session
from quantcurve.stages.scoring import Model
from quantcurve.stages.settings_check import OPENVINO_TOKENIZER, mismatch, template_of_ir
from tiny import write_tiny_llama

pytestmark = [pytest.mark.real, pytest.mark.slow]
SYSTEM = "{% if m.role == 'system' %}<|start|>system: {{ m.content }}\n{% else %}"
TEMPLATE = "{% for m in messages %}" + SYSTEM + "{{ m.role }}: {{ m.content }}\n{% endif %}{% endfor %}{{ 'bot: ' }}"
LOST = TEMPLATE.replace("<|start|>system: {{ m.content }}\n", "")
AT = TEMPLATE.index("<|start|>") + 1
KEY = "tokenizer.chat_template"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_llama(tmp_path_factory.mktemp("model") / "tiny.gguf", template=TEMPLATE)


@pytest.fixture(scope="module")
def text(model: Path) -> TextSide:
    folder = model.parent / "text"
    folder.mkdir()
    gguf_tokenizer.save(model, folder)
    return TextSide(folder)


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return open_session(Where(threads=2, cache=tmp_path / "cache"))


def of_file(path: Path, **more: Any) -> Model:
    return Model(path.stem, path, f"hash of {path}", 1, **more)


def compared(found: Path, reference: Path, text: TextSide, session: Session, **more: Any) -> str:
    with session.store.in_use():
        return mismatch(of_file(found, **more), of_file(reference), text, session)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, ""),
        ({"general.name": "another"}, ""),
        (
            {KEY: LOST},
            f"its chat template is not the reference's, first difference at character {AT}: "
            f"{LOST[AT - 1 : AT + 39] + '...'!r} against {TEMPLATE[AT - 1 : AT + 39] + '...'!r}",
        ),
        ({KEY: TEMPLATE[:-3]}, f"first difference at character {len(TEMPLATE) - 2}: its end against "),
        ({KEY: None}, "its chat template is not there"),
        ({KEY: LOST, "tokenizer.ggml.eos_token_id": 1}, "its chat template is not the reference's"),
        ({"tokenizer.ggml.eos_token_id": 1}, "its tokenizer.ggml.eos_token_id is 1, and the reference's 2"),
        ({"tokenizer.ggml.pre": "llama-bpe"}, "its tokenizer.ggml.pre is llama-bpe, and the reference's gpt-2"),
        ({"tokenizer.ggml.add_bos_token": None}, "add_bos_token is not there, and the reference's False"),
    ],
)
def test_a_gguf_file_is_compared_field_by_field(
    fields: dict[str, Any], said: str, model: Path, text: TextSide, session: Session, tmp_path: Path
) -> None:
    found = compared(rewritten(model, tmp_path / "other.gguf", fields), model, text, session)
    assert said in found and bool(found) == bool(said)


def test_another_vocabulary_is_another_list(model: Path, text: TextSide, session: Session, tmp_path: Path) -> None:
    other = write_tiny_llama(tmp_path / "other.gguf", template=TEMPLATE, vocab=299)
    assert compared(other, model, text, session).startswith("its tokenizer.ggml.merges is 40 entries, SHA-256")


def test_without_a_template_only_the_tokenizer_is_compared(tiny_model: Path, session: Session, tmp_path: Path) -> None:
    gguf_tokenizer.save(tiny_model, tmp_path)
    text = TextSide(tmp_path)
    with_one = write_tiny_llama(tmp_path / "with.gguf", template=TEMPLATE)
    assert compared(with_one, tiny_model, text, session) == ""
    other = rewritten(with_one, tmp_path / "other.gguf", {"tokenizer.ggml.bos_token_id": 0})
    assert "bos_token_id is 0" in compared(other, tiny_model, text, session)


def test_a_header_is_read_once(model: Path, text: TextSide, session: Session, tmp_path: Path) -> None:
    other = rewritten(model, tmp_path / "other.gguf", {KEY: LOST})
    first = compared(other, model, text, session)
    other.write_bytes(b"")
    assert compared(other, model, text, session) == first
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(20))
    with pytest.raises(ModelFileError, match="broken"):
        compared(broken, model, text, session)


def test_fields_are_texts_numbers_and_hashes_of_lists(model: Path) -> None:
    fields = gguf_settings.text_fields(model).fields
    assert fields[KEY] == TEMPLATE and fields["tokenizer.ggml.model"] == "gpt2"
    assert fields["tokenizer.ggml.eos_token_id"] == "2" and fields["tokenizer.ggml.add_bos_token"] == "False"
    assert fields["tokenizer.ggml.tokens"].startswith("300 entries, SHA-256 ")
    assert all(name.startswith("tokenizer.") for name in fields)


# ---- the folder of an IR ----

RT_INFO = "<net><layers/><rt_info><chat_template value={}/></rt_info></net>"


@pytest.fixture
def folder(text: TextSide, tmp_path: Path) -> Path:
    from xml.sax.saxutils import quoteattr

    made = Path(shutil.copytree(text.path, tmp_path / "ir"))
    (made / OPENVINO_TOKENIZER).write_text(RT_INFO.format(quoteattr(TEMPLATE, {"\n": "&#10;"})))
    (made / "generation_config.json").write_text('{"eos_token_id": [0, 2]}')
    return made


def of_ir(folder: Path, model: Path, text: TextSide, session: Session) -> str:
    return compared(folder, model, text, session, runtime=OpenVinoRuntime())


def with_config(folder: Path, **fields: Any) -> None:
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_a_folder_as_it_is_exported_is_the_same(folder: Path, model: Path, text: TextSide, session: Session) -> None:
    assert of_ir(folder, model, text, session) == ""
    assert template_of_ir(folder) == TEMPLATE
    (folder / OPENVINO_TOKENIZER).unlink()
    (folder / "tokenizer.json").write_text((folder / "tokenizer.json").read_text() + "\n")
    assert of_ir(folder, model, text, session) == ""


def test_other_settings_of_a_folder_are_named(folder: Path, model: Path, text: TextSide, session: Session) -> None:
    def said() -> str:
        return of_ir(folder, model, text, session)

    in_ir = (folder / OPENVINO_TOKENIZER).read_text()
    (folder / "generation_config.json").write_text('{"eos_token_id": [0, 1]}')
    assert said() == "its answers end at 0, 1, and the reference's at 2"
    (folder / OPENVINO_TOKENIZER).unlink()
    assert said() == "its answers end at 0, 1, and the reference's at 2"
    (folder / OPENVINO_TOKENIZER).write_text(in_ir)
    (folder / OPENVINO_TOKENIZER).write_text(RT_INFO.format(f'"{LOST.strip()}"'.replace("<|", "&lt;|")))
    assert f"the chat template in its {OPENVINO_TOKENIZER} is not the reference's, first difference at" in said()
    (folder / OPENVINO_TOKENIZER).write_text("<net>")
    with pytest.raises(ModelFileError, match="cannot be read"):
        said()
    (folder / "chat_template.jinja").write_text(LOST)
    assert f"its chat template is not the reference's, first difference at character {AT}" in said()
    (folder / "chat_template.jinja").unlink()
    with_config(folder, chat_template=None)
    assert said() == "its chat template is not there"


def test_a_tokenizer_with_other_ids_is_named(folder: Path, model: Path, text: TextSide, session: Session) -> None:
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text())
    content["model"]["merges"] = content["model"]["merges"][1:]
    path.write_text(json.dumps(content))
    assert of_ir(folder, model, text, session).startswith("its tokenizer makes '")


# ---- a whole run ----

RECIPE = """\
name: tiny
model: {source: MODEL}
texts: [{name: chat, source: "embedded:chat"}]
windows: {tokens: 64, limit: 6}
variants: {gguf: [Q8_0, Q4_0]}
benchmark: null
evaluate: {context_tokens: 256, slices: [{name: chats, file: chats.jsonl, kind: text, max_tokens: 4}]}
contract: {mode: quick, quality: {chats: 90 points}}
"""
WITHOUT_SYSTEM = "Q4_0"
_quantize = llamacpp_quantize.quantize


def quantize_and_lose(source: Path, target: Path, file_type: str, *more: Any) -> Any:
    """In place of llamacpp_quantize.quantize, in the child: one variant's template loses its system part."""
    made = _quantize(source, target, file_type, *more)
    if file_type == WITHOUT_SYSTEM:
        rewritten(target, target, {KEY: LOST})
    return made


def test_a_variant_whose_template_lost_its_system_part_fails_by_name(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = str(Path(__file__).parent)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH")))))
    monkeypatch.setattr(llamacpp_quantize, "quantize", quantize_and_lose)
    rows = [{"messages": [{"role": "user", "content": f"boat {i}?"}], "answers": ["a"]} for i in range(12)]
    (tmp_path / "chats.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "recipe.yaml").write_text(RECIPE.replace("MODEL", str(model)))
    result = run(load(tmp_path / "recipe.yaml"), Where(threads=2, cache=tmp_path / "cache"))
    cards = {v.name: v.scorecard for v in result.variants}
    lost, other = cards[WITHOUT_SYSTEM], cards["Q8_0"]
    assert lost and other and other.slices and not lost.slices and not lost.verdict.budgets
    assert lost.verdict.decision == "fail"
    assert f"settings mismatch: its chat template is not the reference's, first difference at character {AT}" in (
        lost.verdict.sentence
    )
    assert "settings mismatch" not in other.verdict.sentence
    assert any(s.startswith("Q4_0: fail: settings mismatch: its chat template") for s in contract_sentences(result))
