"""Tasks of lm-evaluation-harness over the public sets ARC-easy, GSM8K and HumanEval, as local files.

Used by bench_generation.py and the tests; nothing of the sets is part of the project.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from quantcurve.recipe_tasks import TaskData, TaskEntry

ARC = """\
task: arc_easy_local
dataset_path: json
dataset_kwargs: {data_files: {test: arc_easy.jsonl}}
output_type: multiple_choice
test_split: test
doc_to_text: "Question: {{question}}\\nAnswer:"
doc_to_target: "{{gold}}"
doc_to_choice: "{{choices}}"
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
  - {metric: acc_norm, aggregation: mean, higher_is_better: true}
metadata: {version: 1.0}
"""
"""As lm-eval's arc_easy asks, over questions that the public set writes as instructions."""


def write(data: Path, folder: Path) -> dict[str, TaskEntry]:
    """Write the tasks' files, and give what a recipe would have for each.

    Args:
        data: folder of the public sets.
        folder: to write to, there already.
    """
    lines = (data / "knowledge_mc" / "arc_easy.jsonl").read_text(encoding="utf-8").splitlines()
    (folder / "arc_easy.jsonl").write_text("".join(json.dumps(_arc(json.loads(line))) + "\n" for line in lines))
    (folder / "arc_easy.yaml").write_text(ARC)
    gsm8k, humaneval = data / "math" / "gsm8k.jsonl", data / "code" / "humaneval.jsonl"
    shots = TaskData(test=str(gsm8k), fewshot=str(data / "math" / "gsm8k_train.jsonl"))
    return {
        "arc_easy": TaskEntry(file=str(folder / "arc_easy.yaml")),
        "gsm8k": TaskEntry(name="gsm8k", data=shots),
        "humaneval": TaskEntry(name="quantcurve_humaneval", data=TaskData(test=str(humaneval)), run_code=True),
    }


def _arc(row: dict[str, Any]) -> dict[str, Any]:
    question, rest = row["instruction"].split("question: ", 1)[1].split("\n\nAnswer1: ", 1)
    choices = re.split(r" Answer\d: ", rest.split("\n\nAnswer format")[0])
    return {"question": question, "choices": choices, "gold": int(row["answer"].removeprefix("answer")) - 1}
