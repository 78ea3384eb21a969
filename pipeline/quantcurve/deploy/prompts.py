"""The prompts of recorded answers: quantcurve's own, the same for every bundle, short ones and long ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from quantcurve.chat_template import ChatTemplate, TemplateRefusedError
from quantcurve.deploy.bundle import ChatMessage
from quantcurve.engines.base import Tokens
from quantcurve.engines.child import Child
from quantcurve.engines.text_side import TextSide
from quantcurve.errors import RecipeError
from quantcurve.slices.makers import made

NEW_TOKENS = 32
"""Of a recorded answer, at most."""
TAKEN = (("instructions", 6), ("math", 5), ("json", 4), ("code", 3), ("tools", 2), ("retrieval", 4))
"""So many prompts of each slice that quantcurve makes."""
DRAWN_FOR_ONE = 4
"""Items that are looked at for each that is taken: some are too long for the context."""
DATED = "strftime_now"
"""In a template: it writes today's date, which is another one whenever it is asked."""


class Prompt(NamedTuple):
    """A prompt as the measured model gets it."""

    id: str
    messages: tuple[ChatMessage, ...]
    """Empty where a template is not to be asked again."""
    text: str
    ids: Tokens


class Prompts(NamedTuple):
    """Prompts, and what they were written with."""

    asked: list[Prompt]
    template: ChatTemplate | None
    bos: str = ""
    """Text of the token that the vocabulary of a GGUF file puts in front of every text; empty if it does not."""


def of_gguf(path: Path, context_tokens: int, log: Path) -> Prompts:
    """Prompts by a GGUF file's own vocabulary and template.

    Raises:
        ModelFileError: the vocabulary cannot be loaded.
        RecipeError: no prompt fits into the context.
    """
    from quantcurve.engines import llamacpp_files

    with Child(path.name, log) as child:
        facts = child.call(llamacpp_files.chat_facts, path)
        template = ChatTemplate(facts.template, facts.bos_text, facts.eos_text) if facts.template else None
        texts = list(_texts(template))
        ids = child.call(llamacpp_files.tokenize, path, [text for *_, text in texts], True)
    once = [_once(found, facts.bos) for found in ids]
    bos = "" if facts.bos is None else facts.bos_text
    return Prompts(_fitting(texts, once, context_tokens, template), template, bos)


def of_folder(folder: Path, context_tokens: int) -> Prompts:
    """Prompts by the tokenizer and the template beside an IR.

    Raises:
        ModelFileError: there is no tokenizer.
        RecipeError: no prompt fits into the context.
    """
    side = TextSide(folder)
    template = side.template if side.template_source else None
    texts = list(_texts(template))
    ids = [np.array(side.encode(text), np.int32) for *_, text in texts]
    return Prompts(_fitting(texts, ids, context_tokens, template), template)


_Text = tuple[str, str, tuple[ChatMessage, ...], str]
"""Slice, id, messages, text."""


def _texts(template: ChatTemplate | None) -> Iterator[_Text]:
    for name, count in TAKEN:
        for place, item in enumerate(made(name, DRAWN_FOR_ONE * count, 0)):
            said = item.messages or ()
            messages = tuple(ChatMessage(role=m.role, content=m.content) for m in said if m.role != "tool")
            messages = messages or (ChatMessage(role="user", content=item.prompt),)
            if template is None:
                yield name, f"{name}-{place}", (), "\n".join(m.content for m in messages)
                continue
            try:
                text = template.render([m.model_dump() for m in messages], add_generation_prompt=True)
            except TemplateRefusedError:  # of system messages, say
                continue
            yield name, f"{name}-{place}", messages, text


def _fitting(
    texts: Sequence[_Text], ids: Sequence[Tokens], context_tokens: int, template: ChatTemplate | None
) -> list[Prompt]:
    """Those that fit, as many of each slice as are taken."""
    dated = template is not None and DATED in template.source
    left = dict(TAKEN)
    found = []
    for (name, label, messages, text), tokens in zip(texts, ids, strict=True):
        if left[name] and 0 < len(tokens) <= context_tokens - NEW_TOKENS:
            left[name] -= 1
            found.append(Prompt(label, () if dated else messages, text, tokens))
    if not found:
        raise RecipeError(
            f"a context of {context_tokens} tokens holds none of the prompts that a bundle is verified with; give a "
            "longer one with --context"
        )
    return found


def _once(ids: Tokens, bos: int | None) -> Tokens:
    """Without the second of two beginnings of text: one from the template, one from the vocabulary."""
    return ids[1:] if bos is not None and len(ids) > 1 and ids[0] == ids[1] == bos else ids
