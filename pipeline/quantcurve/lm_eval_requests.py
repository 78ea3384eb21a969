"""What lm-evaluation-harness asks of an answer, as our engines take it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from lm_eval.api.instance import Instance
from lm_eval.models.utils import normalize_gen_kwargs

from quantcurve.errors import RecipeError

NEUTRAL: Mapping[str, tuple[object, ...]] = {
    "top_k": (0, -1, None),
    "repetition_penalty": (1, None),
    "num_beams": (1, None),
    "min_p": (0, None),
    "typical_p": (1, None),
}
"""Settings of other backends, and the values that change nothing."""


class Wanted(NamedTuple):
    """What a task asks of an answer."""

    stops: list[str]
    max_tokens: int
    temperature: float
    top_p: float


def wanted(given: dict[str, Any], longest: int) -> Wanted:
    """Of a task's generation_kwargs; `longest` where they give no limit.

    Raises:
        RecipeError: a setting that is not supported.
    """
    kwargs = dict(normalize_gen_kwargs(given, longest))
    stops = [stop for stop in kwargs.pop("until") if isinstance(stop, str)]
    max_tokens, sampled = kwargs.pop("max_gen_toks"), kwargs.pop("do_sample", False)
    temperature, top_p = float(kwargs.pop("temperature", 0) or 0), float(kwargs.pop("top_p", 1) or 1)
    unknown = {name: value for name, value in kwargs.items() if value not in NEUTRAL.get(name, ())}
    if unknown:
        names = ", ".join(f"{name}={value!r}" for name, value in unknown.items())
        raise RecipeError(
            f"generation settings {names} are not supported; those that are: until, max_gen_toks, "
            "do_sample, temperature, top_p"
        )
    if sampled and not temperature:
        raise RecipeError("do_sample without a temperature; give one above 0")
    return Wanted(stops, max_tokens, temperature if sampled else 0.0, top_p)


def repeats(requests: Sequence[Instance]) -> list[int]:
    """How many times the same request stood there before: lm-eval repeats the object itself."""
    seen: dict[int, int] = {}
    counted = []
    for request in requests:
        counted.append(seen.get(id(request), 0))
        seen[id(request)] = counted[-1] + 1
    return counted


def left_open(rendered: str, last: str) -> str:
    """Up to the end of the last message (transformers, utils/chat_template_utils.py, continue_final_message)."""
    if (place := rendered.rfind(last.strip())) < 0:
        raise RecipeError(f"the chat template does not write the last message, {last!r:.80}, as it is")
    whole = rendered[place : place + len(last.lstrip())]
    return rendered[: place + len(whole if whole == last else last.strip())]
