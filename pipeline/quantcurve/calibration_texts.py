"""Calibration items as the model's tokenizer has them: chats by its own template, plain text as it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from quantcurve.calibration_items import Item
from quantcurve.chat_template import ChatTemplate, TemplateRefusedError, adapt
from quantcurve.engines.base import Tokens
from quantcurve.engines.child import Child

if TYPE_CHECKING:
    from quantcurve.engines.llamacpp_files import ChatFacts

TemplateKind = Literal["model", "none", "unusable"]


class Written(NamedTuple):
    """Items as text, by their place among all items; none for one that the template refuses."""

    chats: dict[int, str]
    """By the template: control tokens are written out."""
    plain: dict[int, str]
    kind: TemplateKind
    adapted: int = 0
    """Chats that the template took only as chat_template.adapt writes them."""
    left_out: int = 0
    """Chats of which the template does not write every message."""
    refusal: str = ""
    """The template's last reason to refuse a chat, or why it cannot be used."""


class ItemTokens(NamedTuple):
    """Items as token ids."""

    tokens: dict[int, Tokens]
    """By their place among all items; none for one that the template refuses. BOS comes first where the vocabulary
    asks for it, once."""
    facts: ChatFacts
    written: Written


def tokenize_items(items: Sequence[Item], kept: Sequence[int], model: Path, child: Child) -> ItemTokens:
    """Write and tokenise items.

    Args:
        items: all of them.
        kept: places of those that are wanted.
        model: GGUF file, whose vocabulary and template serve.
        child: process to read it in.

    Raises:
        ModelFileError: the vocabulary cannot be loaded.
    """
    from quantcurve.engines import llamacpp_files

    facts = child.call(llamacpp_files.chat_facts, model)
    written = write(items, kept, facts.template, facts.bos_text, facts.eos_text)
    tokens: dict[int, Tokens] = {}
    for texts, parse_special in ((written.chats, True), (written.plain, False)):
        if texts:
            ids = child.call(llamacpp_files.tokenize, model, list(texts.values()), parse_special)
            tokens |= {i: _one_bos(t, facts.bos) for i, t in zip(texts, ids, strict=True)}
    return ItemTokens({i: t for i, t in tokens.items() if len(t)}, facts, written)


def write(items: Sequence[Item], kept: Sequence[int], source: str | None, bos: str, eos: str) -> Written:
    """Items as text; chats are plain text if there is no template, or one that is no template or refuses every chat.

    Args:
        items: all of them.
        kept: places of those that are wanted.
        source: the model's chat template, if it has one.
        bos: text of its BOS token.
        eos: text of its EOS token.
    """
    chats = {i: items[i] for i in kept if items[i].messages}
    plain = {i: items[i].text for i in kept if not items[i].messages}
    try:
        template = ChatTemplate(source, bos, eos) if source else None
    except TemplateRefusedError as error:
        return Written({}, plain | _without_template(chats), "unusable", refusal=str(error))
    if template is None:
        return Written({}, plain | _without_template(chats), "none")
    texts, adapted, left_out, refusal = {}, 0, 0, ""
    for i, item in chats.items():
        try:
            rendered = template.render_any(item.messages, item.tools or None)
        except TemplateRefusedError as error:
            refusal = str(error)
            continue
        texts[i] = rendered.text
        adapted, left_out = adapted + bool(rendered.refusal), left_out + bool(rendered.left_out)
        refusal = rendered.refusal or refusal
    if chats and not texts:
        return Written({}, plain | _without_template(chats), "unusable", refusal=refusal)
    return Written(texts, plain, "model", adapted, left_out, refusal)


def _without_template(chats: dict[int, Item]) -> dict[int, str]:
    return {i: "\n\n".join(m["content"] for m in adapt(item.messages)) + "\n" for i, item in chats.items()}


def _one_bos(tokens: Tokens, bos: int | None) -> Tokens:
    """Without the BOS token that the tokenizer put before the template's own."""
    return tokens[1:] if bos is not None and len(tokens) > 1 and tokens[0] == tokens[1] == bos else tokens
