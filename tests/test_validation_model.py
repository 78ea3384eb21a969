"""A language model as validation functions see it, over a tiny real IR."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from quantcurve import validation_functions as built_in
from quantcurve import validation_loading
from quantcurve.engines.base import OpenVinoConfig, OpenVinoRuntime, ReferenceScratch, Tokens
from quantcurve.engines.child import Child
from quantcurve.errors import BackendError, ModelFileError, RecipeError
from quantcurve.validation import Item
from tiny import write_tiny_llama
from tiny_ir import VOCABULARY, write_tiny_ir

pytest.importorskip("openvino", reason="OpenVINO is not installed: pip install 'quantcurve[openvino]'")
pytest.importorskip("optimum.intel", reason="optimum-intel is not installed: pip install 'quantcurve[openvino]'")

from quantcurve.engines.validation_model import OpenModel

pytestmark = [pytest.mark.real, pytest.mark.slow]
EXACT = OpenVinoRuntime(execution="accuracy")
U8 = OpenVinoRuntime(kv_cache="u8", inference_precision="f32")
CONTEXT = 96
FIRST = 100
"""Number of the first item."""
TEMPLATE = "{% for m in messages %}<|start|>{{ m.role }}: {{ m.content }}\n{% endfor %}{{ 'bot: ' }}"
PAIRS = [
    ("the cat sat on", " the mat"),
    ("one two", " three"),
    ("the cat sat on", " a very long and winding road"),
    ("a", "b"),
]


@pytest.fixture(scope="module")
def ir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from quantcurve.engines import gguf_tokenizer

    folder = tmp_path_factory.mktemp("validation")
    made = write_tiny_ir(folder / "ir", folder / "log")
    gguf = write_tiny_llama(folder / "tiny.gguf")
    with Child("tokenizer", folder / "log") as child:
        child.call(gguf_tokenizer.save, gguf, made)
    config = made / "tokenizer_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"chat_template": TEMPLATE}))
    (made / "generation_config.json").unlink(missing_ok=True)
    return made


@pytest.fixture(scope="module")
def windows() -> Tokens:
    return np.random.default_rng(0).integers(3, VOCABULARY - 1, (11, 64)).astype(np.int32)


@pytest.fixture(scope="module")
def items(windows: Tokens) -> list[Item]:
    return [Item(FIRST + i, "noise", window) for i, window in enumerate(windows)]


@pytest.fixture(scope="module")
def scratch(ir: Path, windows: Tokens, tmp_path_factory: pytest.TempPathFactory) -> ReferenceScratch:
    """The float IR's own logits, as the stages keep them."""
    from quantcurve.engines import openvino_child

    kept = ReferenceScratch(tmp_path_factory.mktemp("scratch"))
    openvino_child.open_model(ir, config(EXACT))
    openvino_child.score(windows, None, kept)
    return kept


def config(runtime: OpenVinoRuntime) -> OpenVinoConfig:
    return OpenVinoConfig(threads=2, window_tokens=CONTEXT, runtime=runtime)


def opened(ir: Path, scratch: ReferenceScratch | None, count: int = 11, runtime: OpenVinoRuntime = EXACT) -> OpenModel:
    from quantcurve.engines.deployed_runner import DeployedRunner

    return OpenModel(DeployedRunner(ir, config(runtime)), scratch, range(FIRST, FIRST + count))


@pytest.fixture(scope="module")
def model(ir: Path, scratch: ReferenceScratch) -> OpenModel:
    return opened(ir, scratch)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=-1, keepdims=True)
    return wide - np.log(np.exp(wide).sum(axis=-1, keepdims=True))


@pytest.mark.parametrize("runtime", [EXACT, U8], ids=["one pass", "passes"])
def test_scores_are_those_of_the_stages_in_any_order(
    ir: Path, scratch: ReferenceScratch, windows: Tokens, items: list[Item], runtime: OpenVinoRuntime
):
    from quantcurve.engines import openvino_child

    subject = opened(ir, scratch, runtime=runtime)
    assert subject.runner.plain_cache == (runtime is EXACT)
    order = np.random.default_rng(1).permutation(len(items))
    found = subject.score([items[i] for i in order])
    wanted = openvino_child.score(windows, scratch, None)
    for place, i in enumerate(order):
        assert found[place].nll.shape == (1, 31)
        for name, value in vars(wanted.rows(slice(i, i + 1))).items():
            np.testing.assert_allclose(getattr(found[place], name), value, rtol=1e-4, atol=1e-5, err_msg=name)
    assert found[0].kl is not None
    assert float(found[0].kl.mean()) < 1e-8 if runtime is EXACT else float(found[0].kl.mean()) > 1e-7


def test_windows_of_several_lengths_keep_their_order(model: OpenModel, windows: Tokens):
    free = OpenModel(model.runner, None, ())
    cut = [Item(i, "noise", windows[i, :length]) for i, length in enumerate([64, 17, 64, 40, 3])]
    together, alone = free.score(cut), [free.score([item])[0] for item in cut]
    assert [s.nll.shape for s in together] == [(1, 31), (1, 8), (1, 31), (1, 19), (1, 1)]
    for a, b in zip(together, alone, strict=True):
        assert a.kl is None
        np.testing.assert_allclose(a.nll, b.nll, rtol=1e-4)


def test_the_references_top_tokens_are_what_it_scores(model: OpenModel, items: list[Item]):
    some = [items[7], items[2]]
    for score, top in zip(model.score(some), model.reference_top1(some), strict=True):
        assert (score.top1[0] == top).all() and top.shape == (31,)
    with pytest.raises(BackendError, match="without the reference's logits"):
        OpenModel(model.runner, None, ()).reference_top1(some)


def test_log_likelihoods_are_sums_of_a_plain_pass(model: OpenModel):
    found = model.log_likelihood(PAIRS)
    for (context, continuation), likelihood in zip(PAIRS, found, strict=True):
        ids = model.text.encode(context + continuation)
        begin = len(model.text.encode(context))
        logits = model.runner.forward(np.array([ids], np.int32), 0, len(ids))[0]
        rows = log_softmax(logits)[begin - 1 : -1]
        assert likelihood.tokens == len(ids) - begin
        assert likelihood.nats == pytest.approx(rows[np.arange(len(rows)), ids[begin:]].sum(), rel=1e-4)
        assert likelihood.greedy == bool((rows.argmax(axis=1) == ids[begin:]).all())


def test_log_likelihoods_do_not_depend_on_the_batch(ir: Path, model: OpenModel):
    quantised = opened(ir, None, runtime=U8)
    for subject in (model, quantised):
        together = subject.log_likelihood(PAIRS)
        alone = [subject.log_likelihood([pair])[0] for pair in PAIRS]
        np.testing.assert_allclose([t.nats for t in together], [a.nats for a in alone], rtol=1e-4)
        assert [t.tokens for t in together] == [a.tokens for a in alone]


def test_spaces_before_the_border_belong_to_the_continuation(model: OpenModel):
    spaced, plain = model.log_likelihood([("the cat sat on ", "the mat"), ("the cat sat on", " the mat")])
    assert spaced == plain


def test_a_prompt_of_nothing_is_the_end_token_where_no_token_begins_texts(model: OpenModel):
    (found,) = model.log_likelihood([("", "the")])
    ids = [2, *model.text.encode("the")]
    rows = log_softmax(model.runner.forward(np.array([ids], np.int32), 0, len(ids))[0])
    assert found.nats == pytest.approx(rows[np.arange(len(ids) - 1), ids[1:]].sum(), rel=1e-4)


def test_a_check_of_the_scorecard_gets_the_same(ir: Path, model: OpenModel, tmp_path: Path):
    """The same IR asked through its own process, in batches, as the scorecard does."""
    from quantcurve.slices.check_model import CheckModel, CheckSettings
    from quantcurve.task_model import TaskModel, TaskSettings

    settings = TaskSettings(threads=2, runtime=EXACT, batch=3, batch_tokens=256)
    task = TaskModel(ir, settings, "check", tmp_path / "log")
    check = CheckModel(task, CheckSettings(model.text, tuple(model.text.ends), CONTEXT))
    pairs = [*PAIRS, ("the cat sat on ", "the mat"), ("the cat sat on the m", "at"), ("", "the")]
    prompts = ["the cat", "one two three", "the cat sat on the mat and"]
    with task.held():
        for ours, theirs in zip(check.log_likelihood(pairs), model.log_likelihood(pairs), strict=True):
            assert ours.nats == pytest.approx(theirs.nats, rel=1e-4)
            assert (ours.tokens, ours.greedy) == (theirs.tokens, theirs.greedy)
        whole = model.generate(prompts, 12)
        assert check.generate(prompts, 12) == whole
        stop = whole[0][4:6]
        for stops in ([stop, "never said"], stop, [""], ""):
            assert check.generate(prompts, 12, stops) == model.generate(prompts, 12, stops)
    messages = [{"role": "user", "content": "hi"}]
    assert check.chat(messages) == model.chat(messages) and check.context_tokens == model.context_tokens
    said = {most: model.generate(["the cat"], most)[0] for most in (3, 6)}
    rows = [{"prompt": "the cat", "answer": said[most], "max_tokens": most} for most in (3, 6, 3)]
    items = [Item(i, "qa", record=row) for i, row in enumerate([*rows, rows[0] | {"answer": "no"}])]
    with task.held():
        assert built_in.exact_match(check, items) == built_in.exact_match(model, items) == [1, 1, 1, 0]


def greedy(model: OpenModel, prompt: str, count: int) -> list[int]:
    """Without a cache: the whole text anew for every token."""
    ids = model.text.encode(prompt)
    start = len(ids)
    for _ in range(count):
        logits = model.runner.forward(np.array([ids], np.int32), 0)[0, -1]
        ids.append(int(logits.argmax()))
    return ids[start:]


def test_generation_with_the_cache_is_generation_without(model: OpenModel):
    prompts = ["the cat", "one two three"]
    for prompt, text in zip(prompts, model.generate(prompts, 12), strict=True):
        assert text == model.text.continued(model.text.encode(prompt), greedy(model, prompt, 12))


def test_generation_ends_at_end_tokens_and_stop_strings(ir: Path, model: OpenModel, tmp_path: Path):
    ids, before = greedy(model, "the cat", 12), model.text.encode("the cat")
    end = next(i for i in range(3, 12) if ids[i] not in ids[:i])
    copy = shutil.copytree(ir, tmp_path / "copy")
    (copy / "generation_config.json").write_text(json.dumps({"eos_token_id": [0, ids[end]]}))
    assert opened(copy, None).generate(["the cat"], 12) == [model.text.continued(before, ids[:end])]
    whole = model.text.continued(before, ids)
    stop = whole[4:6]
    assert model.generate(["the cat"], 12, [stop, "never said"]) == [whole[: whole.find(stop)]]


def test_characters_of_several_tokens_are_put_together(model: OpenModel):
    before, new = model.text.encode("a"), model.text.encode("é😀")
    assert len(new) > 2 and model.text.continued(before, new) == "é😀"


def test_nothing_is_left_over_from_one_call_to_the_next(model: OpenModel, items: list[Item]):
    nll = model.score(items[:3])[1].nll
    likelihoods, text = model.log_likelihood(PAIRS), model.generate(["the cat"], 8)
    for _ in range(2):
        model.generate(["one two three four five"], 20)
        assert (model.score(items[:3])[1].nll == nll).all()
        assert model.log_likelihood(PAIRS) == likelihoods
        assert model.generate(["the cat"], 8) == text


@pytest.mark.parametrize(
    ("item", "said"),
    [
        (Item(3, "wiki", np.full(CONTEXT + 2, 5, np.int32)), r"item 3 \(wiki\): 98 tokens, and the context is 96"),
        (Item(4, "qa", record={"prompt": "x"}), r"item 4 \(qa\) has no window, only a record"),
        (Item(5, "wiki", np.full(2, 5, np.int32)), "a window of 2 tokens"),
        (Item(FIRST, "wiki", np.full(64, VOCABULARY, np.int32)), "the vocabulary has 300 tokens"),
        (Item(7, "wiki", np.full(64, 5, np.int32)), "none of this validation's"),
        (Item(FIRST, "wiki", np.full(32, 5, np.int32)), "none of this validation's"),
    ],
)
def test_items_that_cannot_be_scored_are_named(model: OpenModel, item: Item, said: str):
    with pytest.raises(RecipeError, match=said):
        model.score([item])


def test_texts_that_do_not_fit_are_refused(model: OpenModel):
    long = "w x y z " * 40
    with pytest.raises(RecipeError, match=r"the pair 1: \d+ tokens, and the context is 96"):
        model.log_likelihood([("a", "b"), (long, "b")])
    with pytest.raises(RecipeError, match=r"the prompt and max_tokens 0: \d+ tokens, and the context is 96"):
        model.generate(["short"], 200)
    with pytest.raises(RecipeError, match="pair 0: its continuation is empty"):
        model.log_likelihood([("a", "")])
    with pytest.raises(RecipeError, match="prompt 0 is empty"):
        model.generate([""], 4)
    record = {"prompt": long, "answer": "b"}
    with pytest.raises(RecipeError, match=r"item 12 \(qa.jsonl\): the pair: \d+ tokens"):
        built_in.answer_log_likelihood(
            model, [Item(11, "qa.jsonl", record={"prompt": "a", "answer": "b"}), Item(12, "qa.jsonl", record=record)]
        )
    with pytest.raises(RecipeError, match=r"item 12 \(qa.jsonl\): the prompt and max_tokens: \d+ tokens"):
        built_in.exact_match(model, [Item(12, "qa.jsonl", record=record)])


def test_chats_are_written_as_the_model_wants_them(ir: Path, model: OpenModel, tmp_path: Path):
    messages = [{"role": "user", "content": "hi"}]
    assert model.chat(messages) == "<|start|>user: hi\nbot: "
    with pytest.raises(RecipeError, match="not a list of"):
        model.chat([{"content": "hi"}])
    copy = shutil.copytree(ir, tmp_path / "copy")
    (copy / "tokenizer_config.json").unlink()
    with pytest.raises(RecipeError, match="has no chat template"):
        OpenModel(model.runner, None, ()).text.__class__(copy).chat(messages)


def test_the_token_that_begins_texts_stands_there_once(tmp_path: Path):
    from quantcurve.engines import gguf_tokenizer
    from quantcurve.engines.text_side import TextSide

    gguf = write_tiny_llama(tmp_path / "bos.gguf", add_bos=True)
    with Child("tokenizer", tmp_path / "log") as child:
        child.call(gguf_tokenizer.save, gguf, tmp_path)
    text = TextSide(tmp_path)
    assert text.prefix == [1]
    assert text.encode("the") == text.encode("<|start|>the")
    assert text.encode_pair("", "the") == (text.encode("the"), 1)
    assert text.ends == {2}


def test_a_folder_without_a_tokenizer_can_only_score(ir: Path, items: list[Item], tmp_path: Path):
    copy = shutil.copytree(ir, tmp_path / "copy")
    (copy / "tokenizer.json").unlink()
    subject = opened(copy, None)
    assert len(subject.score(items[:2])) == 2
    with pytest.raises(ModelFileError, match=r"no tokenizer\.json"):
        subject.generate(["a"])
    (copy / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelFileError, match="cannot read it"):
        opened(copy, None).generate(["a"])


@pytest.mark.parametrize("name", ["token_accuracy", "negative_cross_entropy", "negative_kl_divergence"])
def test_functions_of_windows_on_the_reference_and_on_a_variant(
    ir: Path, scratch: ReferenceScratch, model: OpenModel, items: list[Item], name: str
):
    function = validation_loading.load(name, Path())
    at_reference = validation_loading.check_deterministic(function, name, model, items)
    variant = validation_loading.values(function, name, opened(ir, scratch, runtime=U8), items)
    if name == "negative_cross_entropy":
        assert at_reference == pytest.approx([-float(s.nll.mean()) for s in model.score(items)])
        assert variant == pytest.approx(at_reference, abs=0.05) and variant != at_reference
    else:
        best = 1.0 if name == "token_accuracy" else 0.0
        assert at_reference == pytest.approx([best] * len(items), abs=1e-9)
        assert all(v <= best for v in variant) and (name == "token_accuracy" or max(variant) < 0)


def test_functions_of_records(model: OpenModel):
    prompt, (said,) = "the cat", model.generate(["the cat"], 6)
    rows = [{"prompt": prompt, "answer": said, "max_tokens": 6}, {"prompt": prompt, "answers": ["no"], "max_tokens": 6}]
    items = [Item(i, "qa", record=row) for i, row in enumerate(rows)]
    assert built_in.exact_match(model, items) == [1.0, 0.0]
    chat = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 4}
    (answer,) = model.generate([model.chat(chat["messages"])], 4)
    assert built_in.exact_match(model, [Item(0, "qa", record=chat | {"answer": answer})]) == [1.0]
    assert built_in.json_validity(model, [Item(0, "qa", record=chat)]) == [0.0]
    (found,) = model.log_likelihood([("the cat", " sat")])
    answers = [Item(0, "qa", record={"prompt": "the cat", "answer": "sat"})]
    assert built_in.answer_log_likelihood(model, answers) == pytest.approx([found.nats / found.tokens])


def test_the_best_choice_is_the_likeliest_by_byte(model: OpenModel):
    choices = ["on the mat", "it", "in a hat and then some"]
    found = model.log_likelihood([("the cat sat", f" {c}") for c in choices])
    best = int(np.argmax([f.nats / len(c) for f, c in zip(found, choices, strict=True)]))
    row = {"question": "the cat sat", "choices": choices}
    right = [best, choices[best], (best + 1) % 3, choices[best - 1]]
    items = [Item(i, "qa", record=row | {"answer": answer}) for i, answer in enumerate(right)]
    values = validation_loading.check_deterministic(built_in.multiple_choice, "choice", model, items)
    assert values == [1, 1, 0, 0]


USERS = '''
"""Mean log-likelihood of answers, and none for those that the model does not begin."""

import numpy as np


def answers(model, items):
    pairs = [(item.record["q"] + "\\n", item.record["a"]) for item in items]
    found = model.log_likelihood(pairs)
    texts = model.generate([question for question, _ in pairs], max_tokens=4)
    values = np.array([f.nats / f.tokens for f in found])
    for i, text in enumerate(texts):
        if not text:
            values[i] = -100
    return values
'''


def test_a_function_of_the_users_own(model: OpenModel, tmp_path: Path):
    (tmp_path / "mine.py").write_text(USERS)
    function = validation_loading.load("mine.py:answers", tmp_path)
    items = [Item(i, "qa", record={"q": q, "a": a}) for i, (q, a) in enumerate(PAIRS)]
    found = validation_loading.check_deterministic(function, "mine", model, items)
    assert len(found) == 4 and all(-30 < v < 0 for v in found)
