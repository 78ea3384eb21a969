"""lm-evaluation-harness over both lanes: requests as its own `hf` backend takes them, and the bad ones."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil
import pytest

import their_backends
from task_files import write_tasks
from tiny import write_tiny_llama

pytest.importorskip("lm_eval", reason="lm-eval is not installed: pip install 'quantcurve[eval]'")

from lm_eval.api.instance import Instance
from lm_eval.api.registry import get_model, model_registry

from quantcurve import lm_eval_plugin
from quantcurve.answers_kept import Kept
from quantcurve.engines import gguf_tokenizer
from quantcurve.errors import BackendError, ModelFileError, RecipeError
from quantcurve.lm_eval_model import QuantcurveLM
from quantcurve.lm_eval_requests import left_open
from quantcurve.task_model import TaskModel

pytestmark = pytest.mark.real
CONTEXT = 96
PAIRS = [
    *(("The harbour master counted", f" the {word}") for word in ("boats", "lamps", "gulls")),
    *(("A lamp by the harbour ", word) for word in ("wall", "boat")),
    ("", "the rope and the tide"),
    ("The cat " * 30, "sat"),
]
PROMPTS = ["The harbour", "A lamp by the harbour wall", "", "The tide " * 40]


def instance(kind: str, args: tuple[Any, ...], document: int = 0, repeats: int = 1) -> Instance:
    return Instance(kind, {}, args, 0, ("made up", document, repeats))  # type: ignore[arg-type]


def generation(prompt: str, document: int = 0, **settings: Any) -> Instance:
    return instance("generate_until", (prompt, {"until": ["zz"], "max_gen_toks": 12, **settings}), document)


@pytest.fixture(scope="module", params=["gguf", pytest.param("ir", marks=pytest.mark.slow)])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[QuantcurveLM]:
    folder = tmp_path_factory.mktemp("model")
    path = write_tiny_llama(folder / "tiny.gguf", precision="F32")
    if request.param == "gguf":
        yield QuantcurveLM(gguf=str(path), max_length=CONTEXT, batch_size=3, threads=2)
        return
    from tiny_ir import write_tiny_ir

    write_tiny_ir(folder / "ir", folder / "log")
    gguf_tokenizer.save(path, folder / "ir")
    yield QuantcurveLM(ir=str(folder / "ir"), max_length=CONTEXT, batch_size=3, threads=2, execution="accuracy")


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[their_backends.Backend]:
    """lm-eval's own, on the same weights in torch."""
    pytest.importorskip("torch", reason="torch is not installed")
    folder = tmp_path_factory.mktemp("torch")
    write_tiny_llama(folder / "tiny.gguf", precision="F32")
    gguf_tokenizer.save(folder / "tiny.gguf", folder)
    with their_backends.opened(folder, their_backends.open_hf, folder, CONTEXT) as found:
        yield found


@pytest.mark.slow
def test_likelihoods_are_those_of_the_hf_backend(model: QuantcurveLM, backend: their_backends.Backend) -> None:
    asked = [instance("loglikelihood", pair, i) for i, pair in enumerate(PAIRS)]
    before = model.truncated
    for ours, theirs in zip(model.loglikelihood(asked), backend.ask("loglikelihood", asked), strict=True):
        assert ours[0] == pytest.approx(theirs[0], abs=0.02) and ours[1] == theirs[1]
    assert model.truncated == before + 1


@pytest.mark.slow
def test_whole_texts_are_those_of_the_hf_backend(model: QuantcurveLM, backend: their_backends.Backend) -> None:
    asked = [instance("loglikelihood_rolling", (text,)) for text in ("The rope. " * 60, "short", "A" * 97)]
    theirs = backend.ask("loglikelihood_rolling", asked)
    assert model.loglikelihood_rolling(asked) == pytest.approx(theirs, rel=1e-4)


@pytest.mark.slow
def test_answers_are_those_of_the_hf_backend(model: QuantcurveLM, backend: their_backends.Backend) -> None:
    asked = [generation(prompt, i) for i, prompt in enumerate(PROMPTS) if prompt]
    for ours, theirs in zip(model.generate_until(asked), backend.ask("generate_until", asked), strict=True):
        assert ours.replace("<|start|>", "") == theirs, "llama.cpp writes this control token out"


@pytest.mark.slow
@pytest.mark.parametrize("model", ["ir"], indirect=True)
def test_an_ir_is_what_the_openvino_backend_makes_of_it(model: QuantcurveLM, tmp_path: Path) -> None:
    pytest.importorskip("optimum.intel", reason="optimum-intel is not installed")
    config = tmp_path / "ov.json"
    config.write_text('{"EXECUTION_MODE_HINT": "ACCURACY"}')
    asked = [instance("loglikelihood", pair, i) for i, pair in enumerate(PAIRS)]
    prompts = [generation(prompt, i) for i, prompt in enumerate(PROMPTS) if prompt]
    with their_backends.opened(tmp_path, their_backends.open_openvino, model.model.path, config, CONTEXT) as backend:
        theirs, texts = backend.ask("loglikelihood", asked), backend.ask("generate_until", prompts)
    for ours, other in zip(model.loglikelihood(asked), theirs, strict=True):
        assert ours[0] == pytest.approx(other[0], abs=0.02) and ours[1] == other[1]
    assert model.generate_until(prompts) == texts


def test_an_empty_prompt_begins_with_what_stands_for_it(model: QuantcurveLM) -> None:
    texts = model.generate_until([generation(prompt, i) for i, prompt in enumerate(PROMPTS)])
    assert len(texts) == len(PROMPTS) and model.said[-2].answer.text == texts[2]
    assert model.loglikelihood([instance("loglikelihood", ("", "x"))])[0][0] < 0


def test_drawn_answers_hang_on_seed_document_and_repeat(model: QuantcurveLM) -> None:
    asked = generation("The harbour", 7, do_sample=True, temperature=1.0, top_p=0.9)
    first = model.generate_until([asked] * 3)
    assert len(set(first)) == 3 and model.generate_until([asked] * 3) == first
    assert model.generate_until([generation("The harbour", 8, do_sample=True, temperature=1.0)])[0] not in first


def test_a_stop_string_across_tokens_cuts_the_text(model: QuantcurveLM) -> None:
    whole = model.generate_until([generation("The harbour")])[0]
    stop = whole[3:6]
    assert model.generate_until([generation("The harbour", until=[stop, ""])]) == [whole[: whole.index(stop)]]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"max_gen_toks": CONTEXT}, f"max_gen_toks is {CONTEXT}"),
        ({"top_k": 5}, "top_k=5"),
        ({"do_sample": True}, "without a temperature"),
        ({"num_beams": 4, "until": None}, "num_beams=4"),
    ],
)
def test_settings_that_cannot_be_kept_are_refused(model: QuantcurveLM, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        model.generate_until([generation("The harbour", **settings)])


def test_settings_that_change_nothing_are_taken(model: QuantcurveLM) -> None:
    plain = model.generate_until([generation("The harbour")])
    assert model.generate_until([generation("The harbour", top_k=0, num_beams=1, temperature=0.0)]) == plain


def test_what_is_no_continuation_is_refused(model: QuantcurveLM) -> None:
    with pytest.raises(RecipeError, match="empty continuation"):
        model._loglikelihood_tokens([(("a", ""), [5], [])])
    with pytest.raises(RecipeError, match="a continuation of 200 tokens"):
        model._loglikelihood_tokens([(("a", "b"), [5], [6] * 200)])


def test_models_are_named_in_full_or_refused(tmp_path: Path) -> None:
    for given in ({}, {"gguf": "a", "ir": "b"}):
        with pytest.raises(RecipeError, match="give gguf=FILE"):
            QuantcurveLM(**given)  # type: ignore[arg-type]
    for given, said in (
        ({"ir": "a", "kv_cache": "u3"}, "kv_cache: "),
        ({"gguf": "a", "execution": "x"}, "execution: "),
    ):
        with pytest.raises(RecipeError, match=said):
            QuantcurveLM(**given)
    (tmp_path / "no.gguf").write_bytes(b"no model at all")
    with pytest.raises(ModelFileError):
        QuantcurveLM(gguf=str(tmp_path / "no.gguf"))


def test_chats_are_as_the_template_writes_them(model: QuantcurveLM) -> None:
    assert model.chat_template(False) == ""
    with pytest.raises(RecipeError, match="one template"):
        model.chat_template("tools")
    assert left_open("<user>hi<assistant>The answer is <end>", "The answer is ") == "<user>hi<assistant>The answer is "
    assert left_open("<assistant>Yes<end>", " Yes ") == "<assistant>Yes"
    with pytest.raises(RecipeError, match="last message"):
        left_open("<assistant>no<end>", "Yes")


def test_what_was_done_before_a_death_is_kept(model: QuantcurveLM, tmp_path: Path) -> None:
    """The engine dies after the second of four groups; the next time two groups are asked, and all is the same."""
    requests = [model._request(generation("The harbour " * (i + 1), i), 0) for i in range(10)]
    whole = model.model.answers(requests)
    seen = list[int]()

    def die_after_two(count: int) -> None:
        seen.append(count)
        if len(seen) == 2:
            (engine,) = (c for c in psutil.Process().children() if "dying" in c.cmdline())
            engine.kill()

    with pytest.raises(BackendError, match="died"):
        TaskModel(model.model.path, model.model.settings, "dying", tmp_path / "log", Kept(tmp_path / "kept")).answers(
            requests, die_after_two
        )
    again = TaskModel(model.model.path, model.model.settings, "again", tmp_path / "log", Kept(tmp_path / "kept"))
    assert len((tmp_path / "kept").read_text().splitlines()) == 2
    for one, two in zip(again.answers(requests), whole, strict=True):
        assert one.tokens.tolist() == two.tokens.tolist() and one.text == two.text
        assert one.steps.log_probability.tolist() == two.steps.log_probability.tolist()
        assert one.steps.margin.tolist() == two.steps.margin.tolist()
    assert len((tmp_path / "kept").read_text().splitlines()) == 4
    closed = TaskModel(tmp_path / "nothing", model.model.settings, "x", tmp_path / "log", Kept(tmp_path / "kept"))
    assert [a.text for a in closed.answers(requests)] == [a.text for a in whole], "no model is opened for what is kept"


def test_the_model_is_found_by_entry_point_and_by_name() -> None:
    found = {entry.name: entry for entry in metadata.entry_points(group="lm_eval.models")}
    assert found["quantcurve"].load() is QuantcurveLM
    lm_eval_plugin.register()
    assert get_model("quantcurve") is QuantcurveLM and "quantcurve" in model_registry


def test_the_command_takes_the_model_by_name(tmp_path: Path, tiny_model: Path) -> None:
    write_tasks(tmp_path)
    command = [str(Path(sys.executable).parent / "lm_eval"), "--model", "quantcurve", "--model_args"]
    arguments = [f"gguf={tiny_model},max_length=256", "--tasks", "choices.yaml", "--output_path", str(tmp_path / "out")]
    ended = subprocess.run([*command, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-2000:]
    found = json.loads(next((tmp_path / "out").rglob("results_*.json")).read_text())
    assert 0 <= found["results"]["choices"]["acc,none"] <= 1 and found["config"]["model_file"] == "tiny.gguf"


def test_other_processes_import_nothing_of_it() -> None:
    said = "import sys; print('quantcurve' in sys.modules, 'lm_eval' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["False", "False"]
