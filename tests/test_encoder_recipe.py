"""Recipes of kind encoder: what is refused before anything is made, with its place; texts; what judges an embedding."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ruamel.yaml import YAML
from scipy.stats import spearmanr

from quantcurve.encoder_recipe import LoadedEncoder, is_encoder, load
from quantcurve.encoder_texts import load_texts
from quantcurve.encoder_validation import EmbeddingAgreement, KeptEmbeddings, SentenceSimilarity, keep, similarities
from quantcurve.engines.base import Floats
from quantcurve.errors import RecipeError
from quantcurve.validation import Item
from test_cli import quantcurve


def loaded(folder: Path, variants: Sequence[Any] = ("W8A8",), **more: Any) -> LoadedEncoder:
    recipe = {"kind": "encoder", "name": "e", "model": {"source": "model"}, "variants": {"openvino": list(variants)}}
    path = folder / "recipe.yaml"
    with path.open("w") as sink:
        YAML().dump(recipe | more, sink)
    return load(path)


def controlled(weights: str = "W8A8", **control: Any) -> dict[str, Any]:
    return {"weights": weights, "accuracy_control": {"max_drop": 0.1} | control}


@pytest.mark.parametrize(
    ("variants", "more", "said"),
    [
        ([{"weights": "INT4_SYM", "awq": True}], {}, "awq: an encoder's weights are compressed without data"),
        ([{"weights": "F16", "runtime": {"kv_cache": "u8"}}], {}, "an encoder has no cache"),
        (["F16", "F16"], {}, "named twice: OV-F16"),
        ([controlled("INT8_ASYM")], {}, "restores layers of W8A8, not of compressed weights"),
        ([controlled(ranking="nncf")], {}, "ranking: nncf is of language models"),
        ([controlled(validation="other")], {}, "an encoder has one, under validation"),
        ([controlled(ranking_items=100)], {}, "ranking_items (100) is more than the 64 items"),
        ([controlled()], {"validation": {"function": "spearman"}}, "neither built in nor FILE.py:FUNCTION"),
        (["W8A8"], {"retrieval": {"depths": [10, 1]}}, "must ascend"),
        (["W8A8"], {"similarty": {}}, "did you mean similarity?"),
        (["W8A9"], {}, "W8A8"),
        ([], {}, "variants.openvino"),
    ],
)
def test_mistakes_are_named_with_their_place(
    tmp_path: Path, variants: list[Any], more: dict[str, Any], said: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        loaded(tmp_path, variants, **more)
    assert said in str(caught.value) and "recipe.yaml:" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("kind: encoder\n", True),
        ("name: x\nkind: 'encoder'  # an embedding model\n", True),
        ("name: x\nmodel: {kind: encoder}\n", False),
        ("kind: encoders\n", False),
        ("  kind: encoder\n", False),
    ],
)
def test_which_recipes_are_of_encoders(tmp_path: Path, text: str, is_one: bool) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(text)
    assert is_encoder(path) is is_one
    assert not is_encoder(tmp_path / "none.yaml")


def test_the_embedded_texts(tmp_path: Path) -> None:
    found = load_texts(loaded(tmp_path))
    assert len(found.pairs.first) == len(found.pairs.second) == len(found.pairs.graded) >= 128
    assert len(found.retrieval.domains) > 1
    assert all(q.relevant and max(q.relevant) < len(found.retrieval.passages) for q in found.retrieval.queries)
    assert found.sentences and len(found.sentences.texts) == 300
    assert not set(found.sentences.texts) & set(found.judged)
    assert load_texts(loaded(tmp_path, ["F16"])).sentences is None


def test_own_texts_and_a_seeded_sample(tmp_path: Path) -> None:
    rows = [{"pair": {"a": f"first {i}", "b": f"second {i}"}, "gold": i % 5} for i in range(40)]
    (tmp_path / "own.jsonl").write_text("\n".join(map(json.dumps, rows)))
    named = {"source": "own.jsonl", "sentence1": "pair.a", "sentence2": "pair.b", "score": "gold", "limit": 20}
    first = load_texts(loaded(tmp_path, ["F16"], similarity=named)).pairs
    assert len(first.first) == 20 and first.first == load_texts(loaded(tmp_path, ["F16"], similarity=named)).pairs.first
    other = load_texts(loaded(tmp_path, ["F16"], similarity=named, seed=1)).pairs
    assert other.first != first.first and set(other.graded) <= set(range(5))


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"sentence1": "a", "sentence2": "b", "score": 1.0}] * 4, "has 4 pairs; a rank correlation needs 10"),
        ([{"sentence1": "a", "score": 1.0}] * 10, "own.jsonl:1: no field 'sentence2'"),
        ([{"sentence1": "a", "sentence2": "b", "score": "high"}] * 10, "'score' must be a number (got 'high')"),
        ([{"sentence1": " ", "sentence2": "b", "score": 1}] * 10, "'sentence1' must be a text"),
        ([{"sentence1": "a", "sentence2": "b", "score": float("nan")}] * 10, "must be a number (got nan)"),
    ],
)
def test_pairs_that_cannot_be_used(tmp_path: Path, rows: list[Any], said: str) -> None:
    (tmp_path / "own.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(RecipeError) as caught:
        load_texts(loaded(tmp_path, similarity={"source": "own.jsonl"}))
    assert said in str(caught.value) and "similarity.source" in str(caught.value)


PASSAGES = [{"id": str(i), "passage": f"passage {i}"} for i in range(3)]
QUERY = {"query": "q", "relevant": ["0"]}


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([*PASSAGES, QUERY, QUERY], "2 queries and 3 passages; at least 3 and 2"),
        ([*PASSAGES, QUERY, QUERY, QUERY | {"relevant": ["9"]}], "own.jsonl:6: there is no passage '9'"),
        ([*PASSAGES, PASSAGES[0]], "own.jsonl:4: a second passage '0'"),
        ([*PASSAGES, QUERY | {"relevant": "0"}], "must be a list of passages' ids"),
    ],
)
def test_retrieval_sets_that_cannot_be_used(tmp_path: Path, rows: list[Any], said: str) -> None:
    (tmp_path / "own.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(RecipeError) as caught:
        load_texts(loaded(tmp_path, retrieval={"source": "own.jsonl"}))
    assert said in str(caught.value)


def test_calibration_never_sees_what_is_judged(tmp_path: Path) -> None:
    judged = load_texts(loaded(tmp_path, ["F16"])).judged
    own = [*judged[:20], *(f"sentence number {i} about nothing that is graded" for i in range(12))]
    (tmp_path / "own.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in own))
    found = load_texts(loaded(tmp_path, calibration={"sources": [{"source": "own.jsonl"}]})).sentences
    assert found and found.left_out == 20 and not set(found.texts) & set(judged)
    (tmp_path / "own.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in judged[:20]))
    with pytest.raises(RecipeError, match="0 sentences are left to calibrate on"):
        load_texts(loaded(tmp_path, calibration={"sources": [{"source": "own.jsonl"}]}))


class Table:
    """An encoder of made-up embeddings."""

    context_tokens = 8

    def __init__(self, seed: int, noise: float = 0.0) -> None:
        self.seed, self.noise = seed, noise

    def embed(self, texts: Sequence[str]) -> Floats:
        def row(text: str) -> Floats:
            base = np.random.default_rng([self.seed, *text.encode()]).normal(size=16)
            return (base + self.noise * np.random.default_rng([9, *text.encode()]).normal(size=16)).astype(np.float32)

        return np.stack([row(text) for text in texts])


ITEMS = [
    Item(i, "own", record={"sentence1": f"a {i}", "sentence2": f"b {i}", "score": float(i % 7)}) for i in range(60)
]


def test_sentence_similarity_is_spearmans_rho_on_the_reference(tmp_path: Path) -> None:
    reference = Table(0)
    keep(reference.embed, ITEMS, tmp_path)
    kept = KeptEmbeddings(tmp_path)
    function = SentenceSimilarity(ITEMS, kept)
    graded = [item.record["score"] for item in ITEMS]
    found = function(reference, ITEMS)
    assert np.mean(found) == pytest.approx(spearmanr(graded, similarities(reference, ITEMS)).statistic, abs=1e-12)
    other = function(Table(0, 0.1), ITEMS)
    assert np.mean(np.abs(np.array(other) - found)) > 0
    assert function(Table(0, 0.1), ITEMS[5:8]) == pytest.approx(other[5:8])
    with pytest.raises(RecipeError, match="no text of this validation"):
        kept.embed(["never seen"])


def test_embedding_agreement_is_one_on_the_reference_and_less_elsewhere(tmp_path: Path) -> None:
    reference = Table(0)
    keep(reference.embed, ITEMS, tmp_path)
    function = EmbeddingAgreement(KeptEmbeddings(tmp_path))
    assert function(reference, ITEMS) == pytest.approx(np.ones(60), abs=1e-6)
    near, far = (np.mean(function(Table(0, noise), ITEMS)) for noise in (0.05, 0.5))
    assert 1 > near > far > 0
    single = [Item(0, "own", record={"text": "a 1"})]
    keep(reference.embed, single, tmp_path)
    assert EmbeddingAgreement(KeptEmbeddings(tmp_path))(reference, single) == pytest.approx([1.0])


def test_all_pairs_alike_have_no_ranks() -> None:
    alike = [item._replace(record=item.record | {"score": 1.0}) for item in ITEMS]
    with pytest.raises(RecipeError, match="no ranks"):
        SentenceSimilarity(alike, Table(0))(Table(0), alike)


def test_other_commands_say_that_a_recipe_is_not_for_them(tmp_path: Path) -> None:
    loaded(tmp_path)
    found = quantcurve("calib", "check", str(tmp_path / "recipe.yaml"))
    assert found.returncode == 2 and "kind encoder" in found.stderr
    schema = json.loads(quantcurve("schema", "--encoder").stdout)
    assert {"similarity", "retrieval", "validation"} <= schema["properties"].keys()
