"""The tokenizer beside an IR: texts to ids and back, chats to prompts; runs in a child process (see child.py)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quantcurve.chat_template import ChatTemplate, TemplateRefusedError
from quantcurve.errors import ModelFileError, RecipeError, printable

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TOKENIZER, CONFIG, TEMPLATE = "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"
ENDS = ("generation_config.json", "config.json")
"""Files that name the tokens that end an answer; the first that does counts."""
UNTOLD = 10**9
"""transformers writes a larger model_max_length where it is not known."""


class TextSide:
    """A folder's tokenizer.json, chat template and end tokens; each is read when it is first needed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer, without truncation or padding.

        Raises:
            ModelFileError: there is none, or none that the tokenizers library reads.
        """
        file = self.path / TOKENIZER
        if not file.is_file():
            raise ModelFileError(
                f"{self.path}: no {TOKENIZER}; where the model is given texts it is needed beside the IR"
            )
        return _tokenizer(file, file.stat().st_mtime_ns)

    @cached_property
    def prefix(self) -> list[int]:
        """What the tokenizer puts in front of every text: BOS, or nothing."""
        bare = self.tokenizer.encode("a", add_special_tokens=False).ids
        whole = self.tokenizer.encode("a").ids
        start = next((i for i in range(len(whole)) if whole[i : i + len(bare)] == bare), 0)
        return list(whole[:start])

    def bare(self, text: str) -> list[int]:
        """Ids of a text, and nothing before or behind them."""
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def encode(self, text: str) -> list[int]:
        """Ids of a text that goes on: what stands in front of every text, once, and nothing at its end."""
        ids = self.bare(text)
        return ids if self.prefix and ids[: len(self.prefix)] == self.prefix else self.prefix + ids

    def encode_pair(self, context: str, continuation: str) -> tuple[list[int], int]:
        """Ids of a context and what goes on from it, and how many are the context's, at least one.

        As lm-evaluation-harness does (api/model.py, _encode_pair): spaces at the end of the context belong to the
        continuation, and so does a token across their border. Where there is no context and no BOS, the beginning- or
        else the end-of-text token stands for it (`prefix_token_id` of models/huggingface.py).
        """
        kept = context.rstrip()
        whole = self.encode(context + continuation)
        begin = len(self.encode(kept))
        if begin == 0:
            whole, begin = [self.blank(), *whole], 1
        return whole, min(begin, max(1, len(whole) - 1))

    def continued(self, before: Sequence[int], new: Sequence[int]) -> str:
        """Text of new ids after others. The whole is decoded: a character may be made of several tokens, and some
        decoders strip the first one's space."""
        whole = self.tokenizer.decode([*before, *new])
        start = self.tokenizer.decode(list(before))
        return str(whole[len(start) :] if whole.startswith(start) else self.tokenizer.decode(list(new)))

    @cached_property
    def ends(self) -> frozenset[int]:
        """Ids that end an answer: eos_token_id of generation_config.json or config.json, else the tokenizer's EOS."""
        for name in ENDS:
            found = self._json(name).get("eos_token_id")
            ids = [found] if isinstance(found, int) else found
            if isinstance(ids, list) and ids:
                return frozenset(int(i) for i in ids)
        eos = self.special("eos_token")
        return frozenset([eos] if eos is not None else [])

    def chat(self, messages: Sequence[Mapping[str, str]]) -> str:
        """See validation.LanguageModel.chat."""
        if not messages or not all(isinstance(m.get("role"), str) for m in messages):
            raise RecipeError(f"messages are not a list of {{role, content}} but {messages!r:.80}")
        try:
            return self.template.render(messages, add_generation_prompt=True)
        except TemplateRefusedError as error:
            raise RecipeError(f"{self.path}: its chat template refused {messages!r:.80}: {error}") from error

    @cached_property
    def template(self) -> ChatTemplate:
        """The model's own.

        Raises:
            RecipeError: it has none.
        """
        source = self.template_source
        if not source:
            raise RecipeError(f"{self.path}: the model has no chat template; give prompts in place of messages")
        texts = (self._special_text("bos_token"), self._special_text("eos_token"))
        return ChatTemplate(source, *texts)

    @cached_property
    def template_source(self) -> str | None:
        """The chat template's text, if there is one."""
        file = self.path / TEMPLATE
        if file.is_file():
            return file.read_text(encoding="utf-8")
        found = self._config.get("chat_template")
        if isinstance(found, list):  # of several by name
            named = {entry.get("name"): entry.get("template") for entry in found if isinstance(entry, dict)}
            found = named.get("default")
        return found if isinstance(found, str) else None

    def blank(self) -> int:
        """What stands for an empty context: the beginning- or else the end-of-text token.

        Raises:
            RecipeError: the tokenizer has neither.
        """
        for name in ("bos_token", "eos_token"):
            if (found := self.special(name)) is not None:
                return found
        raise RecipeError(
            f"{self.path}: the tokenizer has neither a beginning- nor an end-of-text token to stand for an empty "
            "prompt; give a prompt"
        )

    @property
    def trained_context(self) -> int | None:
        """Tokens that the model was trained for, by config.json or tokenizer_config.json, if one says."""
        found = self._json("config.json").get("max_position_embeddings", self._config.get("model_max_length"))
        return found if isinstance(found, int) and found < UNTOLD else None

    def special_id(self, text: str) -> int | None:
        """Id of a special token that is spelled so; None if there is none."""
        token = self.tokenizer.token_to_id(text) if text else None
        found = None if token is None else self.tokenizer.get_added_tokens_decoder().get(token)
        return token if found is not None and found.special else None

    def special(self, name: str) -> int | None:
        """Id of `bos_token`, `eos_token`, ...; None if there is none."""
        text = self._special_text(name)
        return self.tokenizer.token_to_id(text) if text else None

    def _special_text(self, name: str) -> str:
        found = self._config.get(name)
        found = found.get("content") if isinstance(found, dict) else found
        return found if isinstance(found, str) else ""

    @cached_property
    def _config(self) -> dict[str, Any]:
        return self._json(CONFIG)

    def _json(self, name: str) -> dict[str, Any]:
        file = self.path / name
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise ModelFileError(f"{file}: cannot be read as JSON: {error}") from error
        return found if isinstance(found, dict) else {}


@lru_cache(1)
def _tokenizer(file: Path, changed_ns: int) -> Tokenizer:
    """Models that are judged one after the other have the same one."""
    from tokenizers import Tokenizer

    try:
        found = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises Exception itself
        reason = printable(str(error).strip(), 160)
        raise ModelFileError(f"{file}: the tokenizers library cannot read it: {reason}") from error
    found.no_truncation()
    found.no_padding()
    return found
