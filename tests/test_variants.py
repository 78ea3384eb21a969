"""Variants beyond a file type, and the early stop: importance matrices, single tensors, KV caches; real runs."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from quantcurve.engines import llamacpp_files
from quantcurve.engines.base import CACHE_TYPES, FLOAT_CACHE_TYPES, CacheTypes, LlamaCppConfig
from quantcurve.engines.child import Child
from quantcurve.engines.imatrix_file import load_imatrix
from quantcurve.engines.llamacpp import LlamaCppModel
from quantcurve.errors import RecipeError
from quantcurve.estimates import Estimate
from quantcurve.planning import plan
from quantcurve.recipe import load
from quantcurve.report import folder as run_folder
from quantcurve.report.table import table
from quantcurve.results import CacheFigures, RunResult, VariantResult
from quantcurve.run import Where, run
from tiny import write_texts, write_tiny_llama

pytestmark = pytest.mark.real
RULE = r"{match: 'blk\.1\.(attn_v|ffn_down)\.weight', type: Q8_0}"
RECIPE = f"""\
name: lane
model: {{source: MODEL}}
texts:
  - {{name: docs, source: docs.txt}}
windows: {{tokens: 64}}
variants:
  gguf:
    - Q8_0
    - Q4_K_M
    - {{type: IQ2_XXS, imatrix: true}}
    - {{type: Q4_K_M, tensors: [{RULE}], name: mix}}
    - {{type: Q4_K_M, k: q8_0, v: q4_0}}
    - {{type: Q8_0, kv: q4_0}}
calibration: {{sources: [{{name: own, source: own.txt}}], tokens: 1024, window_tokens: 64}}
kv_cache: {{long_context_tokens: 256, short_windows: 8, long_windows: 3}}
benchmark: {{prompt_tokens: 32, decode_tokens: 4, repetitions: 3}}
"""


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recipe; heads of 64, so that the build rotates quantised caches."""
    folder = tmp_path_factory.mktemp("lane")
    write_texts(folder)
    write_tiny_llama(folder / "tiny.gguf")
    (folder / "recipe.yaml").write_text(RECIPE.replace("MODEL", str(folder / "tiny.gguf")))
    return folder


@pytest.fixture(scope="module")
def finished(work: Path) -> RunResult:
    return run(load(work / "recipe.yaml"), Where(threads=2, cache=work / "cache"))


def variant(result: RunResult, name: str) -> VariantResult:
    found = next(v for v in result.variants if v.name == name)
    assert found.status == "measured", found.failure
    return found


def test_every_kind_of_variant_is_measured(finished: RunResult) -> None:
    assert [v.name for v in finished.variants] == [
        "Q8_0", "Q4_K_M", "IQ2_XXS+imatrix", "mix", "Q4_K_M+k-q8_0+v-q4_0", "Q8_0+kv-q4_0",
    ]  # fmt: skip
    assert all(v.status == "measured" for v in finished.variants), [v.failure for v in finished.variants]
    assert finished.imatrix and finished.imatrix.datasets == ("calibration:default",)
    assert finished.calibration and finished.imatrix.windows == finished.calibration.windows == 16
    assert next(s for s in finished.calibration.strata if s.name == "domain").tokens > 0


def test_the_importance_matrix_is_one_that_llama_cpp_reads(finished: RunResult, work: Path) -> None:
    assert finished.imatrix
    path = next((work / "cache" / "artifacts" / "imatrix").glob("*/imatrix.gguf"))
    matrix = load_imatrix(path)
    assert len(matrix.sums) == finished.imatrix.tensors == 2 * 7
    assert matrix.counts["blk.0.attn_q.weight"].tolist() == [16 * 64]


def test_rules_change_only_the_tensors_they_name(finished: RunResult, work: Path) -> None:
    paths = {}
    for inputs in (work / "cache" / "artifacts" / "quantize").glob("*/inputs.json"):
        text = inputs.read_text()
        if "Q4_K_M" in text:
            paths["mix" if "attn_v" in text else "plain"] = inputs.with_name("model.gguf")
    with Child("headers", work / "log") as child:
        types = {
            name: {t.name: t.type for t in child.call(llamacpp_files.header, path).tensors}
            for name, path in paths.items()
        }
    changed = {n for n in types["mix"] if types["mix"][n] != types["plain"][n]}
    assert changed == {"blk.1.attn_v.weight", "blk.1.ffn_down.weight"}
    assert {types["mix"][n] for n in changed} == {"Q8_0"}
    told = dict(variant(finished, "mix").tensor_types)
    assert all(types["mix"][name] == kind for name, kind in told.items())
    run_folder.save(finished, work / "out")
    lines = (work / "out" / "tensor-types" / "mix.txt").read_text().splitlines()
    assert len(lines) == len(told)
    assert r"^blk\.1\.attn_v\.weight$=q8_0" in lines


@pytest.mark.skipif("QUANTCURVE_LLAMA_TOOLS" not in os.environ, reason="QUANTCURVE_LLAMA_TOOLS is not set")
def test_llama_quantize_writes_the_same_from_the_exported_types(finished: RunResult, work: Path) -> None:
    run_folder.save(finished, work / "out")
    tool, target = Path(os.environ["QUANTCURVE_LLAMA_TOOLS"]) / "llama-quantize", work / "theirs.gguf"
    options = ["--tensor-type-file", str(work / "out" / "tensor-types" / "mix.txt")]
    subprocess.run([tool, *options, work / "tiny.gguf", target, "Q4_K_M"], check=True, capture_output=True)
    ours = next(v for v in finished.variants if v.name == "mix").file
    with Child("headers", work / "log") as child:
        shares = child.call(llamacpp_files.header, target).type_shares()
    assert ours and shares == ours.types


def test_a_cache_is_compared_with_the_same_weights_at_two_lengths(finished: RunResult) -> None:
    found = variant(finished, "Q4_K_M+k-q8_0+v-q4_0")
    assert found.scoring_config and found.timing_config
    config = found.scoring_config
    assert (config.k_type, config.v_type, config.flash_attention) == ("q8_0", "q4_0", "enabled")
    assert config.k_rotated and config.v_rotated
    assert (found.timing_config.k_type, found.timing_config.v_type) == ("q8_0", "q4_0")
    assert isinstance(found.kv_cache, tuple)
    assert [(f.context_tokens, f.windows) for f in found.kv_cache] == [(64, 8), (256, 3)]
    for figures in found.kv_cache:
        assert isinstance(figures.kl_from_f16_cache, Estimate) and figures.kl_from_f16_cache.value > 0
    assert variant(finished, "Q4_K_M").kv_cache == ()
    plain = variant(finished, "Q4_K_M").scoring_config
    assert plain and not plain.k_rotated and plain.cache_bytes > 1.5 * config.cache_bytes > 0


def value(figure: object) -> float:
    assert isinstance(figure, Estimate)
    return figure.value


@pytest.mark.parametrize("name", ["Q4_K_M+k-q8_0+v-q4_0", "Q8_0+kv-q4_0"])
def test_the_two_by_two_is_consistent(finished: RunResult, name: str) -> None:
    figures = variant(finished, name).kv_cache
    assert isinstance(figures, tuple)
    for f in figures:
        assert isinstance(f, CacheFigures)
        sum_kl = value(f.kl_weights_alone) + value(f.kl_cache_alone)
        assert value(f.interaction_kl) == pytest.approx(value(f.kl_both) - sum_kl, abs=1e-12)
        sum_nll = value(f.ln_perplexity_ratio_weights_alone) + value(f.ln_perplexity_ratio_cache_alone)
        change = value(f.ln_perplexity_ratio_both)
        assert value(f.interaction_ln_perplexity_ratio) == pytest.approx(change - sum_nll, abs=1e-12)
        same_weights = change - value(f.ln_perplexity_ratio_weights_alone)
        assert value(f.ln_perplexity_ratio_to_f16_cache) == pytest.approx(same_weights, abs=1e-12)


def test_the_report_says_what_the_cache_costs(finished: RunResult) -> None:
    from rich.console import Console

    console = Console(width=140, record=True, file=open(os.devnull, "w"))  # noqa: PTH123, SIM115
    console.print(table(finished))
    shown = " ".join(console.export_text().split())
    assert "Q8_0+kv-q4_0 at 256 tokens (3 windows): K q4_0, V q4_0, flash attention enabled, K and V rotated" in shown
    assert "interaction" in shown
    assert "Importance matrix: computed on calibration:default, 16 windows of 64 tokens." in shown
    console.file.close()


def test_variants_that_share_weights_share_the_file(finished: RunResult, work: Path) -> None:
    assert len(list((work / "cache" / "artifacts" / "quantize").iterdir())) == 4
    assert not any("byte for byte" in note for v in finished.variants for note in v.notes)


def test_the_plan_knows_sizes_before_and_steps_after(finished: RunResult, work: Path) -> None:
    loaded = load(work / "recipe.yaml")
    before = plan(loaded, Where(threads=2))
    assert not any(s.cached for s in before.steps)
    sizes = {s.what: s.disk_bytes for s in before.steps if s.stage == "quantize"}
    for found in finished.variants:
        assert found.file
        assert sizes[found.name] == pytest.approx(found.file.size_bytes, rel=0.01)
    after = plan(loaded, Where(threads=2, cache=work / "cache"))
    assert {s.stage for s in after.steps if not s.cached} == {"kv_cache"}


def test_a_second_run_only_reads(finished: RunResult, work: Path) -> None:
    again = run(load(work / "recipe.yaml"), Where(threads=2, cache=work / "cache"))
    assert all(s.cached == s.steps for s in again.stages)
    assert again.variants == finished.variants


@pytest.mark.parametrize("kind", CACHE_TYPES)
def test_every_cache_type_of_the_build_opens(kind: str, work: Path, tmp_path: Path) -> None:
    config = LlamaCppConfig(threads=2, window_tokens=64).with_cache(CacheTypes(k=kind, v=kind))
    model = LlamaCppModel(work / "tiny.gguf", config, kind, tmp_path / "log")
    found = model.effective_config
    model.close()
    assert (found.k_type, found.v_type) == (kind, kind)
    assert found.k_rotated == found.v_rotated == (kind not in FLOAT_CACHE_TYPES)


def refused(work: Path, tmp_path: Path, old: str, new: str) -> str:
    write_texts(tmp_path)
    text = (work / "recipe.yaml").read_text()
    assert old in text
    (tmp_path / "recipe.yaml").write_text(text.replace(old, new))
    with pytest.raises(RecipeError) as caught:
        run(load(tmp_path / "recipe.yaml"), Where(threads=2))
    return str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("long_context_tokens: 256", "long_context_tokens: 65536", "no text has 2 windows of 65536 tokens"),
        ("blk\\.1\\.", "blk\\.7\\.", "variants.gguf: tensor rule"),
        ("type: Q8_0}", "type: Q8_K}", "unknown tensor type (got 'Q8_K'); did you mean"),
        ("kv: q4_0", "kv: q4_9", "unknown KV cache type (got 'q4_9'); did you mean q4_"),
        ("kv: q4_0", "kv: q4_0, k: f16", "kv is short for both k and v"),
        ("benchmark:", "engine: {flash_attention: off}\nbenchmark:", "flash_attention"),
        ("name: mix", "name: reference", "cannot be named 'reference'"),
        ("calibration: {sources", "calibration: {mix: defalt, sources", "no mix 'defalt': there are"),
        ("kv_cache: {", "imatrix: {file: own.txt}\nkv_cache: {", "imatrix.file: "),
    ],
)  # fmt: skip
def test_mistakes_are_named(work: Path, tmp_path: Path, old: str, new: str, words: str) -> None:
    text = refused(work, tmp_path, old, new)
    assert words in text
    assert "recipe.yaml:" in text


def test_a_calibration_set_that_empties_costs_only_the_variants_that_need_it(work: Path, tmp_path: Path) -> None:
    write_texts(tmp_path)
    text = (work / "recipe.yaml").read_text().replace("source: own.txt", "source: docs.txt")  # what is measured on
    (tmp_path / "recipe.yaml").write_text(text[: text.index("benchmark:")] + "benchmark: null\n")
    result = run(load(tmp_path / "recipe.yaml"), Where(threads=2, cache=work / "cache"))
    failures = {v.name: v.failure for v in result.variants if v.status == "failed"}
    assert list(failures) == ["IQ2_XXS+imatrix"]
    said = str(failures["IQ2_XXS+imatrix"])
    assert "recipe.yaml:" in said and "calibration: calibration source own: none of its" in said
    assert result.calibration is None and result.imatrix is None


def test_a_file_of_importances_that_the_user_has(finished: RunResult, work: Path, tmp_path: Path) -> None:
    made = next((work / "cache" / "artifacts" / "imatrix").glob("*/imatrix.gguf"))
    write_texts(tmp_path)
    (tmp_path / "mine.gguf").write_bytes(made.read_bytes())
    text = (work / "recipe.yaml").read_text()
    start, end = text.index("calibration: {"), text.index("kv_cache:")
    (tmp_path / "recipe.yaml").write_text(text[:start] + "imatrix: {file: mine.gguf}\n" + text[end:])
    result = run(load(tmp_path / "recipe.yaml"), Where(threads=2, cache=work / "cache"))
    assert result.imatrix and result.imatrix.source == "mine.gguf"
    quantize = next(s for s in result.stages if s.stage == "quantize")
    assert quantize.steps == quantize.cached  # the same matrix by content
    assert variant(result, "IQ2_XXS+imatrix").file == variant(finished, "IQ2_XXS+imatrix").file


EARLY = """\
name: early
model: {source: MODEL}
texts: [{name: docs, source: docs.txt}]
windows: {tokens: 32}
screen: {exhaustive: ALL}
variants: {gguf: [Q8_0, Q4_0, {type: IQ2_XXS, imatrix: true}]}
calibration: {sources: [{name: own, source: own.txt}], tokens: 1024, window_tokens: 64}
benchmark: null
"""


def test_the_early_stop_agrees_with_measuring_everything(work: Path, tmp_path: Path) -> None:
    """And what it measured is read by the exhaustive run: both walk the same route."""
    write_texts(tmp_path)
    results = {}
    for wanted in ("false", "true"):
        text = EARLY.replace("MODEL", str(work / "tiny.gguf")).replace("ALL", wanted)
        (tmp_path / "recipe.yaml").write_text(text)
        results[wanted] = run(load(tmp_path / "recipe.yaml"), Where(threads=2))
    early, full = results["false"], results["true"]
    assert early.screen and full.screen
    assert early.screen.tokens < early.screen.whole_tokens == full.screen.tokens
    assert 0 < early.screen.saved_share < 1 and full.screen.saved_share == 0
    counted = 0
    for one, all_of_it in zip(early.variants, full.variants, strict=True):
        assert one.verdict and all_of_it.verdict and one.overall and all_of_it.overall
        assert one.verdict.decision in {all_of_it.verdict.decision, "at_line"}
        assert isinstance(one.verdict.judged, Estimate) and isinstance(all_of_it.verdict.judged, Estimate)
        assert one.verdict.judged.low <= all_of_it.verdict.judged.value <= one.verdict.judged.high
        counted += one.overall.windows
    assert early.screen.tokens == 32 * (counted + early.reference.overall.windows)
    assert "confidence sequence" in next(v.verdict.sentence for v in early.variants if v.verdict)
    screened = next(s for s in full.stages if s.stage == "screen")
    assert 0 < screened.cached < screened.steps
