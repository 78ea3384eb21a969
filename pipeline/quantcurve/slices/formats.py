"""Public formats: rows of well-known sets, as their authors or the hub have them, made into items.

Prompts are those of lm-evaluation-harness, zero-shot, where it has the task; each converter says what its prompt is.
How long an answer may be is left to the slice.
"""

from __future__ import annotations

from typing import NamedTuple

from pydantic import ValidationError

from quantcurve.errors import RecipeError, printable
from quantcurve.slices.errors import explained, near
from quantcurve.slices.formats_rows import Row
from quantcurve.slices.items import Item, Kind
from quantcurve.text_files import Record

VERSION = 1
"""Part of store keys: bump it where a format's items change."""


class Format(NamedTuple):
    """A public format."""

    name: str
    kind: Kind
    """Of its items."""
    columns: str
    """That its rows have, one way or the other."""


FORMATS = (
    Format("gsm8k", "number", "question, answer"),
    Format("mgsm", "number", "lang, question, answer or answer_number"),
    Format("humaneval", "code", "prompt, test, entry_point"),
    Format("mbpp", "code", "prompt, test, entry_point (MBXP); or text, test_list"),
    Format("mmlu", "choice", "question, A, B, C, D, answer; or question, choices, answer"),
    Format("arc", "choice", "question, choices, answerKey; or instruction, answer"),
    Format("truthfulqa", "choice", "question, mc1_targets"),
    Format("bfcl", "tool_call", "id, question, function, ground_truth"),
    Format("ifeval", "instructions", "prompt, instruction_id_list, kwargs"),
    Format("xstest", "refusal", "prompt, label, type"),
    Format("kv_retrieval", "retrieval", "ordered_kv_records, key, value"),
    Format("xquad", "text", "lang, context, question, answers"),
)
NAMES = tuple(one.name for one in FORMATS)


def kind_of(name: str, where: str) -> Kind:
    """Kind of a format's items.

    Args:
        name: of the format.
        where: what names it, for messages.

    Raises:
        RecipeError: there is no such format.
    """
    for one in FORMATS:
        if one.name == name:
            return one.kind
    similar = near(name, NAMES)
    step = f"did you mean {similar}?" if similar else f"write one of {', '.join(NAMES)}"
    raise RecipeError(f"{where}: format: there is none of this name (got {printable(name, 80)!r}); {step}")


def item(name: str, record: Record, seed: int) -> Item:
    """A row of a public set as an item.

    Args:
        name: one of NAMES.
        record: its line; the row is an object.
        seed: of the order of choices, where the format shuffles them.

    Raises:
        RecipeError: there is no such format, or the row does not have its columns, or has other values in them.
    """
    kind = kind_of(name, f"{record.path}:{record.number}")
    try:
        return _converted(Row(name, record), seed)
    except ValidationError as error:
        raise explained(record, kind, error) from error


def _converted(row: Row, seed: int) -> Item:
    match row.format:
        case "mmlu" | "arc" | "truthfulqa":
            from quantcurve.slices import formats_choice as choice

            if row.format == "truthfulqa":
                return choice.truthfulqa(row, seed)
            return choice.mmlu(row) if row.format == "mmlu" else choice.arc(row)
        case "humaneval" | "mbpp":
            from quantcurve.slices import formats_code as code

            return code.humaneval(row) if row.format == "humaneval" else code.mbpp(row)
        case "ifeval" | "xstest":
            from quantcurve.slices import formats_chat as chat

            return chat.ifeval(row) if row.format == "ifeval" else chat.xstest(row)
        case "bfcl":
            from quantcurve.slices.formats_tools import bfcl

            return bfcl(row)
        case _:
            return _answered(row)


def _answered(row: Row) -> Item:
    from quantcurve.slices import formats_answers as answers

    match row.format:
        case "gsm8k":
            return answers.gsm8k(row)
        case "mgsm":
            return answers.mgsm(row)
        case "kv_retrieval":
            return answers.kv_retrieval(row)
        case _:
            return answers.xquad(row)
