"""Items of a check: lines of a file as the user's function gets them, whatever fields they have.

The function has the signature of validation functions (validation.py). It asks a model what it likes, so that
quantcurve cannot compare the prompts of two models, as it does for other slices; tokenizer, template, end tokens and
batches are the same for all models.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from quantcurve.errors import RecipeError
from quantcurve.slices.errors import mistake
from quantcurve.slices.files import lines, of_mistakes, require_enough, row
from quantcurve.slices.items import CheckItem
from quantcurve.slices.records import SliceSample
from quantcurve.text_files import Record


def read(path: Path) -> tuple[CheckItem, ...]:
    """Items of a JSONL file, one a line, in the file's order; blank lines are skipped.

    Raises:
        RecipeError: the file cannot be read, a line is no JSON object or is there twice, or there are too few; one line
            of text for each mistake.
    """
    found, mistakes, first = list[CheckItem](), list[str](), dict[str, int]()
    for number, line in lines(path):
        record = Record(path, number, line)
        try:
            item = CheckItem(number=number, source=path.name, record=row(record))
            before = first.setdefault(record_hash(item), number)
            if before != number:
                raise mistake(record, None, f"line {before} is the same", "remove one of the two", line)
            found.append(item)
        except RecipeError as error:
            mistakes.append(str(error))
    if mistakes:
        raise of_mistakes(mistakes)
    require_enough(path, [item.number for item in found], len(found))
    return tuple(found)


def record_hash(item: CheckItem) -> str:
    """SHA-256 of an item's record, whatever the order of its fields."""
    return hashlib.sha256(json.dumps(item.record, sort_keys=True).encode()).hexdigest()


def sample(name: str, item: CheckItem, value: float) -> SliceSample:
    """What a check says of an item.

    Args:
        name: of the slice.
        item: of the file.
        value: the function's.
    """
    return SliceSample(
        slice=name,
        item=str(item.number),
        kind="check",
        language=_text(item, "language"),
        group=_text(item, "group"),
        prompt_tokens=None,
        prompt_hash=record_hash(item),
        value=value,
    )


def items_hash(items: Sequence[CheckItem]) -> str:
    """SHA-256 of items in their order."""
    total = hashlib.sha256()
    for item in items:
        total.update(f"{item.number} {item.source} {json.dumps(item.record)}\n".encode())
    return total.hexdigest()


def _text(item: CheckItem, field: str) -> str:
    """A field of the record by which parts of the slice are told apart, if it is a text."""
    found = item.record.get(field)
    return found if isinstance(found, str) else ""
