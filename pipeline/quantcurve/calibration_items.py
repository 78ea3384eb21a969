"""Items of calibration sources: chats and plain texts, before a model is known."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from quantcurve import text_files
from quantcurve.calibration import EMBEDDED, Calibration, CalibrationSource, Mix, load_mix, mix_path, without_sources
from quantcurve.errors import RecipeError, printable
from quantcurve.recipe import LoadedRecipe, at
from quantcurve.recipe_text import Text
from quantcurve.text_files import Record
from quantcurve.texts import LoadedText, embedded_items, load_text, python_topics

NOT_SAID = "not said"
"""Language of items that do not name it."""
PIECE_CHARACTERS = 8000
"""Plain text is cut into items of about so many characters, at blank lines where it can be: some 2,000 tokens."""
MOST_ITEMS = 20_000
"""Of one source: of more, so many are sampled before anything else is done with them."""


class Item(NamedTuple):
    """One calibration text."""

    messages: tuple[dict[str, Any], ...]
    """Of a chat; empty for plain text."""
    text: str
    """Plain text; empty for a chat."""
    tools: tuple[Any, ...] = ()
    """Functions that the chat may call, for the template."""
    language: str = NOT_SAID

    def content(self, boilerplate: frozenset[str] = frozenset()) -> str:
        """All that is said, without the system messages in `boilerplate`, unless nothing else is said."""
        said = [str(m.get("content") or "") for m in self.messages if not is_boilerplate(m, boilerplate)]
        calls = [m["tool_calls"] for m in self.messages if m.get("tool_calls")]
        parts = [self.text, *said, *(json.dumps(c, ensure_ascii=False, default=str) for c in calls)]
        return "\n\n".join(part for part in parts if part).strip() or self.content_whole()

    def content_whole(self) -> str:
        """All that is said, system messages too."""
        return self.text or "\n\n".join(str(m.get("content") or "") for m in self.messages)

    @property
    def uses_tools(self) -> bool:
        """Whether a tool is called or answers."""
        return any(m["role"] in {"tool", "function"} or m.get("tool_calls") for m in self.messages)


class ItemSource(NamedTuple):
    """One source with its items."""

    name: str
    stratum: str
    share: float
    items: tuple[Item, ...]
    records: int
    """How many there were before MOST_ITEMS were sampled."""

    def content_hash(self) -> str:
        """SHA-256 of all items."""
        lines = json.dumps([item._asdict() for item in self.items], sort_keys=True, ensure_ascii=True, default=str)
        return hashlib.sha256(lines.encode()).hexdigest()


class Offered(NamedTuple):
    """Everything a calibration set may be drawn from, and what it must be disjoint from."""

    mix_name: str
    mix: Mix
    spread: tuple[str, ...]
    """Strata without sources: their weight goes to the others."""
    sources: tuple[ItemSource, ...]
    held_out: tuple[LoadedText, ...]


def load_offered(loaded: LoadedRecipe, settings: Calibration, evaluation: Sequence[LoadedText]) -> Offered:
    """Read the mix and all its sources.

    Args:
        loaded: the recipe, for its folder and the places of mistakes.
        settings: its key `calibration`.
        evaluation: its evaluation texts; the embedded held-out parts are kept apart beside them.

    Raises:
        RecipeError: the mix or a source is wrong.
        PrerequisiteError: a package or the hub is missing.
    """
    base = loaded.path.parent
    with at(loaded, "calibration", "mix"):
        path = mix_path(settings.mix, base)
        mix = load_mix(path)
        sources = _mix_sources(mix, path.parent, loaded.recipe.seed)
    for index, entry in enumerate(settings.sources):
        _check_stratum(loaded, index, entry, mix, path.stem)
        with at(loaded, "calibration", "sources", index, "source"):
            sources.append(_load(entry, base, loaded.recipe.seed))
    if not sources:
        with at(loaded, "calibration", "mix"):
            raise RecipeError(f"the mix {path.stem} names no texts and calibration.sources gives none; add some")
    spread = without_sources(mix, settings.sources)
    return Offered(path.stem, mix, spread, tuple(sources), (*evaluation, *_embedded_held_out()))


def boilerplate_of(items: Sequence[Item]) -> frozenset[str]:
    """System messages that more than one item has: sharing one makes items neither duplicates nor leaks."""
    counts = Counter(m for item in items for m in {_system(m) for m in item.messages} if m)
    return frozenset(message for message, count in counts.items() if count > 1)


def is_boilerplate(message: dict[str, Any], boilerplate: frozenset[str]) -> bool:
    """Whether a message is one of these system messages."""
    return _system(message) in boilerplate


def _system(message: dict[str, Any]) -> str | None:
    return str(message.get("content") or "") if message["role"] in {"system", "developer"} else None


def _check_stratum(loaded: LoadedRecipe, index: int, entry: CalibrationSource, mix: Mix, name: str) -> None:
    names = [s.name for s in mix.strata]
    if entry.stratum not in names:
        with at(loaded, "calibration", "sources", index, "stratum"):
            raise RecipeError(
                f"the mix {name} has no stratum {entry.stratum!r} (it has {', '.join(names)}); "
                "name one of them, or give a mix of your own"
            )


def _mix_sources(mix: Mix, base: Path, seed: int) -> list[ItemSource]:
    found = []
    for stratum in mix.strata:
        for number, source in enumerate(stratum.sources, 1):
            entry = CalibrationSource(
                name=f"{stratum.name}-{number}", stratum=stratum.name, **source.model_dump(exclude_unset=True)
            )
            found.append(_load(entry, base, seed))
    return found


def _embedded_held_out() -> tuple[LoadedText, ...]:
    return tuple(load_text(Text(name=s, source=f"embedded:{s}"), Path()) for s in EMBEDDED)


def _load(entry: CalibrationSource, base: Path, seed: int) -> ItemSource:
    items = tuple(item for item in _items(entry, base) if item.content_whole().strip() or item.uses_tools)
    if not items:
        raise RecipeError(f"calibration source {entry.name}: {entry.source} has no texts; give some, or leave it out")
    if bad := next((item for item in items if not _is_utf8(item)), None):
        raise RecipeError(
            f"calibration source {entry.name}: {entry.source} has half a surrogate pair in "
            f"{bad.content_whole()[:60]!a}; remove it"
        )
    kept = items
    if len(items) > MOST_ITEMS:
        chosen = np.random.default_rng(seed).choice(len(items), MOST_ITEMS, replace=False)
        kept = tuple(items[i] for i in np.sort(chosen))
    return ItemSource(entry.name, entry.stratum, entry.share, kept, len(items))


def _is_utf8(item: Item) -> bool:
    try:
        json.dumps([item.text, item.messages, item.tools], ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError:
        return False
    return True


def _items(entry: CalibrationSource, base: Path) -> Iterator[Item]:
    text = Text(name=entry.name, source=entry.source, field=entry.field)
    scheme, _, rest = entry.source.partition(":")
    if scheme == "embedded":
        for row in embedded_items(entry.name, rest):
            yield Item(tuple(row["messages"]), "", language=row["language"])
        return
    read = python_topics(entry.name, rest) if scheme == "pydoc" else text_files.read(text, base)
    if isinstance(read, str):
        yield from (Item((), piece) for piece in pieces(read))
        return
    for record in read:
        yield _item(text, record)


def _item(text: Text, record: Record) -> Item:
    row = record.row if isinstance(record.row, dict) else {}
    if not text.field and "messages" in row:
        text = text.model_copy(update={"field": "messages"})
    if not text.field:
        raise RecipeError(text_files.without_field(text, [record]))
    value = text_files.value_at(text, record)
    language = row.get("language")
    language = printable(language, 20) if isinstance(language, str) and language else NOT_SAID
    if isinstance(value, list):
        tools = row.get("tools")
        return Item(_messages(text, record, value), "", tuple(tools) if isinstance(tools, list) else (), language)
    return Item((), text_files.text_at(text, record), language=language)


def _messages(text: Text, record: Record, value: list[Any]) -> tuple[dict[str, Any], ...]:
    for message in value:
        if not _is_message(message):
            raise RecipeError(
                f"text {text.name}: {record.path}:{record.number}: field {text.field!r} has a message that is not "
                f"{{role: TEXT, content: TEXT}} but {message!r:.80}"
            )
    if not value:
        raise RecipeError(f"text {text.name}: {record.path}:{record.number}: field {text.field!r} has no messages")
    return tuple(value)


def _is_message(value: Any) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("role"), str):
        return False
    content, calls = value.get("content"), value.get("tool_calls") or []
    if not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
        return False
    return isinstance(content, str) or (content is None and bool(calls))


def pieces(text: str) -> list[str]:
    """Plain text in items of PIECE_CHARACTERS or less, cut between paragraphs where one is not longer than that."""
    found: list[str] = []
    for paragraph in text.split("\n\n"):
        part = paragraph + "\n\n"
        if found and len(found[-1]) + len(part) <= PIECE_CHARACTERS:
            found[-1] += part
        else:
            found += [part[i : i + PIECE_CHARACTERS] for i in range(0, len(part), PIECE_CHARACTERS)]
    return [piece for piece in found if piece.strip()]
