"""lm-evaluation-harness over a GGUF file or an OpenVINO IR: `lm_eval --model quantcurve --model_args gguf=FILE`.

One adapter for both lanes, so that prompts, few-shot examples, truncation, seeds, stops and batches are the same for
both. It follows lm-eval's `hf` backend (models/huggingface.py), whose answers are those of the same weights in torch.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import weakref
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import register_model
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from tqdm import tqdm

from quantcurve.chat_template import TemplateRefusedError
from quantcurve.engines.text_side import CONFIG, TOKENIZER, TextSide
from quantcurve.errors import RecipeError
from quantcurve.generation import Answer, Request
from quantcurve.likelihood import Pair
from quantcurve.lm_eval_args import model_of, text_side_of
from quantcurve.lm_eval_requests import left_open, repeats, wanted
from quantcurve.task_model import TaskModel

BATCH, BATCH_TOKENS = 16, 2048
MAX_CONTEXT = 8192
"""Longest context where the caller gives none; shorter where the model was trained for less."""
NEW_TOKENS = 256
"""Of an answer, where a task gives no limit (HFLM.max_gen_toks)."""
Encoded = tuple[tuple[str, str], list[int], list[int]]


class Said(NamedTuple):
    """A generated answer, and what it is one of."""

    task: str
    document: int
    number: int
    """Of the request among those of its document."""
    repeat: int
    answer: Answer


@register_model("quantcurve")
class QuantcurveLM(TemplateLM):  # type: ignore[misc]
    """A model that lm-evaluation-harness asks. At first nothing is opened but the tokenizer.

    Args:
        gguf: GGUF file.
        ir: in its place, a folder with an OpenVINO IR and its tokenizer.
        max_length: tokens of a prompt with its answer; what the model was trained for, MAX_CONTEXT at most.
        batch_size: answers that are generated together ("auto": BATCH).
        batch_tokens: tokens that go through the model together for likelihoods.
        threads: of the CPU; all physical cores.
        device: cpu or gpu for a GGUF file, CPU, GPU, ... for an IR.
        seed: of sampled answers.
        log: file for what the engine prints.
        max_batch_size: of lm-eval's own; not used.
        model: in place of `gguf` and `ir`.
        ends: tokens that end an answer; what the model says.
        text: the tokenizer; the model's own.
        runtime: of an IR the fields of OpenVinoRuntime (execution, kv_cache, ...), of a GGUF file k and v, the
            types of its KV cache.

    Raises:
        RecipeError: neither or both of `gguf` and `ir`, or a setting that is none.
        ModelFileError: the model has no tokenizer that can be used.
        BackendError: llama.cpp cannot read the vocabulary.
    """

    def __init__(
        self,
        gguf: str | None = None,
        ir: str | None = None,
        *,
        max_length: int | None = None,
        batch_size: int | str = BATCH,
        batch_tokens: int = BATCH_TOKENS,
        threads: int | None = None,
        device: str | None = None,
        seed: int = 0,
        log: str | None = None,
        max_batch_size: int | None = None,
        model: TaskModel | None = None,
        ends: Sequence[int] | None = None,
        text: TextSide | None = None,
        **runtime: Any,
    ) -> None:
        super().__init__()
        folder = Path(tempfile.mkdtemp(prefix="quantcurve-lm-eval-"))
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        logs = Path(log) if log else folder / "engine.log"
        size = BATCH if batch_size in {"auto", None} else int(batch_size)
        self.model = model or model_of(gguf, ir, size, int(batch_tokens), threads, device, runtime, logs)
        self.text = text or text_side_of(self.model.path, folder, logs)
        self._ends = tuple(ends) if ends else None
        self._seed = int(seed)
        self._max_length = None if max_length is None else int(max_length)
        if self._max_length is not None and self._max_length < 2:
            raise RecipeError(f"max_length is {max_length}; give 2 tokens at least")
        self.truncated = 0
        """Prompts whose beginning was cut off to fit into `max_length`."""
        self.said: list[Said] = []

    @cached_property
    def max_length(self) -> int:
        """Tokens of a prompt with its answer."""
        trained = self.text.trained_context
        return self._max_length or min(trained or MAX_CONTEXT, MAX_CONTEXT)

    @property
    def max_gen_toks(self) -> int:
        """Of an answer, where a task gives no limit."""
        return NEW_TOKENS

    @property
    def batch_size(self) -> int:
        """Answers that are generated together."""
        return self.model.settings.batch

    @cached_property
    def ends(self) -> tuple[int, ...]:
        """Tokens that end an answer."""
        return self._ends or self.model.end_tokens()

    @property
    def eot_token_id(self) -> int:
        """The tokenizer's end-of-text token, else the first that ends an answer."""
        eos = self.text.special("eos_token")
        return self.ends[0] if eos is None else eos

    @property
    def prefix_token_id(self) -> int:
        """What stands for an empty context: BOS, or else EOS."""
        return self.text.blank()

    @cached_property
    def tokenizer_name(self) -> str:
        """Changes with the tokenizer and the chat template."""
        parts = [self.text.path / TOKENIZER, self.text.path / CONFIG]
        content = b"".join(part.read_bytes() for part in parts if part.is_file())
        return f"quantcurve-{hashlib.sha256(content + self.chat_template(True).encode()).hexdigest()[:16]}"

    def chat_template(self, chat_template: bool | str = False) -> str:
        """Source of the model's template; a name is refused, since there is one.

        Raises:
            RecipeError: a name was given.
        """
        if isinstance(chat_template, str):
            raise RecipeError(f"apply_chat_template={chat_template}: the model has one template; give no name")
        return self.text.template_source or "" if chat_template else ""

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """A chat as the model's own template writes it; one that refuses a system message gets the chat without it, as
        in HFLM.apply_chat_template. With `add_generation_prompt` False the last message is left open.

        Raises:
            RecipeError: the template refuses the chat, or there is none.
        """
        for messages in (chat_history, [m for m in chat_history if m["role"] != "system"]):
            try:
                rendered = self.text.template.render(messages, add_generation_prompt=add_generation_prompt)
            except TemplateRefusedError as error:
                refusal = error
                continue
            return rendered if add_generation_prompt else left_open(rendered, messages[-1]["content"])
        raise RecipeError(f"{self.model.path}: its chat template refused {chat_history!r:.80}: {refusal}")

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        """Ids of a text; None: with what the tokenizer puts in front of texts, once."""
        return self.text.bare(string) if add_special_tokens is False else self.text.encode(string)

    def _loglikelihood_tokens(
        self, requests: Sequence[Encoded], disable_tqdm: bool = False, **kwargs: Any
    ) -> list[tuple[float, bool]]:
        pairs = [self._fitted(*request) for request in requests]
        with tqdm(total=len(pairs), disable=disable_tqdm, desc="Running loglikelihood requests") as bar:
            found = self.model.likelihoods(pairs, bar.update)
        answers = [(one.nats, one.greedy) for one in found]
        for (texts, _, _), answer in zip(requests, answers, strict=True):
            self.cache_hook.add_partial("loglikelihood", texts, answer)
        return answers

    def loglikelihood_rolling(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[float]:
        """Of whole texts, in disjoint windows of `max_length`."""
        pairs, counts = list[Pair](), list[int]()
        for request in requests:
            windows = get_rolling_token_windows(
                self.tok_encode(request.args[0]), self.prefix_token_id, self.max_length, context_len=1
            )
            disjoint = (make_disjoint_window(window) for window in windows)
            cut = [Pair(_ids(context), _ids(continuation)) for context, continuation in disjoint]
            pairs += cut
            counts.append(len(cut))
        with tqdm(total=len(pairs), disable=disable_tqdm, desc="Running loglikelihood_rolling requests") as bar:
            found = iter(self.model.likelihoods(pairs, bar.update))
        totals = [sum(next(found).nats for _ in range(count)) for count in counts]
        for request, total in zip(requests, totals, strict=True):
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, total)
        return totals

    def generate_until(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[str]:
        """Texts that answer prompts, without the stop strings that ended them.

        Raises:
            RecipeError: a setting that is not supported, or no room for a prompt.
        """
        counted = repeats(requests)
        asked = [self._request(request, repeat) for request, repeat in zip(requests, counted, strict=True)]
        with tqdm(total=len(asked), disable=disable_tqdm, desc="Running generate_until requests") as bar:
            answers = self.model.answers(asked, bar.update)
        for request, repeat, answer in zip(requests, counted, answers, strict=True):
            self.said.append(Said(request.task_name or "", request.doc_id or 0, request.idx, repeat, answer))
            self.cache_hook.add_partial("generate_until", request.args, answer.text)
        return [answer.text for answer in answers]

    def get_model_info(self) -> dict[str, Any]:
        """For lm-eval's record: how the engine really ran."""
        effective = self.model.effective
        return {
            "model_file": self.model.path.name,
            "model_settings": self.model.settings.model_dump(mode="json"),
            "model_effective_config": effective.model_dump(mode="json") if effective else None,
            "truncated_prompts": self.truncated,
        }

    def _fitted(self, texts: tuple[str, str], context: list[int], continuation: list[int]) -> Pair:
        """Without its beginning, where it is longer than `max_length` (HFLM._loglikelihood_tokens)."""
        if not continuation:
            raise RecipeError(f"an empty continuation of {texts and texts[0]!r:.80}; a choice needs a text")
        over = len(context) + len(continuation) - 1 - self.max_length
        if over >= len(context):
            raise RecipeError(
                f"a continuation of {len(continuation):,} tokens, and max_length is {self.max_length:,}; give more"
            )
        self.truncated += over > 0
        return Pair(_ids(context[max(over, 0) :]), _ids(continuation))

    def _request(self, request: Instance, repeat: int) -> Request:
        prompt, given = request.args
        asked = wanted(given, self.max_gen_toks)
        room = self.max_length - asked.max_tokens
        if room < 1:
            raise RecipeError(
                f"{request.task_name}: max_gen_toks is {asked.max_tokens:,}, and max_length {self.max_length:,}; give "
                "less of the one or more of the other"
            )
        tokens = self.text.encode(prompt) or [self.prefix_token_id]
        self.truncated += len(tokens) > room
        special = {stop: token for stop in asked.stops if (token := self.text.special_id(stop)) is not None}
        state = np.random.SeedSequence([self._seed, request.doc_id or 0, request.idx, repeat])
        return Request(
            prompt=_ids(tokens[-room:]),
            max_tokens=asked.max_tokens,
            ends=tuple(sorted({*self.ends, self.eot_token_id, *special.values()})),
            stops=tuple(stop for stop in asked.stops if stop and stop not in special),
            temperature=asked.temperature,
            seed=int(state.generate_state(1)[0]) if asked.temperature else 0,
            top_p=asked.top_p,
        )


def _ids(values: Iterable[int]) -> np.ndarray[Any, np.dtype[np.int32]]:
    return np.fromiter(values, np.int32)
