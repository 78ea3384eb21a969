"""Local tasks for lm-evaluation-harness: choices, answers and code, a few documents each."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

WORDS = ("harbour", "boat", "fog", "north", "lamp", "rope", "tide", "gull", "anchor", "sail", "mast", "hull")

CHOICES = """\
task: choices
dataset_path: json
dataset_kwargs: {data_files: {test: choices.jsonl}}
output_type: multiple_choice
test_split: test
fewshot_split: test
doc_to_text: "Question: {{question}}\\nAnswer:"
doc_to_target: "{{gold}}"
doc_to_choice: "{{choices}}"
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
  - {metric: acc_norm, aggregation: mean, higher_is_better: true}
metadata: {version: 1.0}
"""
ANSWERS = """\
task: answers
dataset_path: json
dataset_kwargs: {data_files: {test: choices.jsonl}}
output_type: generate_until
test_split: test
doc_to_text: "Q: {{question}} A:"
doc_to_target: "{{choices[gold]}}"
generation_kwargs: {until: ["zz"], max_gen_toks: 8, do_sample: false}
metric_list:
  - {metric: exact_match, aggregation: mean, higher_is_better: true}
metadata: {version: 2.0}
"""
PERPLEXITY = """\
task: texts
dataset_path: json
dataset_kwargs: {data_files: {test: choices.jsonl}}
output_type: loglikelihood_rolling
test_split: test
doc_to_text: ""
doc_to_target: "{{question}}"
metric_list:
  - {metric: word_perplexity, aggregation: weighted_perplexity, higher_is_better: false}
metadata: {version: 1.0}
"""
CODE = [
    {
        "prompt": f"def add_{i}(a, b):\n",
        "entry_point": f"add_{i}",
        "test": f"def check(f):\n    assert f(2, 3) == 5 + {i}",
    }
    for i in range(3)
]


def write_tasks(folder: Path, documents: int = 12) -> None:
    """choices.yaml, answers.yaml and texts.yaml, with their documents, and code.jsonl."""
    for name, text in (("choices", CHOICES), ("answers", ANSWERS), ("texts", PERPLEXITY)):
        (folder / f"{name}.yaml").write_text(text)
    rows = [
        {
            "question": f"Which is number {i}, the {WORDS[i % 12]} or the {WORDS[(i + 5) % 12]}?",
            "choices": [WORDS[(i * k + k) % 12] for k in (1, 2, 3, 5)],
            "gold": i % 4,
        }
        for i in range(documents)
    ]
    write_lines(folder / "choices.jsonl", rows)
    write_lines(folder / "code.jsonl", CODE)


def write_lines(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """A JSONL file."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
