"""The tokenizer built from a GGUF vocabulary gives llama.cpp's ids: on real vocabularies and on every way to cut."""

from __future__ import annotations

import json
import os
import random
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conftest import PUBLIC_DATA
from quantcurve.engines import gguf_tokenizer, gguf_vocabulary, tokenizer_lanes
from quantcurve.engines.child import Child
from quantcurve.engines.pre_tokenizers import PRE_TOKENIZERS
from quantcurve.errors import ModelFileError
from quantcurve.stages.tokenizer_gate import ADVERSARIAL
from tiny import write_tiny_llama
from vocabularies import SPECIALS, pair_vocabulary, score_vocabulary

pytest.importorskip("tokenizers")
pytest.importorskip("transformers")
pytestmark = pytest.mark.real
VOCABULARIES = os.environ.get("QUANTCURVE_LLAMA_VOCABS")
REFUSED = ("bert-bge", "nomic-bert-moe", "gemma-4", "baichuan")
VISIBLE = (
    "a b A B é É ſ K ǅ 1 23 ４ ٣ ² Ⅷ 中 ひ カ 한 ا ी क 's 'S 're 'LL don't aB Ab ÅB ! ? / $ + < ( | . … _ ` ~ ‘ “ "
    "、 。 ！ ～ 👍 🏽 \u200d \u0301 \u0903 \x00 \ufffd"
)
SPACES = (" ", "  ", "   ", "\n", "\n\n", "\r\n", "\t", "\r", "\u3000", "\xa0", "\u2028", "\x85", "\x0b", "\x1c")
WORDS = (*VISIBLE.split(" "), *SPACES, *SPECIALS)
WITH_FILES = "command-r deepseek-coder deepseek-llm falcon gpt-2 llama-bpe mpt qwen2 qwen35 refact starcoder llama-spm"


def random_texts(count: int, seed: int = 1) -> list[str]:
    """Pieces of words that the ways to cut treat differently, in random order."""
    rng = random.Random(seed)
    return ["".join(rng.choices(WORDS, k=rng.randint(1, 25))) for _ in range(count)]


def ids_of_both(path: Path, texts: list[str], parse_special: bool) -> Iterator[tuple[str, list[int], list[int]]]:
    """Text, llama.cpp's ids, ours. llama.cpp runs in this process: its reader was proved on these files."""
    ours = gguf_tokenizer.build(path, parse_special=parse_special).encode_batch(texts)
    theirs = tokenizer_lanes.llamacpp(path, texts, parse_special)
    for text, a, b in zip(texts, theirs, ours, strict=True):
        yield text, a.tolist(), b.ids


def assert_equal(path: Path, texts: list[str]) -> None:
    """Both ways to treat control tokens."""
    for parse_special in (False, True):
        for text, theirs, ours in ids_of_both(path, texts, parse_special):
            assert ours == theirs, (path.name, parse_special, text[:300])


def embedded_texts() -> list[str]:
    """The strata that come with the package."""
    folder = Path(__file__).parents[1] / "calib" / "strata"
    return [line for path in sorted(folder.rglob("*.jsonl")) for line in path.read_text("utf-8").splitlines()]


def test_the_embedded_model_on_all_embedded_texts(smollm2: Path) -> None:
    texts = embedded_texts()
    assert sum(len(t) for t in texts) > 100_000
    assert_equal(smollm2, [*texts, *ADVERSARIAL, *random_texts(2000)])


def test_a_tiny_model_with_bos(tmp_path: Path) -> None:
    path = write_tiny_llama(tmp_path / "tiny.gguf", add_bos=True)
    assert gguf_tokenizer.build(path).encode("").ids == [1]
    assert gguf_tokenizer.build(path).encode("the").ids[0] == 1
    assert_equal(path, [*ADVERSARIAL, *random_texts(500)])


@pytest.mark.parametrize("pre", [name for name in PRE_TOKENIZERS if name])
def test_every_way_to_cut_on_random_texts(pre: str, tmp_path: Path) -> None:
    texts = [*random_texts(1500), *ADVERSARIAL]
    path = pair_vocabulary(tmp_path / "pairs.gguf", pre, {b for word in WORDS for b in word.encode()})
    assert_equal(path, texts)


@pytest.mark.slow
@pytest.mark.parametrize("pre", sorted({way: name for name, way in PRE_TOKENIZERS.items() if name}.values()))
def test_every_way_to_cut_on_every_character(pre: str, tmp_path: Path) -> None:
    """Each character between letters, digits, spaces and punctuation; of big blocks a part."""
    path = pair_vocabulary(tmp_path / "pairs.gguf", pre, range(256))
    found = [f"a{c}b{c}{c}1{c} {c}!{c}\n {c} " for c in characters()]
    assert len(found) > 40_000
    # llama.cpp compiles some patterns anew for every call.
    texts = ["x".join(found[i : i + 40]) for i in range(0, len(found), 40)]
    for text, theirs, ours in ids_of_both(path, texts, False):
        assert ours == theirs, (pre, ascii(text))


def characters() -> list[str]:
    """Characters that Python's Unicode has (14 or 15); blocks of look-alikes thin."""
    thin = ((0x4E00, 0xA000, 31), (0xAC00, 0xD7A4, 31), (0x17000, 0x18D00, 31), (0xE000, 0xF900, 97))
    found = []
    for code in (*range(0xD800), *range(0xE000, 0x20000), *range(0x20000, 0x110000, 301)):
        step = next((s for low, high, s in thin if low <= code < high), 1)
        if code % step == 0 and unicodedata.category(chr(code)) != "Cn":
            found.append(chr(code))
    return found


@pytest.fixture(scope="module")
def smollm_tokenizer(smollm2: Path) -> object:
    return gguf_tokenizer.build(smollm2)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cn")), max_size=60))
def test_any_text(smollm2: Path, smollm_tokenizer: object, text: str) -> None:
    assert smollm_tokenizer.encode(text).ids == tokenizer_lanes.llamacpp(smollm2, [text], False)[0].tolist()


def test_user_defined_tokens_are_found_where_control_tokens_are_not(tmp_path: Path) -> None:
    path = pair_vocabulary(tmp_path / "v.gguf", "gpt-2", range(97, 123), ("    ", "  ", "<tool>", "<tool>x"))
    text = "a<tool>xy<|im_end|>       b<tool>"
    plain = gguf_tokenizer.build(path).encode(text)
    assert "<tool>x" in plain.tokens and "    " in plain.tokens and "<|im_end|>" not in plain.tokens
    assert "<|im_end|>" in gguf_tokenizer.build(path, parse_special=True).encode(text).tokens
    assert_equal(path, [text, *ADVERSARIAL])


@pytest.mark.skipif(
    VOCABULARIES is None, reason="llama.cpp's vocabularies: set QUANTCURVE_LLAMA_VOCABS to their folder"
)
@pytest.mark.parametrize("name", WITH_FILES.split(" "))
def test_vocabularies_of_llama_cpp(name: str) -> None:
    path = Path(str(VOCABULARIES)) / f"ggml-vocab-{name}.gguf"
    cases = path.with_name(path.name + ".inp").read_bytes().decode().split("\n__ggml_vocab_test__\n")[:-1]
    expected = [line.split() for line in path.with_name(path.name + ".out").read_text().splitlines()]
    bos = tokenizer_lanes.llamacpp(path, [""], False)[0].tolist()
    for ids, case in zip(gguf_tokenizer.build(path).encode_batch(cases), expected, strict=True):
        assert ids.ids[len(bos) :] == [int(i) for i in case]
    added = [t.text for t in gguf_vocabulary.read_vocabulary(path).tokens if t.is_added]
    rng = random.Random(3)
    mixed = ["".join(rng.choices([*WORDS, *rng.choices(added, k=20)], k=30)) for _ in range(500)]
    assert_equal(path, [*cases, *embedded_texts(), *ADVERSARIAL, *random_texts(2000), *mixed])


@pytest.mark.skipif(
    VOCABULARIES is None, reason="llama.cpp's vocabularies: set QUANTCURVE_LLAMA_VOCABS to their folder"
)
@pytest.mark.parametrize("name", REFUSED)
def test_other_vocabularies_of_llama_cpp_are_refused_by_name(name: str) -> None:
    with pytest.raises(ModelFileError, match="Hugging Face folder"):
        gguf_tokenizer.build(Path(str(VOCABULARIES)) / f"ggml-vocab-{name}.gguf")


@pytest.mark.skipif(
    VOCABULARIES is None, reason="llama.cpp's vocabularies: set QUANTCURVE_LLAMA_VOCABS to their folder"
)
@pytest.mark.parametrize("name", ["llama-spm", "phi-3"])
def test_sentence_piece_vocabularies(name: str) -> None:
    path = Path(str(VOCABULARIES)) / f"ggml-vocab-{name}.gguf"
    runs = [c * n for c in (" ", "a", "-", "=", "ab", "\u2581") for n in range(1, 50)]
    texts = [*embedded_texts(), *ADVERSARIAL, *random_texts(3000), *runs]
    assert_equal(path, texts)


def test_scores_that_decide_no_order_are_refused(tmp_path: Path) -> None:
    path = score_vocabulary(tmp_path / "v.gguf", {"a": -1, "b": -2, "c": -3, "ab": -4, "bc": -4})
    with pytest.raises(ModelFileError, match=r"2 tokens of its vocabulary have the score -4 \('ab', 'bc'\)"):
        gguf_tokenizer.build(path)
    assert_equal(
        score_vocabulary(tmp_path / "w.gguf", {"a": -1, "b": -2, "c": -3, "ab": -5, "bc": -4}), ["abc", "a bcab"]
    )


@pytest.mark.public_data
def test_the_embedded_model_on_public_texts(smollm2: Path) -> None:
    paths = [p for p in sorted(PUBLIC_DATA.rglob("*")) if p.suffix in {".txt", ".jsonl"}]
    texts = [p.read_text("utf-8")[:40_000] for p in paths]
    assert sum(len(t) for t in texts) > 400_000
    assert_equal(smollm2, texts)


def test_a_pre_tokenizer_that_is_not_known_is_refused_by_name(tmp_path: Path) -> None:
    path = pair_vocabulary(tmp_path / "v.gguf", "superbpe", range(97, 123))
    with pytest.raises(ModelFileError) as refused:
        gguf_tokenizer.build(path)
    for part in (str(path), "'gpt2'", "'superbpe'", "llama-bpe", "qwen2", "Hugging Face folder"):
        assert part in str(refused.value)


def test_merges_beyond_the_vocabulary_are_refused(tmp_path: Path) -> None:
    path = pair_vocabulary(tmp_path / "v.gguf", "gpt-2", range(97, 100))
    path.write_bytes(
        path.read_bytes().replace(b"\x03\x00\x00\x00\x00\x00\x00\x00a b", b"\x03\x00\x00\x00\x00\x00\x00\x00a z")
    )
    with pytest.raises(ModelFileError, match="merges 'a' and 'z', but 'az' is none of its"):
        gguf_tokenizer.build(path)


def test_a_file_that_is_no_gguf_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"nothing")
    with pytest.raises(ModelFileError, match="not a GGUF file"):
        gguf_tokenizer.build(tmp_path / "x.gguf")


def test_saved_folder_is_what_transformers_loads(smollm2: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    gguf_tokenizer.save(smollm2, tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", "architectures": ["LlamaForCausalLM"]}))
    loaded = AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
    assert (loaded.bos_token, loaded.eos_token, loaded.model_max_length) == ("<|im_start|>", "<|im_end|>", 8192)
    rendered = loaded.apply_chat_template(
        [{"role": "user", "content": "hi"}], tokenize=False, add_generation_prompt=True
    )
    assert rendered.endswith("<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n")
    theirs = tokenizer_lanes.llamacpp(smollm2, [rendered], True)[0].tolist()
    assert loaded(rendered)["input_ids"] == theirs
    assert loaded.decode(theirs) == rendered


def test_build_runs_in_a_child_and_takes_little_time(smollm2: Path, tmp_path: Path) -> None:
    with Child("tokenizer", tmp_path / "log") as child:
        child.call(gguf_tokenizer.save, smollm2, tmp_path)
    assert json.loads((tmp_path / "tokenizer.json").read_text("utf-8"))["model"]["type"] == "BPE"
