"""ARC-easy, GSM8K and HumanEval on SmolLM2 through our adapter and lm-eval's hf backend, document by document."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pytest

from conftest import PUBLIC_DATA

pytest.importorskip("lm_eval", reason="lm-eval is not installed: pip install 'quantcurve[eval]'")
pytest.importorskip("torch", reason="torch is not installed")
sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
import bench_generation as bench
import public_tasks
from generation_table import Parity
from quantcurve.run import Where, open_session

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.public_data, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, smollm2: Path) -> dict[str, Parity]:
    folder = tmp_path_factory.mktemp("public")
    entries = public_tasks.write(PUBLIC_DATA, folder)
    options = argparse.Namespace(batch=8, pairs=1, tools=folder)
    where = Where(threads=2, cache=tmp_path_factory.mktemp("public-cache"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench, "PARITY", {"arc_easy": (24, 8), "gsm8k": (2, 1), "humaneval": (4, 2)})
        patch.setattr(bench, "PARITY_TOKENS", 48)
        made = bench.Bench(open_session(where), options, folder)
        return {name: bench.parity(made, name, entry) for name, entry in entries.items()}


def test_choices_have_the_same_scores(found: dict[str, Parity]) -> None:
    arc = found["arc_easy"]
    assert (arc.documents, arc.continuations, arc.beyond_noise) == (24, 96, 0)
    assert arc.median_difference_nats < 0.02 and arc.largest_difference_nats < 0.15
    assert 0 < arc.floor.largest_difference_nats < 0.1


@pytest.mark.parametrize("task", ["gsm8k", "humaneval"])
def test_answers_part_only_where_two_tokens_are_about_equal(found: dict[str, Parity], task: str) -> None:
    parity = found[task]
    assert parity.answers == parity.documents and parity.scores_different <= len(parity.margins_where_different)
    assert all(margin < 0.2 for margin in parity.margins_where_different), "logits"
