"""The built wheel by itself, in an empty folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel's content, as pip installs it."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--no-deps",
        "--no-index",
        "--target",
        str(folder / "site"),
        str(wheel),
    ]
    subprocess.run(pip, check=True, capture_output=True)
    return folder / "site"


def python(installed: Path, cwd: Path, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_is_what_runs(installed: Path, tmp_path: Path) -> None:
    assert python(installed, tmp_path, "-c", "import quantcurve; print(quantcurve.__file__)").startswith(str(installed))


def test_it_carries_recipes_and_texts(installed: Path, tmp_path: Path) -> None:
    listed = python(installed, tmp_path, "-m", "quantcurve.cli", "recipes")
    assert "smollm2-135m" in listed and str(installed) in listed
    code = "from quantcurve.texts import manifest; print(len(manifest().files))"
    assert python(installed, tmp_path, "-c", code).strip() == "14"


def test_it_carries_what_lm_eval_looks_for(installed: Path) -> None:
    assert (installed / "quantcurve_lm_eval.pth").is_file()
    assert {p.name for p in (installed / "quantcurve" / "lm_eval_tasks").iterdir()} >= {
        "quantcurve_humaneval.yaml",
        "code.py",
    }


def test_it_carries_the_list_of_runs(installed: Path) -> None:
    assert (installed / "quantcurve" / "report" / "serve.html.j2").is_file()


@pytest.mark.real
def test_it_runs_a_recipe_from_an_empty_folder(installed: Path, tmp_path: Path, tiny_model: Path) -> None:
    (tmp_path / "r.yaml").write_text(
        f"name: wheel\nmodel: {{source: {tiny_model}}}\nbenchmark: null\nvariants: {{gguf: [Q8_0]}}\n"
        'texts: [{name: code, source: "embedded:code"}]\nwindows: {tokens: 64, limit: 4}\n'
    )
    assert "Q8_0" in python(installed, tmp_path, "-m", "quantcurve.cli", "run", "r.yaml", "-q")


@pytest.mark.real
@pytest.mark.usefixtures("smollm2")
def test_it_plans_the_shipped_recipe_by_name(installed: Path, tmp_path: Path) -> None:
    assert "Q4_K_M" in python(installed, tmp_path, "-m", "quantcurve.cli", "plan", "smollm2-135m")
    assert not any(tmp_path.iterdir())
