"""A tiny BERT as an embedding model: export, pooling, batches, compression, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from quantcurve import encoder_pipeline
from quantcurve.encoder_results import EncoderWorkload
from quantcurve.engines.base import OpenVinoConfig, OpenVinoRuntime
from quantcurve.engines.child import Child
from quantcurve.errors import ModelFileError
from quantcurve.recipe_openvino import OpenVinoVariant

for needed in ("openvino", "optimum.intel", "nncf", "transformers"):
    pytest.importorskip(needed, reason=f"{needed} is not installed: pip install 'quantcurve[openvino]'")

pytestmark = [pytest.mark.real, pytest.mark.slow]
EXACT = OpenVinoConfig(threads=2, window_tokens=32, runtime=OpenVinoRuntime(execution="accuracy"))
WORDS = [
    "the",
    "a",
    "cat",
    "dog",
    "sat",
    "ran",
    "on",
    "under",
    "mat",
    "tree",
    "and",
    "or",
    "not",
    "red",
    "blue",
    "big",
    "small",
    "house",
    "river",
]
TEXTS = ["the cat sat on the mat", "a dog ran", "the big red house and the small blue river", "cat", "dog under tree"]


def write_bert(folder: Path, pooling: dict[str, bool] | None, normalise: bool, most: int = 12) -> Path:
    """A random BERT as sentence-transformers keeps it."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    torch.manual_seed(0)
    vocabulary = {w: i for i, w in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=32,
    )
    model = BertModel(config)
    with torch.no_grad():
        for name, values in model.named_parameters():
            values.add_(torch.randn_like(values) * (0.3 if "weight" in name else 0.1))
    model.save_pretrained(folder)
    inner = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    inner.normalizer, inner.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", None, [("[CLS]", 2), ("[SEP]", 3)])
    PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(folder)
    kinds = (
        [("", "Transformer")] + [("1_Pooling", "Pooling")] * bool(pooling) + [("2_Normalize", "Normalize")] * normalise
    )
    modules = [{"idx": i, "path": p, "type": f"sentence_transformers.models.{k}"} for i, (p, k) in enumerate(kinds)]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": most}))
    if pooling:
        (folder / "1_Pooling").mkdir()
        (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 64} | pooling))
    return folder


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bert(tmp_path_factory.mktemp("bert") / "model", {"pooling_mode_mean_tokens": True}, True)


def exported(source: Path, target: Path) -> Path:
    from quantcurve.engines import encoder_export

    target.mkdir()
    with Child("export", target.with_suffix(".log")) as child:
        child.call(encoder_export.export, source, target)
    return target


@pytest.fixture(scope="module")
def ir(bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(bert, tmp_path_factory.mktemp("ir") / "ir")


def embedded(folder: Path, texts: list[str], config: OpenVinoConfig = EXACT) -> np.ndarray:
    from quantcurve.engines import encoder_child

    encoder_child.open_model(folder, config)
    return encoder_child.embed(texts)


def by_torch(source: Path, texts: list[str], mode: str, normalised: bool, most: int = 12) -> np.ndarray:
    """What sentence-transformers defines, one text at a time."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    model, tokenizer = AutoModel.from_pretrained(source).eval(), AutoTokenizer.from_pretrained(source)
    rows = []
    for text in texts:
        ids = tokenizer(text, truncation=True, max_length=most, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            hidden = model(ids).last_hidden_state[0].numpy()
        row = {"mean": hidden.mean(0), "cls": hidden[0], "max": hidden.max(0)}[mode]
        rows.append(row / np.linalg.norm(row) if normalised else row)
    return np.stack(rows)


@pytest.mark.parametrize(
    ("flag", "mode", "normalise"),
    [("pooling_mode_cls_token", "cls", False), ("pooling_mode_max_tokens", "max", True), (None, "mean", False)],
)
def test_pooling_is_the_models_own(tmp_path: Path, flag: str | None, mode: str, normalise: bool) -> None:
    source = write_bert(tmp_path / "model", {flag: True} if flag else None, normalise)
    found = embedded(exported(source, tmp_path / "ir"), TEXTS)
    assert np.abs(found - by_torch(source, TEXTS, mode, normalise)).max() < 1e-4


def test_mean_normalised_cut_and_lower_case(bert: Path, ir: Path) -> None:
    long = " ".join(WORDS * 2)
    found = embedded(ir, [*TEXTS, long, "THE Cat"])
    assert np.abs(found - by_torch(bert, [*TEXTS, long, "the cat"], "mean", True)).max() < 1e-4
    assert np.linalg.norm(found, axis=1) == pytest.approx(np.ones(len(found)), abs=1e-5)


def test_what_else_is_embedded_changes_nothing(ir: Path) -> None:
    together = embedded(ir, TEXTS * 3)
    alone = np.concatenate([embedded(ir, [text]) for text in TEXTS])
    assert np.abs(together[: len(TEXTS)] - alone).max() < 1e-5
    assert np.abs(embedded(ir, TEXTS[::-1])[::-1] - alone).max() < 1e-5


@pytest.mark.parametrize("variant", [{"weights": "F16"}, {"weights": "INT8_ASYM"}, {"weights": "W8A8"}])
def test_variants_stay_near_the_reference(ir: Path, tmp_path: Path, variant: dict[str, str]) -> None:
    import shutil

    from quantcurve.engines import encoder_compress, openvino_revert

    target = shutil.copytree(ir, tmp_path / "variant")
    entry = OpenVinoVariant.model_validate(variant)
    if entry.weights == "W8A8":
        (tmp_path / "quantised").mkdir()
        encoder_compress.quantise(ir, tmp_path / "quantised", entry, TEXTS * 2)
        openvino_revert.build(tmp_path / "quantised", ir, target, ())
    else:
        encoder_compress.compress(ir, target, entry)
    found, reference = embedded(target, TEXTS), embedded(ir, TEXTS)
    cosine = (found * reference).sum(1)
    assert (cosine > 0.95).all() and (cosine < 1 - 1e-9).any()
    assert (target / "openvino_model.bin").stat().st_size < 0.7 * (ir / "openvino_model.bin").stat().st_size


def test_a_pass_is_timed(ir: Path) -> None:
    from quantcurve.engines import encoder_child

    encoder_child.open_model(ir, EXACT)
    times = encoder_child.time_once(EncoderWorkload(tokens=8, batch=2, passes=5))
    assert len(times) == 5 and min(times) > 0


def test_texts_without_tokens_and_unknown_modules_are_refused(ir: Path, bert: Path, tmp_path: Path) -> None:
    import shutil

    odd = shutil.copytree(bert, tmp_path / "odd")
    (odd / "modules.json").write_text(
        json.dumps([{"idx": 0, "path": "", "type": "sentence_transformers.models.Dense"}])
    )
    with pytest.raises(ModelFileError, match="a module of kind Dense"):
        encoder_pipeline.read(odd)
    (odd / "modules.json").write_text("{")
    with pytest.raises(ModelFileError, match="cannot be read"):
        encoder_pipeline.read(odd)
    assert embedded(ir, []).shape == (0, 0)
    (odd / "openvino_model.xml").write_text("")
    with pytest.raises(ModelFileError):
        embedded(odd, TEXTS)
