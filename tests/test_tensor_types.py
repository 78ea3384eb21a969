"""Types of single tensors and importance matrices: what llama.cpp really writes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

import tiny
from quantcurve.engines import llamacpp_child, llamacpp_files, llamacpp_quantize, quantize_call
from quantcurve.engines.base import LlamaCppConfig
from quantcurve.engines.child import Child
from quantcurve.engines.gguf_file import GgufHeader
from quantcurve.engines.llamacpp_quantize import ImportanceOrigin, Quantized, SizeSpec
from quantcurve.engines.tensor_types import (
    TENSOR_TYPES,
    TensorRule,
    assign,
    exact_pattern,
    llama_quantize_options,
    overridable,
    tensor_type_file,
)
from quantcurve.errors import BackendError, RecipeError
from quantcurve.records import Fallback

TOOLS = Path(os.environ.get("QUANTCURVE_LLAMA_TOOLS", "tools-are-not-built"))
real = pytest.mark.real
NAMES = ("token_embd.weight", *(f"blk.{i}.{n}.weight" for i in range(12) for n in ("attn_k", "attn_v", "ffn_up")))
NORMS = ("output_norm.weight", "blk.0.attn_norm.weight")
V0 = r"blk\.0\.attn_v\.weight"


def rules(*pairs: tuple[str, str]) -> tuple[TensorRule, ...]:
    return tuple(TensorRule(match=match, type=kind) for match, kind in pairs)


# ---- rules ----


def test_the_first_rule_that_matches_a_whole_name_wins():
    found = assign(NAMES, rules((r"blk\.1\.attn_.*", "F16"), (r"blk\.1\..*", "Q8_0"), (r".*attn_v\.weight", "Q6_K")))
    assert found.pop("blk.1.attn_k.weight") == found.pop("blk.1.attn_v.weight") == "F16"
    assert found.pop("blk.1.ffn_up.weight") == "Q8_0"
    assert found == {f"blk.{i}.attn_v.weight": "Q6_K" for i in range(12) if i != 1}
    assert list(assign(NAMES, rules((r"blk\.[02]\..*", "Q8_0")))) == [
        n for n in NAMES if n.startswith(("blk.0.", "blk.2."))
    ]


@pytest.mark.parametrize(
    "match", ["attn_v", r"blk\.0\.attn_v", r"blk\.0\.attn_vv\.weight", r"blk\.0\.attn_v\.weight.", "x"]
)
def test_a_rule_that_matches_no_whole_name_is_refused_with_near_names(match):
    with pytest.raises(RecipeError) as caught:
        assign(NAMES, rules((match, "Q8_0")))
    said = str(caught.value)
    assert said.startswith(f"tensor rule {match!r} (Q8_0) matches none of the model's 37 tensors")
    assert "blk.0.attn_v.weight" in said or match in ("x", "attn_v")
    assert any(name in said for name in NAMES)


def test_a_rule_for_tensors_that_are_never_quantized_is_refused_but_may_match_them_beside_others():
    with pytest.raises(
        RecipeError, match=r"'output_norm.*' \(F16\) matches only tensors that llama\.cpp never quantizes"
    ):
        assign(NAMES, rules(("output_norm.*", "F16")), NORMS)
    with pytest.raises(RecipeError, match=r"\(output_norm\.weight and 1 more\)"):
        assign(NAMES, rules((r".*_norm\.weight", "F16")), NORMS)
    assert len(assign(NAMES, rules((r"blk\.0\..*", "F16")), NORMS)) == 3


def test_a_rule_that_is_never_reached_is_refused():
    with pytest.raises(RecipeError) as caught:
        assign(NAMES, rules((r".*attn_v\.weight", "F16"), (r".*attn_k\.weight", "F16"), (r"blk\.3\.attn_.*", "Q8_0")))
    said = str(caught.value)
    assert said.startswith(
        r"tensor rule 'blk\\.3\\.attn_.*' (Q8_0) is never reached: its 2 tensors (blk.3.attn_k.weight "
    )
    assert r"earlier rules ('.*attn_k\\.weight', '.*attn_v\\.weight')" in said


@pytest.mark.parametrize("kind", ["Q4_K_M", "q6_K", "Q8_K", "Q8_1", "I32", ""])
def test_unknown_types_are_refused_with_those_that_are_known(kind):
    with pytest.raises(ValidationError) as caught:
        TensorRule(match="x", type=kind)
    assert caught.value.errors()[0]["ctx"]["candidates"] == list(TENSOR_TYPES)


@pytest.mark.parametrize("match", ["(", "*", ""])
def test_what_is_no_regular_expression_is_refused(match):
    with pytest.raises(ValidationError, match=r"regular expression|at least 1"):
        TensorRule(match=match, type="F16")


def test_the_file_for_llama_quantize_has_one_exact_name_a_line():
    made = tensor_type_file((("blk.0.attn_v.weight", "Q6_K"), ("a b=C+é.weight", "IQ2_XXS")))
    assert made == "^blk\\.0\\.attn_v\\.weight$=q6_k\n^a\\x20b\\x3d\\x43\\x2b\\xc3\\xa9\\.weight$=iq2_xxs\n"
    assert exact_pattern("") == "^$"


# ---- what is written ----


@pytest.fixture(scope="module")
def child(tmp_path_factory):
    with Child("tensors", tmp_path_factory.mktemp("tensors") / "log") as started:
        yield started


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("tensor-types")


@pytest.fixture(scope="module")
def deep(folder) -> Path:
    """Eight layers, so that the mixtures give some of them more bits."""
    return tiny.write_tiny_llama(folder / "deep.gguf", n_layer=8)


@pytest.fixture(scope="module")
def narrow(folder) -> Path:
    """Rows of 320 weights, which do not fill the K-quants' blocks of 256; those of ffn_down do."""
    return tiny.write_tiny_llama(folder / "narrow.gguf", n_embd=320, n_head=5, n_head_kv=5)


@pytest.fixture(scope="module")
def importance(child, deep) -> dict[str, np.ndarray]:
    """Mean squares over four orders of magnitude for every matrix that a matrix product uses."""
    random = np.random.default_rng(1)
    tensors = [t for t in child.call(llamacpp_files.header, deep).tensors if len(t.shape) > 1]
    return {
        t.name: random.lognormal(0, 2, t.shape[0]).astype(np.float32) for t in tensors if t.name != "token_embd.weight"
    }


class Maker:
    """Writes files with one child and reads them back."""

    def __init__(self, child: Child, folder: Path) -> None:
        self.child = child
        self.folder = folder

    def write(
        self, source: Path, file_type: str, *of: TensorRule, **more: object
    ) -> tuple[Quantized, GgufHeader, Path]:
        target = self.folder / f"made-{len(list(self.folder.iterdir()))}.gguf"
        made = self.child.call(llamacpp_quantize.quantize, source, target, file_type, 2, of, **more)
        return made, self.child.call(llamacpp_files.header, target), target


@pytest.fixture
def maker(child, tmp_path) -> Maker:
    return Maker(child, tmp_path)


def types(header: GgufHeader) -> dict[str, str]:
    return {t.name: t.type for t in header.tensors}


def data(header: GgufHeader, path: Path) -> dict[str, bytes]:
    raw = path.read_bytes()
    return {t.name: raw[t.offset : t.offset + t.size_bytes] for t in header.tensors}


def key(path: Path, name: str) -> object:
    from gguf import GGUFReader

    field = GGUFReader(path).get_field(name)
    return None if field is None else field.contents()


@real
@pytest.mark.parametrize("file_type", ["Q4_K_M", "Q5_K_M", "Q4_K_S", "Q3_K_M", "Q4_0", "MXFP4_MOE"])
def test_the_mixture_stays_as_it_is_but_for_what_the_rules_name(maker, deep, file_type):
    plain, plain_header, plain_path = maker.write(deep, file_type)
    made, header, path = maker.write(deep, file_type, *rules((V0, "F16"), (r"blk\.[34]\.ffn_down\.weight", "Q5_1")))
    named = {"blk.0.attn_v.weight": "F16", "blk.3.ffn_down.weight": "Q5_1", "blk.4.ffn_down.weight": "Q5_1"}
    assert types(header) == types(plain_header) | named
    before, after = data(plain_header, plain_path), data(header, path)
    assert all(after[name] == before[name] for name in before.keys() - named.keys())
    assert all(after[name] != before[name] for name in named)
    matrices = {t.name for t in header.tensors if len(t.shape) > 1}
    assert dict(made.overrides) == {name: types(header)[name] for name in matrices}
    assert (made.fallbacks, plain.overrides, made.without_importance) == ((), (), ())
    assert key(path, "general.file_type") == key(plain_path, "general.file_type")


@real
def test_a_type_for_one_tensor_alone_would_move_others(child, deep):
    """Why all types are handed over: llama.cpp's mixtures count the tensors that they decide themselves."""
    job = quantize_call.Job(deep, deep, "Q4_K_M")
    plain = child.call(quantize_call.decide, job).types
    naive = child.call(quantize_call.decide, job._replace(overrides=(("blk.0.attn_v.weight", "F16"),))).types
    values = [f"blk.{i}.attn_v.weight" for i in range(8)]
    assert [i for i in range(8) if plain[values[i]] == "Q6_K"] == [0, 3, 6, 7]
    assert [i for i in range(8) if naive[values[i]] == "Q6_K"] == [1, 4, 7]


@real
def test_rules_are_taken_in_order(maker, deep):
    _, header, _ = maker.write(deep, "Q4_0", *rules((V0, "Q8_0"), (r".*attn_v\.weight", "Q5_0"), ("blk.*", "Q4_1")))
    found = types(header)
    assert {found[f"blk.{i}.attn_v.weight"] for i in range(1, 8)} == {"Q5_0"}
    assert (found["blk.0.attn_v.weight"], found["blk.0.attn_k.weight"]) == ("Q8_0", "Q4_1")
    assert (found["token_embd.weight"], found["output.weight"], found["blk.0.attn_norm.weight"]) == (
        "Q4_0",
        "Q6_K",
        "F32",
    )


@real
@pytest.mark.parametrize(("file_type", "number"), [("F16", 1), ("BF16", 32), ("F32", 0)])
def test_unquantized_files_take_rules_too(maker, deep, file_type, number):
    """llama.cpp alone ignores them there."""
    _, plain, plain_path = maker.write(deep, file_type)
    made, header, path = maker.write(deep, file_type, *rules((r".*ffn_(up|gate)\.weight", "Q4_K")))
    named = {n: "Q4_K" for n in types(plain) if "ffn_up" in n or "ffn_gate" in n}
    assert len(named) == 16
    assert types(header) == types(plain) | named
    before, after = data(plain, plain_path), data(header, path)
    assert all(after[name] == before[name] for name in before.keys() - named.keys())
    assert key(path, "general.file_type") == key(plain_path, "general.file_type") == number
    assert made.size_bytes == path.stat().st_size


@real
def test_output_and_embeddings_take_rules(maker, deep):
    plain = types(maker.write(deep, "Q4_K_M")[1])
    _, header, _ = maker.write(deep, "Q4_K_M", *rules((r"output\.weight", "Q5_K"), (r"token_embd\.weight", "Q8_0")))
    assert (plain["output.weight"], plain["token_embd.weight"]) == ("Q6_K", "Q4_K")
    assert types(header) == plain | {"output.weight": "Q5_K", "token_embd.weight": "Q8_0"}


@real
def test_embeddings_tied_to_the_output_take_rules(maker, folder, monkeypatch):
    matrices = tiny._matrices
    monkeypatch.setattr(tiny, "_matrices", lambda *sizes: [m for m in matrices(*sizes) if m[0] != "output.weight"])
    tied = tiny.write_tiny_llama(folder / "tied.gguf")
    plain = types(maker.write(tied, "Q4_K_M")[1])
    _, header, path = maker.write(tied, "Q4_K_M", *rules((r"token_embd\.weight", "Q3_K")))
    assert "output.weight" not in plain and plain["token_embd.weight"] == "Q6_K"
    assert types(header) == plain | {"token_embd.weight": "Q3_K"}
    maker.child.call(llamacpp_child.open_model, path, LlamaCppConfig(threads=1, window_tokens=64))


@real
def test_what_does_not_fit_a_tensor_is_told(maker, narrow):
    """Also what llama.cpp does in silence (the output), and not where a rule asks for just that."""
    plain, plain_header, _ = maker.write(narrow, "Q4_K_M")
    assert {f.tensor for f in plain.fallbacks} == {
        t.name for t in plain_header.tensors if t.shape[0] == 320 and len(t.shape) > 1
    }
    weights = {t.name: t.weights for t in plain_header.tensors}
    assert (
        Fallback(tensor="output.weight", wanted="Q6_K", got="Q8_0", weights=weights["output.weight"]) in plain.fallbacks
    )

    asked, header, _ = maker.write(
        narrow, "Q4_K_M", *rules((r"output\.weight", "Q8_0"), (r"blk\.1\.attn_q\.weight", "Q8_0"))
    )
    assert types(header) == types(plain_header) | {"blk.1.attn_q.weight": "Q8_0"}
    assert set(asked.fallbacks) == {
        f for f in plain.fallbacks if f.tensor not in ("output.weight", "blk.1.attn_q.weight")
    }

    other, header, _ = maker.write(
        narrow, "Q4_0", *rules((r"output\.weight", "Q5_K"), (r".*\.attn_v\.weight", "IQ3_S"))
    )
    assert {(f.tensor, f.wanted, f.got) for f in other.fallbacks} == {
        ("output.weight", "Q5_K", "Q5_1"),
        ("blk.0.attn_v.weight", "IQ3_S", "IQ4_NL"),
        ("blk.1.attn_v.weight", "IQ3_S", "IQ4_NL"),
    }
    assert all(types(header)[f.tensor] == f.got and f.weights == weights[f.tensor] for f in other.fallbacks)


@real
def test_rules_are_checked_against_the_model(maker, deep, narrow):
    with pytest.raises(RecipeError, match=r"near|such as blk\.0\.attn_v\.weight"):
        maker.write(deep, "Q4_0", *rules((r"blk\.0\.attn_w\.weight", "Q8_0")))
    with pytest.raises(RecipeError, match="never quantizes"):
        maker.write(deep, "Q4_0", *rules((r"blk\.0\.ffn_norm\.weight", "Q8_0")))
    with pytest.raises(
        BackendError, match=r"no tensor type fallback is defined for type q1_0 \(blk\.0\.attn_q\.weight has 320 "
    ):
        maker.write(narrow, "Q4_0", *rules((r"blk\.0\.attn_q\.weight", "Q1_0")))


@real
def test_every_tensor_type_can_be_given(maker, deep, importance):
    ggml_types = maker.child.call(llamacpp_files.nominal_bits)
    assert ggml_types.keys() >= set(TENSOR_TYPES)
    bits = [ggml_types[t] for t in TENSOR_TYPES]
    assert bits == sorted(bits)
    chosen = dict(zip((n for n in importance if n != "output.weight"), TENSOR_TYPES, strict=False))
    assert len(chosen) == len(TENSOR_TYPES)
    given = rules(*((n.replace(".", r"\."), t) for n, t in chosen.items()))
    _, header, path = maker.write(deep, "Q8_0", *given, importance=importance)
    assert {n: types(header)[n] for n in chosen} == chosen
    maker.child.call(llamacpp_child.open_model, path, LlamaCppConfig(threads=1, window_tokens=64))
    windows = np.random.default_rng(0).integers(3, 300, (1, 64)).astype(np.int32)
    assert np.isfinite(maker.child.call(llamacpp_child.score, windows, None, None).nll).all()


SURVIVORS = """
import ctypes, os, sys
import llama_cpp as lc
from llama_cpp._ggml import libggml
row, out, size = (ctypes.c_float * 256)(*([1.0] * 256)), (ctypes.c_char * 4096)(), ctypes.c_int64
for name in sys.argv[1:]:
    if not (pid := os.fork()):
        libggml.ggml_quantize_chunk(getattr(lc, "GGML_TYPE_" + name), row, out, size(0), size(1), size(256), row)
        os._exit(0)
    if os.waitpid(pid, 0)[1] == 0:
        print(name)
"""


@real
@pytest.mark.skipif(not hasattr(os, "fork"), reason="what ggml aborts on is tried in forks")
def test_no_other_type_of_the_build_can_be_given(child):
    others = [n for n in child.call(llamacpp_files.nominal_bits) if n not in TENSOR_TYPES]
    assert {"Q8_1", "Q8_K", "I32"} <= set(others)
    command = [sys.executable, "-c", SURVIVORS, "Q4_K", *others]
    quiet = {**os.environ, "GGML_NO_BACKTRACE": "1"}
    assert subprocess.run(command, capture_output=True, text=True, env=quiet, check=True).stdout == "Q4_K\n"


# ---- importance ----


def weighted_error(source: Path, made: GgufHeader, path: Path, importance: dict[str, np.ndarray]) -> float:
    """Squared error of the weights by importance, summed over all tensors."""
    from gguf import GGMLQuantizationType
    from gguf.quants import dequantize

    with Child("source", path.with_suffix(".log")) as other:
        original = other.call(llamacpp_files.header, source)
    exact, stored, total = data(original, source), data(made, path), 0.0
    for tensor in made.tensors:
        if tensor.name in importance:
            kind = GGMLQuantizationType[tensor.type]
            rows = np.frombuffer(stored[tensor.name], np.uint8).reshape(tensor.shape[1], -1)
            wanted = np.frombuffer(exact[tensor.name], np.float16).astype(np.float32).reshape(-1, tensor.shape[0])
            total += float(((dequantize(rows, kind) - wanted) ** 2 @ importance[tensor.name]).sum())
    return total


@real
@pytest.mark.parametrize(("file_type", "at_most"), [("Q4_K_M", 0.8), ("Q3_K_M", 0.8), ("Q2_K", 0.8), ("IQ3_S", 0.95)])
def test_importance_lowers_the_weighted_error(maker, deep, importance, file_type, at_most):
    plain, plain_header, plain_path = maker.write(deep, file_type)
    made, header, path = maker.write(deep, file_type, importance=importance)
    assert types(header) == types(plain_header)
    assert data(header, path)["blk.0.attn_q.weight"] != data(plain_header, plain_path)["blk.0.attn_q.weight"]
    errors = [weighted_error(deep, h, p, importance) for h, p in ((header, path), (plain_header, plain_path))]
    assert 0 < errors[0] < at_most * errors[1]
    assert (made.without_importance, plain.without_importance) == (("token_embd.weight",), ())


@real
@pytest.mark.parametrize("file_type", ["IQ1_S", "IQ2_XXS", "IQ2_M", "IQ3_XXS", "Q2_K_S"])
def test_types_that_need_importance_are_written_with_it(maker, deep, importance, file_type):
    made, header, path = maker.write(deep, file_type, importance=importance)
    assert made.size_bytes == path.stat().st_size < deep.stat().st_size / 3
    assert made.fallbacks == ()
    assert "F16" not in types(header).values()


@real
def test_the_file_says_what_its_importance_came_from_and_the_same_input_gives_the_same_bytes(maker, deep, importance):
    origin = ImportanceOrigin("calibration é" + "x" * 200, 12)
    more = {"importance": importance, "origin": origin}
    _, _, path = maker.write(deep, "IQ2_XXS", *rules((V0, "Q6_K")), **more)
    backwards = {"importance": dict(reversed(importance.items())), "origin": origin}
    _, _, again = maker.write(deep, "IQ2_XXS", *rules((V0, "Q6_K")), **backwards)
    assert path.read_bytes() == again.read_bytes()
    assert key(path, "quantize.imatrix.dataset") == ("calibration é" + "x" * 200)[:126]
    assert key(path, "quantize.imatrix.entries_count") == len(importance) == 57
    assert key(path, "quantize.imatrix.chunks_count") == 12
    assert key(path, "quantize.imatrix.file") is None
    _, _, unknown = maker.write(deep, "IQ2_XXS", importance=importance)
    assert key(unknown, "quantize.imatrix.entries_count") == 57
    assert key(unknown, "quantize.imatrix.chunks_count") is None


@real
def test_some_mixtures_differ_with_importance_and_plans_know(maker, deep, importance):
    plain, with_it = (types(maker.write(deep, "Q4_0", importance=i)[1]) for i in (None, importance))
    assert {n for n in plain if plain[n] != with_it[n]} == {"blk.0.ffn_down.weight"}
    assert with_it["blk.0.ffn_down.weight"] == "Q4_1"
    plan = maker.child.call(llamacpp_quantize.plan_tensors, deep, "Q4_0", has_imatrix=True)
    assert plan.types == with_it
    _, header, _ = maker.write(deep, "Q4_0", *rules((V0, "Q8_0")), importance=importance)
    assert types(header) == with_it | {"blk.0.attn_v.weight": "Q8_0"}


@real
def test_without_importance_the_error_names_the_tensor_and_the_way_out(maker, deep, importance):
    for dry_run in (False, True):
        with pytest.raises(BackendError, match=r"write \{type: Q4_0, imatrix: true\} in the recipe\n") as caught:
            maker.write(deep, "Q4_0", *rules((V0, "IQ2_S")), dry_run=dry_run)
        assert dry_run or "(blk.0.attn_v.weight as IQ2_S)" in str(caught.value)
    less = {n: v for n, v in importance.items() if n != "blk.3.attn_k.weight"}
    with pytest.raises(
        BackendError, match=r"tensor blk\.3\.attn_k\.weight .* no entry for it\); give this tensor another"
    ):
        maker.write(deep, "IQ2_XXS", importance=less)
    _, header, _ = maker.write(deep, "IQ2_XXS", *rules((r"blk\.3\.attn_k\.weight", "Q2_K")), importance=less)
    assert types(header)["blk.3.attn_k.weight"] == "Q2_K"


@real
@pytest.mark.parametrize("kind", ["IQ1_S", "IQ2_XXS", "IQ2_XS"])
def test_where_llama_cpp_would_abort_for_lack_of_importance_it_is_refused(maker, deep, importance, kind):
    for given in (None, importance):
        with pytest.raises(BackendError, match=rf"token_embd\.weight cannot become {kind} without importance weights"):
            maker.write(deep, "Q4_0", *rules((r"token_embd\.weight", kind)), importance=given)
    own = importance | {"token_embd.weight": np.ones(256, np.float32)}
    made, header, _ = maker.write(deep, "Q4_0", *rules((r"token_embd\.weight", kind)), importance=own)
    assert types(header)["token_embd.weight"] == kind
    assert made.without_importance == ()


@real
def test_importance_that_does_not_fit_the_model_is_refused(maker, deep, importance):
    name = "blk.1.ffn_up.weight"
    with pytest.raises(BackendError, match=r"512 values for blk\.1\.ffn_up\.weight, which takes 256 \(256 columns"):
        maker.write(deep, "Q4_0", importance=importance | {name: np.ones(512, np.float32)})
    with pytest.raises(BackendError, match=r"not finite for blk\.1\.ffn_up\.weight"):
        maker.write(deep, "Q4_0", importance=importance | {name: np.full(256, np.nan, np.float32)})
    for strange in ({"x.weight": np.ones(256, np.float32)}, {}):
        with pytest.raises(
            BackendError, match=r"no entry for any tensor of this model \(its first is (x\.weight|nothing), "
        ):
            maker.write(deep, "Q4_0", importance=strange)
    # llama.cpp itself goes on without what does not fit the embeddings.
    made, _, _ = maker.write(deep, "Q4_0", importance=importance | {"token_embd.weight": np.ones(300, np.float32)})
    assert made.without_importance == ("token_embd.weight",)


# ---- plans ----


@real
def test_planned_sizes_are_those_of_the_files(maker, deep, narrow, importance):
    some = rules((V0, "Q8_0"), (r".*ffn_up\.weight", "Q5_K"))
    cases = [("Q4_K_M", ()), ("Q4_K_M", some), ("F16", ()), ("F16", some), ("Q1_0", some), ("BF16", some)]
    for source in (deep, narrow):
        planned = maker.child.call(llamacpp_quantize.planned_sizes, source, [SizeSpec(*case) for case in cases])
        for (file_type, of), size in zip(cases, planned, strict=True):
            if (source, file_type) == (narrow, "Q1_0"):
                assert "320 columns" in size
                continue
            assert size == maker.write(source, file_type, *of)[2].stat().st_size
    more = {"importance": importance, "origin": ImportanceOrigin("texts", 7)}
    made, _, path = maker.write(deep, "IQ2_XXS", *some, **more)
    dry = maker.child.call(llamacpp_quantize.quantize, deep, path, "IQ2_XXS", 2, some, dry_run=True, **more)
    assert dry == made
    sizes = maker.child.call(
        llamacpp_quantize.planned_sizes, deep, [SizeSpec("IQ2_XXS", some, True), SizeSpec("IQ2_XXS", some)]
    )
    assert 0 < path.stat().st_size - sizes[0] < 300
    assert sizes[1] == (
        "IQ2_XXS: llama.cpp will refuse it: it needs an importance matrix; "
        "write {type: IQ2_XXS, imatrix: true} in the recipe"
    )


@real
def test_a_dry_run_writes_nothing(child, deep, tmp_path):
    dry = child.call(llamacpp_quantize.quantize, deep, tmp_path / "x.gguf", "Q4_0", 2, dry_run=True)
    assert list(tmp_path.iterdir()) == []
    child.call(llamacpp_quantize.quantize, deep, tmp_path / "x.gguf", "Q4_0", 2)
    assert dry.size_bytes == (tmp_path / "x.gguf").stat().st_size


@real
def test_a_quantized_source_has_the_same_quantizable_tensors(maker, deep):
    expected = tuple(n for n, t in types(maker.child.call(llamacpp_files.header, deep)).items() if t == "F16")
    assert len(expected) == 58
    for file_type in ("Q4_K_M", "F16", "F32"):
        assert set(maker.child.call(llamacpp_quantize.quantizable, maker.write(deep, file_type)[2])) == set(expected)


# ---- llama-quantize ----


@real
@pytest.mark.skipif(not (TOOLS / "llama-quantize").is_file(), reason="QUANTCURVE_LLAMA_TOOLS names no llama-quantize")
@pytest.mark.parametrize("file_type", ["Q4_K_M", "Q3_K_M", "F16", "BF16", "Q4_0"])
def test_llama_quantize_writes_the_same_file_from_the_exported_types(maker, deep, tmp_path, file_type):
    strange = tmp_path / "strange.gguf"
    old, new = b"blk.2.ffn_gate.weight", b"blk.2.fF{=g te.weight"  # what its parser lower-cases, splits or cuts
    strange.write_bytes(deep.read_bytes().replace(old, new))
    made, header, path = maker.write(
        strange, file_type, *rules((V0, "Q8_0"), (r".*=g te\.weight", "Q6_K"), (r"output\.weight", "Q5_0"))
    )
    assert types(header)[new.decode()] == "Q6_K"
    exported = tmp_path / "types.txt"
    exported.write_text(tensor_type_file(made.overrides))
    theirs = tmp_path / "theirs.gguf"
    options = ("--tensor-type-file", exported, *llama_quantize_options(file_type))
    command = [TOOLS / "llama-quantize", *options, strange, theirs, overridable(file_type), "2"]
    subprocess.run(command, check=True, capture_output=True)
    assert theirs.read_bytes() == path.read_bytes()
