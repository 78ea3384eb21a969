"""The OpenVINO engine on a tiny real model: export, scores, configurations, compression, broken files."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from limits import file_limit
from quantcurve.engines.base import (
    LlamaCppConfig,
    OpenVinoConfig,
    OpenVinoRuntime,
    ReferenceScratch,
    Tokens,
    TokenScores,
)
from quantcurve.engines.child import Child
from quantcurve.engines.opening import open_model
from quantcurve.errors import BackendError, ModelFileError, PrerequisiteError, RecipeError, UnsupportedFileError
from quantcurve.recipe import Model
from quantcurve.recipe_openvino import LayerRule, OpenVinoVariant
from quantcurve.recipe_text import Text
from quantcurve.records import EngineIdentity, ModelFile, Workload
from quantcurve.session import Session
from quantcurve.stages import compress, export, resolve
from quantcurve.stages.resolve import Failed
from quantcurve.stages.tokenizer_gate import FileHash
from quantcurve.store import Store, key_of
from quantcurve.texts import load_text
from tiny import write_tiny_llama

pytest.importorskip("openvino", reason="OpenVINO is not installed: pip install 'quantcurve[openvino]'")
pytest.importorskip("optimum.intel", reason="optimum-intel is not installed: pip install 'quantcurve[openvino]'")

pytestmark = [pytest.mark.real, pytest.mark.slow]
TOKENS = 64
CONFIG = LlamaCppConfig(threads=2, window_tokens=TOKENS, sequences=4)
EXACT = OpenVinoRuntime(execution="accuracy")


@pytest.fixture(scope="module")
def ir(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from quantcurve.engines import openvino_export

    folder = tmp_path_factory.mktemp("ir")
    with Child("export", folder / "log") as child:
        child.call(openvino_export.export, tiny_model, folder)
    return folder


@pytest.fixture(scope="module")
def windows() -> Tokens:
    return np.random.default_rng(0).integers(3, 299, (4, TOKENS)).astype(np.int32)


@pytest.fixture(scope="module")
def reference(tiny_model: Path, windows: Tokens, tmp_path_factory: pytest.TempPathFactory) -> ReferenceScratch:
    """llama.cpp's logits of the F16 file."""
    folder = tmp_path_factory.mktemp("reference")
    scratch = ReferenceScratch(folder)
    model = open_model(tiny_model, CONFIG, "reference", folder / "log")
    model.score(windows, keep=scratch)
    model.close()
    return scratch


class Bench:
    """Scores IRs against llama.cpp's reference."""

    def __init__(self, folder: Path, windows: Tokens, reference: ReferenceScratch) -> None:
        self.folder, self.windows, self.reference = folder, windows, reference

    def scores(self, path: Path, runtime: OpenVinoRuntime = EXACT) -> TokenScores:
        model = open_model(path, CONFIG.of(runtime), "ir", self.folder / "log")
        try:
            return model.score(self.windows, self.reference)
        finally:
            model.close()

    def kl(self, path: Path, runtime: OpenVinoRuntime = EXACT) -> float:
        scores = self.scores(path, runtime)
        assert scores.kl is not None
        return float(scores.kl.mean())

    def compressed(self, ir: Path, name: str, **options: object) -> Path:
        from quantcurve.engines import openvino_compress

        target = self.folder / name
        target.mkdir()
        variant = OpenVinoVariant(**options)
        calibrated = openvino_compress.Calibrated(self.windows, None) if variant.data_aware else None
        with Child(name, self.folder / "log") as child:
            child.call(openvino_compress.compress, ir, target, variant, calibrated)
        return target


@pytest.fixture
def bench(tmp_path: Path, windows: Tokens, reference: ReferenceScratch) -> Bench:
    return Bench(tmp_path, windows, reference)


def read_back(path: Path) -> ModelFile:
    from quantcurve.engines import openvino_ir

    return openvino_ir.model_file(path, Store().hash_file)


def test_the_float32_ir_is_the_reference_but_for_rounding(bench: Bench, ir: Path):
    assert bench.kl(ir) < 1e-5  # llama.cpp multiplies F16 weights by activations rounded to F16
    file = read_back(ir)
    assert [t.type for t in file.types] == ["f32"] and file.bits_per_weight == 32


def test_logits_of_the_float32_ir_are_those_of_transformers(bench: Bench, ir: Path, tiny_model: Path):
    import torch
    from transformers import AutoModelForCausalLM

    keep = ReferenceScratch(bench.folder / "own")
    model = open_model(ir, CONFIG.of(EXACT), "ir", bench.folder / "log")
    model.score(bench.windows, keep=keep)
    model.close()
    original = AutoModelForCausalLM.from_pretrained(
        tiny_model.parent, gguf_file=tiny_model.name, dtype=torch.float32, local_files_only=True
    )
    with torch.no_grad():
        expected = original(torch.from_numpy(bench.windows.astype(np.int64))).logits.numpy()
    np.testing.assert_allclose(np.load(keep.logits), expected[:, TOKENS // 2 : -1], rtol=1e-3, atol=1e-4)


def test_the_state_is_forgotten_between_windows_and_calls(bench: Bench, ir: Path):
    model = open_model(ir, CONFIG.of(EXACT), "ir", bench.folder / "log")
    first = model.score(bench.windows)
    times = model.time(Workload(prompt_tokens=8, decode_tokens=3, decode_context_tokens=4, seed=0))
    assert [len(steps) for steps in times.decode_steps_s] == [3]
    assert sum(times.decode_steps_s[0]) == pytest.approx(times.decode_s[0])
    again = model.score(bench.windows[::-1].copy())
    model.close()
    np.testing.assert_array_equal(first.nll, again.nll[::-1])


def test_the_configuration_is_read_back_from_the_compiled_model(bench: Bench, ir: Path):
    runtime = OpenVinoRuntime(kv_cache="u8", inference_precision="f32", dynamic_quantization_group=64)
    model = open_model(ir, CONFIG.of(runtime), "ir", bench.folder / "log")
    found = model.effective_config
    model.close()
    assert (found.key_cache_precision, found.value_cache_precision) == ("u8", "u8")
    assert (found.inference_precision, found.dynamic_quantization_group, found.threads) == ("f32", 64, 2)
    assert found.cache_bytes_per_token == 2 * 2 * 2 * 64  # K and V, layers, heads, width

    model = open_model(ir, CONFIG.of(EXACT), "ir", bench.folder / "log")
    found = model.effective_config
    model.close()
    assert (found.execution_mode, found.inference_precision) == ("ACCURACY", "f32")
    assert (found.key_cache_precision, found.dynamic_quantization_group) == ("f32", 0)


def test_a_setting_that_the_device_does_not_run_is_refused(bench: Bench, ir: Path):
    from pydantic import ValidationError

    with pytest.raises(ValidationError, match="accuracy sets all precisions"):
        OpenVinoRuntime(execution="accuracy", kv_cache="u8")
    config = OpenVinoConfig.model_construct(
        threads=2,
        window_tokens=TOKENS,
        runtime=OpenVinoRuntime.model_construct(**{**dict(EXACT), "kv_cache": "u8"}),
    )
    with pytest.raises(BackendError, match=r"runtime\.kv_cache: u8 was asked for, and the device runs f32"):
        open_model(ir, config, "ir", bench.folder / "log")


def test_a_quantised_cache_costs_something(bench: Bench, ir: Path):
    """In a single pass over the window it would not: attention sees its own keys and values as they are."""
    exact = bench.kl(ir, EXACT)
    runtime = OpenVinoRuntime(inference_precision="f32", dynamic_quantization_group=0, kv_cache="u8")
    with_u8 = bench.kl(ir, runtime)
    assert with_u8 > 10 * exact


def test_an_export_pins_its_cache_and_what_is_made_of_it_does_not(bench: Bench, ir: Path):
    """Also what has the weights as they are: all variants run with the device's own cache."""
    made = {weights: bench.compressed(ir, weights, weights=weights) for weights in ("INT8_ASYM", "F16", "F32")}
    found = {}
    for name, path in {"export": ir, **made}.items():
        model = open_model(path, CONFIG.of(OpenVinoRuntime()), name, bench.folder / "log")
        found[name] = model.effective_config.key_cache_precision
        model.close()
    assert found == {"export": "f16", "INT8_ASYM": "u8", "F16": "u8", "F32": "u8"}
    assert read_back(made["F32"]).types == read_back(ir).types
    np.testing.assert_array_equal(bench.scores(made["F32"]).nll, bench.scores(ir).nll)


FORMATS = [
    ({"weights": "INT8_SYM"}, {"i8"}),
    ({"weights": "INT4_SYM", "group_size": 64}, {"i4", "u8"}),
    ({"weights": "INT4_ASYM", "group_size": 32, "all_layers": True}, {"u4"}),
    ({"weights": "NF4", "group_size": 64}, {"nf4", "u8"}),
    ({"weights": "INT4_SYM", "group_size": 64, "ratio": 0.5, "backup": "int8_sym"}, {"i4", "i8"}),
    ({"weights": "FP8_E4M3", "group_size": 64}, {"f8e4m3"}),
    ({"weights": "MXFP4"}, {"f4e2m1", "f8e4m3"}),
    ({"weights": "INT4_SYM", "group_size": 64, "backup": "mxfp8_e4m3"}, {"i4", "f8e4m3"}),
    ({"weights": "NF4", "group_size": 64, "backup": "fp8_e4m3", "awq": True}, {"nf4", "f8e4m3"}),
    ({"weights": "FP8_E4M3", "group_size": 64, "backup": "int8_asym"}, {"f8e4m3", "u8"}),
    ({"weights": "FP4", "group_size": 64, "ratio": 0.5}, {"f4e2m1", "f8e4m3"}),
    ({"weights": "FP4", "group_size": 64, "ratio": 0.5, "sensitivity": "max_activation_variance"}, {"f8e4m3"}),
    ({"weights": "INT4_SYM", "group_size": 64, "awq": True, "scale_estimation": True}, {"i4", "u8"}),
    ({"weights": "INT4_SYM", "group_size": 64, "gptq": True}, {"i4", "u8"}),
    ({"weights": "INT4_SYM", "group_size": 64, "lora_correction": True}, {"i4", "u8"}),
    ({"weights": "W4A8", "group_size": 64}, {"i4", "u8"}),
    ({"weights": "CB4"}, {"u4", "u8"}),
    ({"weights": "F16"}, {"f16"}),
]


@pytest.mark.parametrize(("options", "types"), FORMATS, ids=lambda v: str(v) if isinstance(v, dict) else "")
def test_what_was_asked_for_is_in_the_file(bench: Bench, ir: Path, options: dict[str, object], types: set[str]):
    path = bench.compressed(ir, "made", **options)
    file = read_back(path)
    found = {t.type for t in file.types}
    assert types <= found, found
    assert file.bits_per_weight < 20
    assert 0 <= bench.kl(path) < 1


@pytest.mark.parametrize("weights", ["FP8_E4M3", "NVFP4"])
def test_head_and_embedding_have_the_backup_unless_the_variant_is_for_all_layers(bench: Bench, ir: Path, weights: str):
    from quantcurve.engines import openvino_ir

    types = {}
    for every in (False, True):
        path = bench.compressed(ir, f"all-{every}", weights=weights, backup="int8_sym", all_layers=every)
        apart = [c.type for c in openvino_ir.constants(path) if c.is_weights and "layers." not in c.name]
        types[every] = set(apart)
    assert types[False] == {"i8"} and "i8" not in types[True] and types[True]


def a_session(folder: Path) -> Session:
    engine = EngineIdentity(name="OpenVINO", version="0", build="0", cpu_features="")
    return Session(Store(folder), engine, 2, "cpu", folder / "logs", lambda event: None, openvino=engine)


def a_source(ir: Path, beside: tuple[FileHash, ...] = ()) -> export.Ir:
    return export.Ir("source", ir, export.IrStep(file=read_back(ir), beside=beside), EXACT, None)


def test_a_calibrated_variant_is_the_same_in_every_cache(tmp_path: Path, ir: Path, windows: Tokens):
    """Nothing of where and when it was made is in it."""
    variant = OpenVinoVariant(weights="INT4_SYM", group_size=64, ratio=0.5, awq=True, scale_estimation=True)
    made = [
        compress.compress(
            a_source(ir), [variant], compress.Calibration("1" * 64, windows), a_session(tmp_path / place)
        )[0]
        for place in ("a", "another")
    ]
    assert all(isinstance(m, export.Ir) for m in made), made
    assert made[0].file == made[1].file
    assert str(tmp_path) not in (made[0].path / "openvino_model.xml").read_text()
    assert {p.name for p in made[0].path.iterdir()} <= {
        *("openvino_model.xml", "openvino_model.bin", "openvino_config.json"),
        *("inputs.json", "result.json", "contents.json"),
    }


def test_files_beside_an_ir_are_copied_and_in_the_key(tmp_path: Path, ir: Path):
    entry, session = OpenVinoVariant(weights="INT8_SYM"), a_session(tmp_path)
    config = FileHash(name="config.json", content_hash=session.store.hash_file(ir / "config.json"))
    (made,) = compress.compress(a_source(ir, (config,)), [entry], None, session)
    assert isinstance(made, export.Ir) and made.step.beside == (config,)
    changed = config.model_copy(update={"content_hash": "0" * 64})
    keys = {key_of(compress.compress_inputs(a_source(ir, b), entry, None)) for b in ((), (config,), (changed,))}
    assert len(keys) == 3


def test_a_disk_too_small_for_one_variant_takes_no_other_with_it(
    tmp_path: Path, ir: Path, monkeypatch: pytest.MonkeyPatch
):
    source, session = a_source(ir), a_session(tmp_path)
    free = source.file.weights * 3 // 4  # enough for 4 bits a weight, not for 8
    monkeypatch.setattr(shutil, "disk_usage", lambda place: type("Usage", (), {"free": free}))
    entries = [OpenVinoVariant(weights=w, group_size=g) for w, g in (("INT8_SYM", None), ("F32", None), ("NF4", 64))]
    int8, f32, nf4 = compress.compress(source, entries, None, session)
    assert isinstance(nf4, export.Ir)
    for failed, times in ((int8, 1), (f32, 4)):
        assert isinstance(failed, Failed)
        assert f"the IR needs at least {times * source.file.weights / 1e6:,.0f} MB" in failed.reason
        assert "quantcurve cache prune" in failed.reason


@pytest.mark.parametrize("samples", [5, 300])
@pytest.mark.parametrize("options", [{}, {"backup": "fp8_e4m3"}], ids=str)
def test_nncf_is_told_to_use_every_calibration_window(samples: int, options: dict[str, str]):
    from quantcurve.engines import openvino_compress

    variant = OpenVinoVariant(weights="INT4_SYM", gptq=True, **options)
    arguments = openvino_compress.own_arguments(variant, samples)
    assert arguments["subset_size"] == samples
    assert arguments["advanced_parameters"].gptq_params.subset_size == samples
    assert arguments["advanced_parameters"].statistics_path is None


def test_layers_have_the_format_of_the_first_rule_that_matches(bench: Bench, ir: Path):
    rules = (
        LayerRule(match=r"model\.layers\.0\.mlp\.down_proj", weights="F32"),
        LayerRule(match=r"model\.layers\.0\..*", weights="INT8_ASYM"),
    )
    path = bench.compressed(ir, "mixed", weights="INT4_SYM", group_size=64, layers=rules)
    from quantcurve.engines import openvino_ir

    by_layer = {c.name: c.type for c in openvino_ir.constants(path) if c.is_weights and "layers." in c.name}
    first = {name: kind for name, kind in by_layer.items() if "layers.0." in name}
    assert {kind for name, kind in first.items() if "down_proj" in name} == {"f32"}
    assert {kind for name, kind in first.items() if "down_proj" not in name} == {"u8"}
    assert {kind for name, kind in by_layer.items() if "layers.1." in name} == {"i4"}


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        (({"match": "layers.9", "weights": "INT8_ASYM"},), "matches none of the model's"),
        (
            ({"match": ".*", "weights": "INT8_ASYM"}, {"match": r".*mlp.*", "weights": "F32"}),
            "is never reached",
        ),
    ],
)
def test_a_rule_without_effect_is_refused(bench: Bench, ir: Path, rules: tuple[dict[str, str], ...], said: str):
    with pytest.raises(RecipeError, match=said):
        bench.compressed(ir, "none", weights="INT4_SYM", group_size=64, layers=rules)


def test_a_group_that_no_layer_allows_is_refused_by_name(bench: Bench, ir: Path):
    with pytest.raises(BackendError, match=r"NNCF cannot compress it.*group size"):
        bench.compressed(ir, "odd", weights="INT4_SYM", group_size=96)


def test_a_graph_that_openvino_cannot_read_is_refused_by_name(bench: Bench, ir: Path):
    broken = bench.folder / "broken"
    shutil.copytree(ir, broken)
    graph = broken / "openvino_model.xml"
    graph.write_text(graph.read_text().replace('type="MatMul"', 'type="NoSuchOperation"'))
    with pytest.raises(BackendError, match=r"OV-INT8_SYM: OpenVINO cannot read .*openvino_model\.xml"):
        bench.compressed(broken, "made", weights="INT8_SYM")


def test_a_group_that_does_not_fit_is_adjusted_where_the_recipe_says_so(bench: Bench, ir: Path):
    path = bench.compressed(ir, "adjusted", weights="INT4_SYM", group_size=96, group_size_fallback="adjust")
    assert "i4" in {t.type for t in read_back(path).types}


def test_an_ir_that_is_cut_short_is_refused_before_openvino_reads_it(bench: Bench, ir: Path):
    broken = bench.folder / "broken"
    shutil.copytree(ir, broken)
    weights = broken / "openvino_model.bin"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelFileError, match=r"cut short: [\d,]+ bytes, the graph beside it needs [\d,]+"):
        bench.scores(broken)
    weights.unlink()
    with pytest.raises(ModelFileError, match="no such file"):
        bench.scores(broken)
    (broken / "openvino_model.xml").write_text("<net")
    with pytest.raises(ModelFileError, match="not an OpenVINO IR"):
        bench.scores(broken)


def test_a_device_that_is_not_there_is_refused_with_those_that_are(bench: Bench, ir: Path):
    with pytest.raises(BackendError, match=r"device NPU is not on this machine; OpenVINO finds .*CPU"):
        bench.scores(ir, OpenVinoRuntime(device="NPU"))


def test_a_model_that_transformers_does_not_know_is_refused_by_name(tmp_path: Path):
    from quantcurve.engines import openvino_export

    (tmp_path / "config.json").write_text('{"model_type": "no-such-model"}')
    (tmp_path / "out").mkdir()
    with (
        Child("export", tmp_path / "log") as child,
        pytest.raises(BackendError, match=r"transformers cannot load it: .*no-such-model"),
    ):
        child.call(openvino_export.export, tmp_path, tmp_path / "out")


@pytest.mark.parametrize("config", ["[1, 2]", '{"model_type": "llama", "vocab_size": "many"}', "{"])
def test_a_configuration_that_makes_no_sense_is_refused_by_name(tmp_path: Path, config: str):
    """transformers raises what it likes then; never is it an error without a name."""
    from quantcurve.engines import openvino_export

    (tmp_path / "config.json").write_text(config)
    (tmp_path / "model.safetensors").write_bytes(bytes(16))
    (tmp_path / "out").mkdir()
    with (
        Child("export", tmp_path / "log") as child,
        pytest.raises(BackendError, match="transformers cannot load it: "),
    ):
        child.call(openvino_export.export, tmp_path, tmp_path / "out")


def test_the_files_weights_go_with_the_folders_configuration(tmp_path: Path, tiny_model: Path, ir: Path):
    from quantcurve.engines import openvino_export

    original, out = tmp_path / "original", tmp_path / "out"
    original.mkdir()
    out.mkdir()
    shutil.copyfile(ir / "config.json", original / "config.json")
    with Child("export", tmp_path / "log") as child:
        child.call(openvino_export.export, tiny_model, out, original)
    assert (out / "openvino_model.bin").read_bytes() == (ir / "openvino_model.bin").read_bytes()
    assert str(tmp_path) not in (out / "config.json").read_text() + (out / "openvino_model.xml").read_text()


def test_weights_that_are_not_there_are_not_made_up(tmp_path: Path):
    from transformers import LlamaConfig, LlamaForCausalLM

    from quantcurve.engines import openvino_export

    small = LlamaConfig(vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2)
    model = LlamaForCausalLM(small)
    kept = {n: w for n, w in model.state_dict().items() if "down_proj" not in n}
    model.save_pretrained(tmp_path, state_dict=kept)
    (tmp_path / "out").mkdir()
    with (
        Child("export", tmp_path / "log") as child,
        pytest.raises(BackendError, match=r"no weights for model\.layers\.0\.mlp\.down_proj\.weight"),
    ):
        child.call(openvino_export.export, tmp_path, tmp_path / "out")


def test_what_nncf_refuses_costs_no_other_variant_and_is_never_started(tmp_path: Path, ir: Path):
    entries = [OpenVinoVariant(weights="INT4_SYM", group_size=96), OpenVinoVariant(weights="INT8_SYM")]
    session = a_session(tmp_path)
    refused, made = compress.compress(a_source(ir), entries, None, session)
    assert isinstance(refused, Failed) and isinstance(made, export.Ir)
    assert "a group of 96 does not divide the 256 columns of model.layers.0.self_attn.q_proj and" in refused.reason
    assert "give group_size: 128, or group_size_fallback: adjust" in refused.reason
    assert not session.log(entries[0].label).exists()


def test_a_file_that_transformers_does_not_read_is_told_from_other_failures(tmp_path: Path):
    """llama.cpp runs more architectures than transformers reads from GGUF files."""
    import gguf

    from quantcurve.engines import openvino_export

    source, out = tmp_path / "model.gguf", tmp_path / "out"
    writer = gguf.GGUFWriter(source, "granite")
    writer.add_name("tiny")
    writer.add_block_count(1)
    writer.add_tensor("token_embd.weight", np.zeros((8, 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    out.mkdir()
    said = r"transformers cannot load it: GGUF model with architecture granite is not supported.*a Hugging Face folder"
    with Child("export", tmp_path / "log") as child, pytest.raises(UnsupportedFileError, match=said):
        child.call(openvino_export.export, source, out)


def test_a_model_that_optimum_does_not_know_is_refused_by_name(tmp_path: Path):
    from transformers import OpenAIGPTConfig, OpenAIGPTLMHeadModel

    from quantcurve.engines import openvino_export

    config = OpenAIGPTConfig(vocab_size=64, n_positions=32, n_embd=32, n_layer=1, n_head=2)
    OpenAIGPTLMHeadModel(config).save_pretrained(tmp_path)
    (tmp_path / "out").mkdir()
    said = r"optimum-intel cannot export a model of type 'openai-gpt': .*; leave out variants\.openvino"
    with Child("export", tmp_path / "log") as child, pytest.raises(BackendError, match=said) as caught:
        child.call(openvino_export.export, tmp_path, tmp_path / "out")
    assert type(caught.value) is BackendError
    assert not (tmp_path / "out" / "openvino_model.xml").exists()


@pytest.mark.parametrize("more_bytes", [16 * 2**20, 200 * 2**20])
def test_an_export_without_memory_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more_bytes: int):
    """Where transformers maps the file, and where it makes the weights."""
    import faulty

    here = str(Path(__file__).parent)  # the child imports faulty
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH")))))
    source = write_tiny_llama(tmp_path / "model.gguf", n_embd=1024, n_ff=4096, n_head=16, n_head_kv=16)
    (tmp_path / "out").mkdir()
    with (
        Child("export", tmp_path / "log") as child,
        pytest.raises(BackendError, match=r"export: .*out of memory") as caught,
    ):
        child.call(faulty.export_with_limit, source, tmp_path / "out", more_bytes)
    assert type(caught.value) is BackendError and "free some memory" in str(caught.value)


@pytest.mark.parametrize(
    ("size_bytes", "said"),
    [
        (4_000, r"may not write files of more than 0\.0 MB \(ulimit -f\); to mend it: ulimit -f unlimited"),
        (
            20_000,
            r"the tokenizer cannot be written: .*; see whether its disk is full",
        ),  # OpenVINO removes what it began
    ],
)
def test_a_tokenizer_that_meets_a_full_disk_is_named(tmp_path: Path, tiny_model: Path, size_bytes: int, said: str):
    """tokenizer.json, then what OpenVINO writes of it; what they raise then has no class in common."""
    session = a_session(tmp_path)
    reference = resolve.resolve(Model(source=str(tiny_model)), tmp_path, session)
    with file_limit(size_bytes), pytest.raises((BackendError, PrerequisiteError)) as caught:
        export.export(reference, session)
    assert re.search(said, export.failed("OV-reference", caught.value, session.log("export")).reason)
    assert not list((tmp_path / "tmp").iterdir())


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_logits_of_a_real_model_are_those_of_transformers(tmp_path: Path, smollm2: Path):
    """135 million weights: the float32 IR of an F16 file, and transformers on the same file. Seen: logits, of a
    spread of 5.5, differ by 9e-5 at most, KL divergence is 4e-10 nats at most."""
    import torch
    from transformers import AutoModelForCausalLM

    from quantcurve.engines import llamacpp_files, llamacpp_quantize, openvino_export

    tokens = 128
    source, folder, log = tmp_path / "F16.gguf", tmp_path / "ir", tmp_path / "log"
    folder.mkdir()
    text = load_text(Text(name="chat", source="embedded:chat"), tmp_path).content
    with Child("F16", log) as child:
        child.call(llamacpp_quantize.quantize, smollm2, source, "F16", 2)
        window = child.call(llamacpp_files.tokenize, source, [text])[0][None, :tokens]
    with Child("export", log) as child:
        child.call(openvino_export.export, source, folder)
    keep = ReferenceScratch(tmp_path / "own")
    config = OpenVinoConfig(threads=2, window_tokens=tokens, runtime=EXACT)
    model = open_model(folder, config, "ir", log)
    model.score(window, keep=keep)
    model.close()
    found = torch.from_numpy(np.load(keep.logits)[0])
    original = AutoModelForCausalLM.from_pretrained(
        tmp_path, gguf_file=source.name, dtype=torch.float32, local_files_only=True
    )
    with torch.no_grad():
        expected = original(torch.from_numpy(window.astype(np.int64))).logits[0, tokens // 2 : -1]
    assert found.shape == expected.shape == (tokens // 2 - 1, 49_152)
    difference = float((found - expected).abs().max())
    ours, theirs = (x.double().log_softmax(-1) for x in (found, expected))
    kl = float((theirs.exp() * (theirs - ours)).sum(-1).max())
    assert difference < 5e-4 and kl < 1e-8


def test_rules_without_effect_are_refused_before_anything_is_compressed(tmp_path: Path, ir: Path):
    wrong = OpenVinoVariant(weights="NF4", group_size=64, layers=(LayerRule(match="blk.*", weights="INT8_ASYM"),))
    session = a_session(tmp_path)
    with pytest.raises(RecipeError, match=r"layer rule 'blk\.\*' \(INT8_ASYM\) matches none of the model's"):
        compress.compress(a_source(ir), [OpenVinoVariant(weights="INT8_SYM"), wrong], None, session)
    assert not list((tmp_path / "artifacts").glob("compress/*"))


def test_what_was_not_done_is_in_the_record(tmp_path: Path, ir: Path, windows: Tokens):
    """Layers that keep their type, and a method that finds nothing."""
    ignored = OpenVinoVariant(weights="INT4_SYM", group_size=96, group_size_fallback="ignore")
    elsewhere = (LayerRule(match=r".*down_proj", weights="INT8_ASYM"),)
    without_awq = OpenVinoVariant(weights="INT4_SYM", group_size=64, awq=True, layers=elsewhere)
    with_awq = OpenVinoVariant(weights="INT4_SYM", group_size=64, awq=True)
    calibration = compress.Calibration("1" * 64, windows)
    made = compress.compress(a_source(ir), [ignored, without_awq, with_awq], calibration, a_session(tmp_path))
    assert all(isinstance(m, export.Ir) for m in made), made
    kept, nothing, changed = made
    assert {(f.wanted, f.got) for f in kept.file.fallbacks} == {("INT4_SYM+g96", "F32")}
    assert len(kept.file.fallbacks) == 14 and 0.5 < kept.file.fallback_share < 1
    assert kept.step.notes == changed.step.notes == nothing.file.fallbacks == changed.file.fallbacks == ()
    assert nothing.step.notes == ("awq changed nothing: NNCF found no layer that it applies to",)


def test_a_folder_says_what_it_holds_as_optimum_intel_reads_it(bench: Bench, ir: Path):
    """Where optimum-intel has words for it, and only there."""
    from optimum.intel import OVConfig

    path = bench.compressed(ir, "described", weights="INT4_ASYM", group_size=64, ratio=0.5, scale_estimation=True)
    said = OVConfig.from_pretrained(path).quantization_config
    assert (said.bits, said.sym, said.group_size, said.ratio, said.scale_estimation) == (4, False, 64, 0.5, True)
    assert said.num_samples == 4
    rules = (LayerRule(match=r".*down_proj", weights="INT8_ASYM"),)
    for options in ({"weights": "FP8_E4M3"}, {"weights": "NF4", "backup": "fp8_e4m3"}, {"weights": "F16"}):
        assert not (bench.compressed(ir, str(options), **options) / "openvino_config.json").exists()
    ruled = bench.compressed(ir, "ruled", weights="INT4_SYM", group_size=64, layers=rules)
    assert not (ruled / "openvino_config.json").exists()


def test_a_plan_refuses_what_nncf_would(ir: Path):
    """From the reference's tensors, and once there is an IR, rules for single layers too."""
    from quantcurve.engines.gguf_file import TensorInfo
    from quantcurve.lookup import Known
    from quantcurve.plan_steps import STORED_BITS, Sizes, _refusal
    from quantcurve.stages.scoring import Model

    shapes = {
        "token_embd.weight": (576, 99),
        "blk.0.ffn_up_exps.weight": (576, 64, 4),
        "blk.0.ffn_down.weight": (512, 576),
    }
    tensors = tuple(TensorInfo(n, "F16", s, int(np.prod(s)), 0, 0) for n, s in shapes.items())
    sizes = Sizes(1, 1, {}, tensors)

    def said(known: Known, **options: object) -> str:
        return _refusal(OpenVinoVariant(**options), sizes, known)

    plain = Known()
    assert "128 does not divide the 576 columns of blk.0.ffn_up_exps.weight: give" in said(plain, weights="NF4")
    assert "columns of token_embd.weight" in said(plain, weights="FP4", group_size_fallback="ignore")
    assert said(plain, weights="FP4", group_size=64) == said(plain, weights="CB4") == said(plain, weights="MXFP4") == ""
    rules = [{"match": "blk.*", "weights": "INT8_ASYM"}]
    assert "checked once the model is exported" in said(plain, weights="NF4", layers=rules)
    exported = Known(models={"OV-reference": Model("OV-reference", ir, "h", 1)})
    assert "matches none of the model's" in said(exported, weights="NF4", layers=rules)
    assert said(exported, weights="NF4") == ""
    assert STORED_BITS["FP8_E4M3"] == STORED_BITS["MXFP8_E4M3"] == STORED_BITS["INT8_SYM"] == 8.1
    assert STORED_BITS["INT4_SYM"] == STORED_BITS["NF4"] == 4.3 and STORED_BITS["F32"] == 32
