"""Recipes: what is read, and every mistake named with its line."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quantcurve import encoder_recipe, resources
from quantcurve.errors import RecipeError
from quantcurve.recipe import Recipe, load

GOOD = """\
name: tiny
model:
  source: model.gguf
texts:
  - name: a
    source: a.txt
    windows: 3
variants:
  gguf: [Q8_0, Q4_0]
windows:
  limit: 7
"""


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "recipe.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def message(folder: Path, text: str | bytes) -> str:
    with pytest.raises(RecipeError) as caught:
        load(write(folder, text))
    return str(caught.value)


def test_reads_a_recipe_and_fills_in_defaults(tmp_path: Path) -> None:
    recipe = load(write(tmp_path, GOOD)).recipe
    assert [v.label for v in recipe.variants.gguf] == ["Q8_0", "Q4_0"]
    assert (recipe.windows.tokens, recipe.screen.discard_above_percent, recipe.screen.suspect_above_percent) == (
        512,
        5.0,
        3.0,
    )
    assert recipe.windows.limit_of(recipe.texts[0]) == 3


def test_every_shipped_recipe_is_valid() -> None:
    paths = list(resources.folder("recipes").rglob("*.yaml"))
    encoders = [p for p in paths if encoder_recipe.is_encoder(p)]
    assert encoders and len(paths) > len(encoders)
    assert [encoder_recipe.load(p).recipe.name for p in encoders]
    assert [load(p).recipe.name for p in paths if p not in encoders]


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("gguf:", "ggfu:", 9, "variants.ggfu: unknown key (got ['Q8_0', 'Q4_0']); did you mean gguf?"),
        ("Q4_0", "Q4_KM", 9, "variants.gguf.1: unknown GGUF type (got 'Q4_KM'); did you mean Q4_K_M?"),
        ("Q4_0", "q4_0", 9, "(got 'q4_0'); did you mean Q4_0?"),
        ("windows: 3", "windows: 1", 7, "texts.0.windows: input should be greater than or equal to 2 (got 1)"),
        ("source: model.gguf", "sorce: model.gguf", 3, "model.sorce: unknown key (got 'model.gguf'); did you mean"),
        ("source: model.gguf", "reference: F61", 3, "must be one of 'auto', 'F16' or 'BF16' (got 'F61')"),
        ("limit: 7", "limit: many", 11, "windows.limit: input should be a valid integer"),
        ("limit: 7", "tokens: 33", 11, "windows.tokens: must be even, since half of a window is scored (got 33)"),
        ("Q4_0]", "Q8_0]", 9, "variants.gguf: named twice: Q8_0"),
        ("name: tiny", "name: a/b", 1, "name: string should match pattern"),
        ("windows:\n", "windoes:\n", 10, "windoes: unknown key (got {'limit': 7}); did you mean windows?"),
    ],
)
def test_mistakes_are_named_with_file_line_field_value(
    tmp_path: Path, old: str, new: str, line: int, words: str
) -> None:
    text = message(tmp_path, GOOD.replace(old, new))
    assert f"recipe.yaml:{line}: " in text
    assert words in text


@pytest.mark.parametrize(("figure", "tokens", "least"), [("latency_p95", 19, 20), ("latency_p99", 99, 100)])
def test_quantiles_need_enough_decoded_tokens(tmp_path: Path, figure: str, tokens: int, least: int) -> None:
    timed = f"{GOOD}contract: {{system: {{{figure}: -10 %}}}}\nbenchmark: {{decode_tokens: TOKENS}}\n"
    wanted = f"contract.system.{figure} needs {least} decoded tokens, and benchmark.decode_tokens is {tokens}"
    assert wanted in message(tmp_path, timed.replace("TOKENS", str(tokens)))
    assert load(write(tmp_path, timed.replace("TOKENS", str(least)))).recipe.benchmark.decode_tokens == least  # type: ignore[union-attr]


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    lines = message(tmp_path, GOOD.replace("tiny", "a b").replace("Q4_0", "Q4_9").replace("7", "0")).splitlines()
    assert [line.split(":")[1] for line in lines] == ["1", "9", "11"]


def test_lines_out_of_order(tmp_path: Path) -> None:
    text = message(tmp_path, GOOD + "screen: {discard_above_percent: 2}\n")
    assert "screen: suspect_above_percent (3.0) must not be above discard_above_percent (2.0)" in text


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "a recipe is a mapping"),
        (b"- a\n- b\n", "a recipe is a mapping"),
        (b"name: a\nname: b\n", "recipe.yaml:2: not valid YAML: found duplicate key"),
        (b"name: [a\nb: c", "recipe.yaml:2: not valid YAML"),
        (b"name: a\nx: \xff\xfe", "recipe.yaml:2: the recipe is not UTF-8"),
        (b"[" * 3000, "recipe.yaml:1: nested in more than 50 levels"),
        (b"name: \x00", "not valid YAML"),
        (b"a: &a [*a]\n", "the alias *a has no anchor before it"),
    ],
)
def test_what_is_no_recipe(tmp_path: Path, raw: bytes, words: str) -> None:
    assert words in message(tmp_path, raw)


def test_missing_recipe_names_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "smollm2.yaml").touch()
    with pytest.raises(RecipeError, match=r"cannot be read \(No such file.*did you mean smollm2\.yaml"):
        load(tmp_path / "smolm2.yaml")


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(max_size=60), st.integers(0, len(GOOD)), st.integers(0, 12))
def test_mutated_recipes_are_read_or_refused_by_name(tmp_path: Path, noise: bytes, at: int, cut: int) -> None:
    raw = GOOD.encode()
    path = write(tmp_path, raw[:at] + noise + raw[at + cut :])
    with contextlib.suppress(RecipeError):
        assert isinstance(load(path).recipe, Recipe)
