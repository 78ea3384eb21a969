"""Chats as the model's own template writes them: tokenizer.chat_template of the GGUF file, a Jinja program.

The environment is that of transformers (utils/chat_template_utils.py, _compile_jinja_template): sandboxed, immutable,
`trim_blocks`, `lstrip_blocks`, loop controls, `raise_exception`, `strftime_now`, and a `tojson` that escapes nothing.
The one difference is the date: `strftime_now` gives the same day always, so that the same recipe gives the same tokens.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from jinja2 import TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.nodes import Node
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from quantcurve.errors import printable

DAY = datetime(2024, 7, 26)
"""What templates that write today's date get: the day that Llama 3's templates name where they have no clock."""

Message = Mapping[str, Any]
"""`role`, `content`, and what else a template reads (tool_calls, name)."""


class TemplateRefusedError(Exception):
    """The template cannot be read, or raised an exception over a chat; the text is the reason."""


class Rendered(NamedTuple):
    """A chat as the model sees it."""

    text: str
    refusal: str
    """Why the template refused the chat as it is, and took it only after `adapt`; empty if it did not."""
    left_out: int
    """Messages whose text the template does not write."""


class _Generation(Extension):
    """`{% generation %}`: marks what the assistant said; the text is the same."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> list[Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class ChatTemplate:
    """A compiled template."""

    def __init__(self, source: str, bos: str, eos: str, day: datetime = DAY) -> None:
        """Compile a template.

        Args:
            source: Jinja text.
            bos: text of the token that texts start with, the template's `bos_token`.
            eos: the same for `eos_token`.
            day: what `strftime_now` calls now.

        Raises:
            TemplateRefusedError: it is no Jinja template.
        """
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
        )
        environment.filters["tojson"] = _tojson
        environment.globals["raise_exception"] = _raise
        environment.globals["strftime_now"] = day.strftime
        self.source, self.bos, self.eos = source, bos, eos
        try:
            self._template = environment.from_string(source)
        except (TemplateError, RecursionError) as error:
            raise TemplateRefusedError(_reason(error)) from error

    def render(
        self, messages: Sequence[Message], tools: Sequence[Any] | None = None, add_generation_prompt: bool = False
    ) -> str:
        """What transformers' apply_chat_template gives for the same messages and tools.

        Raises:
            TemplateRefusedError: the template raised an exception.
        """
        try:
            return self._template.render(
                messages=[dict(m) for m in messages],
                tools=None if tools is None else list(tools),
                documents=None,
                add_generation_prompt=add_generation_prompt,
                bos_token=self.bos,
                eos_token=self.eos,
            )
        except Exception as error:  # a template is a program: it may raise anything
            raise TemplateRefusedError(_reason(error)) from error

    def render_any(self, messages: Sequence[Message], tools: Sequence[Any] | None = None) -> Rendered:
        """A chat as it is, or as `adapt` writes it where the template refuses it so; a chat that does not end with the
        assistant ends with the prompt to answer.

        Raises:
            TemplateRefusedError: it refuses both.
        """
        prompt = messages[-1]["role"] != "assistant"
        refusal = ""
        try:
            text = self.render(messages, tools, prompt)
        except TemplateRefusedError as error:
            messages, refusal = adapt(messages), str(error)
            text = self.render(messages, (), prompt)
        contents = [m["content"].strip() for m in messages if isinstance(m.get("content"), str)]
        # Some templates write the answers of tools as JSON.
        lost = sum(c not in text and _tojson(c)[1:-1] not in text for c in contents)
        return Rendered(text, refusal, lost)


def adapt(messages: Sequence[Message]) -> list[dict[str, str]]:
    """A chat with the roles that every template takes, `user` and `assistant` in turn.

    The system message stands before the user's first, answers of tools are the user's, calls of tools are JSON in the
    assistant's text, and neighbours of one role are one message. What the model reads keeps its order.
    """
    adapted: list[dict[str, str]] = []
    for message in messages:
        role = "assistant" if message["role"] == "assistant" else "user"
        calls = [_json(call.get("function", call)) for call in message.get("tool_calls") or ()]
        content = "\n".join(part for part in (message.get("content") or "", *calls) if part)
        if adapted and adapted[-1]["role"] == role:
            adapted[-1]["content"] += "\n\n" + content
        else:
            adapted.append({"role": role, "content": content})
    return adapted


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _tojson(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise(message: str) -> None:
    raise TemplateError(message)


def _reason(error: Exception) -> str:
    return printable(str(error).strip().partition("\n")[0], 160) or type(error).__name__
