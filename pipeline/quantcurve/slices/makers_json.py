"""The slice of JSON: fields of a short text, extracted by a schema that stands in the prompt."""

from __future__ import annotations

import json
from random import Random
from typing import NamedTuple

from quantcurve.slices.items import JsonItem, Message
from quantcurve.slices.makers_json_texts import FORMS, Form
from quantcurve.slices.makers_parts import Part, combination, combinations

TASK = (
    "Extract the data from the text below as one JSON object that fits this JSON Schema. Copy names and words as they "
    "stand in the text. Answer with the JSON object only.\n\nSchema:\n{}\n\nText:\n{}"
)


def parts() -> list[Part]:
    """A part for each form of text."""
    return [Part(form.name, combinations(form.over), _Extracted(form)) for form in FORMS]


class _Extracted(NamedTuple):
    form: Form

    def __call__(self, index: int, chance: Random) -> JsonItem:
        del chance
        text, expected = self.form.make(*combination(index, self.form.over))
        task = TASK.format(json.dumps(self.form.schema, ensure_ascii=False), text)
        return JsonItem(
            messages=(Message(role="user", content=task),),
            schema=self.form.schema,
            expected=expected,
            group=self.form.name,
        )
