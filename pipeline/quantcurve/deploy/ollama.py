"""An Ollama Modelfile. Ollama writes chats by templates of Go, and models have templates of Jinja.

What a template writes around each message is found by asking it for chats, and proved by composing others: where they
come out the same, the form goes into the Modelfile; where they do not, Ollama is left to guess, and the file says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import NamedTuple

from quantcurve.chat_template import ChatTemplate, TemplateRefusedError
from quantcurve.deploy.bundle import LlamaCppSettings

SYSTEM, FIRST, ANSWER, SECOND = "Xsystemx", "Xfirstx", "Xanswerx", "Xsecondx"
"""Contents that no template writes by itself."""
CACHE_TYPES = frozenset({"f16", "q8_0", "q4_0"})
"""That Ollama takes (OLLAMA_KV_CACHE_TYPE)."""
UNSAFE = ("{{", "}}", '"""')
"""What means something in Go templates or in Modelfiles."""


class Around(NamedTuple):
    """What stands before and after a message."""

    before: str
    after: str

    def __call__(self, content: str) -> str:
        """With a message."""
        return f"{self.before}{content}{self.after}"


class ChatForm(NamedTuple):
    """How a chat is written."""

    start: str
    default_system: str
    """Of chats without a system message."""
    system: Around
    user: Around
    assistant: Around
    generation: str
    """Behind the last message, for the answer."""

    def compose(self, chat: Sequence[tuple[str, str]]) -> str:
        """A chat of (role, content), up to where the answer begins."""
        default = "" if any(role == "system" for role, _ in chat) else self.default_system
        parts = {"system": self.system, "user": self.user, "assistant": self.assistant}
        return self.start + default + "".join(parts[role](content) for role, content in chat) + self.generation


CHATS: tuple[tuple[tuple[str, str], ...], ...] = (
    (("user", "one"),),
    (("system", "be brief"), ("user", "one")),
    (("user", "one"), ("assistant", "two"), ("user", "three")),
    (("system", "s"), ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"), ("user", "e")),
)
"""That a form is proved on."""


def form_of(template: ChatTemplate, bos: str) -> ChatForm | None:
    """The form of a template; None if it has none of this kind.

    Args:
        template: of chats.
        bos: text of the token that the vocabulary puts in front of every text; empty if it does not.
    """
    try:
        found = _form(template, bos)
        for form in _nicer(found):
            if all(form.compose(chat) == _render(template, chat) for chat in CHATS):
                return form
    except (TemplateRefusedError, ValueError):
        return None
    return None


def modelfile(settings: LlamaCppSettings, template: ChatTemplate | None, bos: str, license_text: str) -> str:
    """The text of a Modelfile.

    Args:
        settings: as measured.
        template: of chats, if there is one.
        bos: text of the token that the vocabulary puts in front of every text, which Ollama does too; empty if it does
            not.
        license_text: name or text of the licence; empty if it is not known.
    """
    form = form_of(template, bos) if template else None
    written = _go(form, bos) if form else None
    eos = template.eos if template else ""
    lines = [
        "# Written by quantcurve from what was measured; not verified: Ollama was not run.",
        f"#   ollama create {settings.alias.lower()} -f Modelfile",
        *_cache_notes(settings),
        f"FROM ./{settings.model}",
        f"PARAMETER num_ctx {settings.context_tokens}",
        f"PARAMETER num_batch {settings.batch_tokens}",
        f"PARAMETER num_thread {settings.threads}",
        *([f'PARAMETER stop "{eos}"'] if eos and '"' not in eos else []),
        *([f'TEMPLATE """{written}"""'] if written else [_no_template(template)]),
        *([f'LICENSE """{license_text}"""'] if license_text and '"""' not in license_text else []),
    ]
    return "\n".join(lines) + "\n"


def _cache_notes(settings: LlamaCppSettings) -> list[str]:
    """Ollama takes the KV cache's type from its environment, one for K and V."""
    flash = f"OLLAMA_FLASH_ATTENTION={int(settings.flash_attention)}"
    if settings.k_type == settings.v_type and settings.k_type in CACHE_TYPES:
        return [f"# Start Ollama with: {flash} OLLAMA_KV_CACHE_TYPE={settings.k_type} ollama serve"]
    return [
        f"# The KV cache was measured with K in {settings.k_type} and V in {settings.v_type}, which Ollama cannot do;",
        f"# its answers are not those that were measured. Start it with: {flash} ollama serve",
    ]


def _no_template(template: ChatTemplate | None) -> str:
    if template is None:
        return "# The model has no chat template."
    return "# The model's chat template has no equal here: Ollama guesses one, and its answers may be others."


def _go(form: ChatForm, bos: str) -> str | None:
    """The form as a Go template over .Messages, None where a text of it means something else there."""
    start = form.start.removeprefix(bos) if bos else form.start
    texts = [start, form.default_system, form.generation, *form.system, *form.user, *form.assistant]
    if any(mark in text for text in texts for mark in UNSAFE):
        return None
    default = f"{{{{ if not .System }}}}{form.default_system}{{{{ end }}}}" if form.default_system else ""
    roles = (("system", form.system), ("user", form.user), ("assistant", form.assistant))
    branches = [f'if eq .Role "{role}" }}}}{part("{{ .Content }}")}' for role, part in roles]
    return (
        f"{start}{default}{{{{ range .Messages }}}}{{{{ {'{{ else '.join(branches)}{{{{ end }}}}{{{{ end }}}}"
        f"{form.generation}"
    )


def _render(template: ChatTemplate, chat: Sequence[tuple[str, str]], prompt: bool = True) -> str:
    return template.render([{"role": role, "content": content} for role, content in chat], None, prompt)


def _form(template: ChatTemplate, bos: str) -> ChatForm:
    """By what stands between the messages of four chats.

    Raises:
        TemplateRefusedError: the template refuses one of them.
        ValueError: a message is not written as it is.
    """
    plain = _render(template, [("user", FIRST)], False)
    asking = _render(template, [("user", FIRST)])
    talk = _render(template, [("user", FIRST), ("assistant", ANSWER), ("user", SECOND)], False)
    ruled = _render(template, [("system", SYSTEM), ("user", FIRST)], False)
    head, first_end, turn, end = _between(talk, FIRST, ANSWER, SECOND)
    rule_head, rule_end, _ = _between(ruled, SYSTEM, FIRST)
    if not asking.startswith(plain) or not first_end.startswith(end):
        raise ValueError("no form of this kind")
    bos = bos if head.startswith(bos) and rule_head.startswith(bos) else ""
    head, rule_head = head.removeprefix(bos), rule_head.removeprefix(bos)
    before_user = _common([text[::-1] for text in (head, turn, rule_end)])[::-1]
    opening = head[: len(head) - len(before_user)]
    always = opening if rule_head.startswith(opening) else ""  # else it is a default system message
    return ChatForm(
        start=bos + always,
        default_system=opening.removeprefix(always),
        system=Around(rule_head.removeprefix(always), rule_end[: len(rule_end) - len(before_user)]),
        user=Around(before_user, end),
        assistant=Around(first_end[len(end) :], turn[: len(turn) - len(before_user)]),
        generation=asking[len(plain) :],
    )


def _common(texts: Sequence[str]) -> str:
    """What all texts begin with."""
    return "".join(letters[0] for letters in takewhile(lambda each: len(set(each)) == 1, zip(*texts, strict=False)))


def _between(text: str, *marks: str) -> list[str]:
    parts = []
    for mark in marks:
        before, found, text = text.partition(mark)
        if not found:
            raise ValueError(f"{mark} is not written as it is")
        parts.append(before)
    return [*parts, text]


def _nicer(form: ChatForm) -> list[ChatForm]:
    """First with the end of a message where it belongs, if all messages end alike; it was taken for the beginning of
    the next one."""
    end, before = form.user.after, form.user.before
    if not end or not before.startswith(end):
        return [form]
    moved = form._replace(
        default_system=form.default_system + end if form.default_system else "",
        system=Around(form.system.before, form.system.after + end),
        user=Around(before.removeprefix(end), end),
        assistant=Around(form.assistant.before, form.assistant.after + end),
    )
    return [moved, form]
