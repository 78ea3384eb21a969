"""Recipes with accuracy control: what is refused before anything is made, with its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from quantcurve.errors import RecipeError
from quantcurve.recipe import Recipe, load

KL: dict[str, Any] = {"name": "kl", "function": "negative_kl_divergence", "texts": [{"name": "a", "source": "a.txt"}]}
MC: dict[str, Any] = {"name": "mc", "function": "multiple_choice", "records": {"source": "mc.jsonl"}}


def loaded(folder: Path, variant: dict[str, Any], validations: list[dict[str, Any]]) -> Recipe:
    recipe = {
        "name": "control",
        "model": {"source": "model.gguf"},
        "texts": [{"name": "t", "source": "t.txt"}],
        "variants": {"openvino": [variant]},
        "validations": validations,
    }
    path = folder / "recipe.yaml"
    with path.open("w") as sink:
        YAML().dump(recipe, sink)
    return load(path).recipe


def w8a8(**control: Any) -> dict[str, Any]:
    return {"weights": "W8A8", "accuracy_control": {"max_drop": 0.1} | control}


def test_what_is_said_is_kept(tmp_path: Path) -> None:
    recipe = loaded(tmp_path, w8a8(drop="relative", max_drop=0.01), [MC])
    (variant,) = recipe.variants.openvino
    assert variant.accuracy_control and variant.accuracy_control.ranking == "fast"
    assert variant.label == "OV-W8A8+ac" and variant.data_aware


def test_one_of_several_validations_is_named(tmp_path: Path) -> None:
    assert loaded(tmp_path, w8a8(validation="mc"), [KL, MC]).validations[1].name == "mc"


@pytest.mark.parametrize(
    ("variant", "validations", "said"),
    [
        (w8a8(), [], "none: add one under validations"),
        (w8a8(), [KL, MC], "the recipe has kl, mc"),
        (w8a8(validation="other"), [KL], "other; the recipe has kl"),
        (w8a8(drop="relative"), [KL], "0 on the reference"),
        (w8a8(ranking_items=64), [KL], "more than the 32 items"),
        (w8a8(max_drop=0), [KL], "max_drop"),
        (w8a8(price="latency"), [KL], "compressed weights"),
        ({"weights": "INT4_SYM"} | {"accuracy_control": {"max_drop": 0.1, "ranking": "nncf"}}, [KL], "only for W8A8"),
        ({"weights": "F32", "accuracy_control": {"max_drop": 0.1}}, [KL], "takes no accuracy_control"),
        ({"weights": "W8A8", "group_size": 64}, [], "nncf.quantize, which takes no group_size"),
        ({"weights": "W8A8", "awq": True}, [], "takes no awq"),
        ({"weights": "W8A8", "layers": [{"match": "x", "weights": "INT4_SYM"}]}, [], "no other format than F32"),
        ({"weights": "INT8_ASYM", "smooth_quant": True}, [], "smooth_quant: only of W8A8"),
        (w8a8(), [KL | {"records": {"source": "x.jsonl"}}], "texts or records"),
        (w8a8(), [{k: v for k, v in KL.items() if k != "texts"}], "texts or records"),
        (w8a8(), [KL | {"function": "multiple_choice"}], "multiple_choice takes records"),
        (w8a8(), [MC | {"function": "token_accuracy"}], "token_accuracy takes texts"),
        (w8a8(), [KL | {"function": "negative_kl_divergenc"}], "did you mean negative_kl_divergence?"),
        (w8a8(), [KL, KL], "named twice: kl"),
        (w8a8(), [KL | {"item_tokens": 33}], "item_tokens"),
    ],
)
def test_what_cannot_be_is_refused(
    tmp_path: Path, variant: dict[str, Any], validations: list[dict[str, Any]], said: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        loaded(tmp_path, variant, validations)
    assert said in str(caught.value)
    assert f"{tmp_path / 'recipe.yaml'}:" in str(caught.value)
