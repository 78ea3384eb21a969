"""Types of single tensors: rules that name tensors by a regular expression, and llama-quantize's file of them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Sequence
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from quantcurve.engines.gguf_types import BY_NAME
from quantcurve.errors import RecipeError
from quantcurve.records import Frozen

TENSOR_TYPES = (
    *("Q1_0", "IQ1_S", "TQ1_0", "IQ1_M", "TQ2_0", "IQ2_XXS", "Q2_0", "IQ2_XS", "IQ2_S", "Q2_K"),
    *("IQ3_XXS", "IQ3_S", "Q3_K", "IQ4_XS", "MXFP4", "Q4_0", "IQ4_NL", "Q4_K", "NVFP4", "Q4_1"),
    *("Q5_0", "Q5_K", "Q5_1", "Q6_K", "Q8_0", "F16", "BF16", "F32"),
)
"""The tensor types that llama.cpp can quantize to, smallest first (ggml/src/ggml.c, `ggml_quantize_chunk`)."""

UNQUANTIZED = ("F16", "BF16", "F32")
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_")


def _known(value: str) -> str:
    if value not in TENSOR_TYPES:
        raise PydanticCustomError("tensor_type", "unknown tensor type", {"candidates": list(TENSOR_TYPES)})
    return value


def regular(value: str) -> str:
    """For a recipe: the value itself if it is a regular expression."""
    try:
        re.compile(value)
    except re.error as error:
        raise PydanticCustomError("pattern", "no regular expression: {reason}", {"reason": str(error)}) from None
    return value


TensorType = Annotated[str, AfterValidator(_known), Field(json_schema_extra={"enum": list(TENSOR_TYPES)})]


class TensorRule(Frozen):
    """Gives the tensors that it matches one type."""

    match: Annotated[str, AfterValidator(regular)] = Field(
        min_length=1, description=r"regular expression for a tensor's whole name, such as blk\.[0-3]\.attn_v\.weight"
    )
    type: TensorType = Field(description="tensor type, such as Q6_K")


def assign(names: Sequence[str], rules: Sequence[TensorRule], kept: Collection[str] = ()) -> dict[str, str]:
    """Type of every tensor that a rule matches, in the order of `names`; the first rule that matches wins.

    Args:
        names: tensors that can be quantized.
        rules: in order.
        kept: tensors whose type llama.cpp never changes; a rule may match them beside others, to no effect.

    Raises:
        RecipeError: a rule matches none of `names`, or earlier rules take all that it matches.
    """
    taken: dict[str, TensorRule] = {}
    for rule in rules:
        pattern = re.compile(rule.match)
        matched = [name for name in names if pattern.fullmatch(name)]
        if not matched:
            raise RecipeError(_unmatched(rule, names, [name for name in kept if pattern.fullmatch(name)]))
        if all(name in taken for name in matched):
            earlier = ", ".join(dict.fromkeys(repr(taken[name].match) for name in matched))
            raise RecipeError(
                f"tensor rule {rule.match!r} ({rule.type}) is never reached: its {len(matched)} tensors ({matched[0]} "
                f"...) all go to earlier rules ({earlier}); the first match wins: move it up or take it out"
            )
        taken |= {name: rule for name in matched if name not in taken}
    return {name: taken[name].type for name in names if name in taken}


def _unmatched(rule: TensorRule, names: Sequence[str], kept: Sequence[str]) -> str:
    what = f"tensor rule {rule.match!r} ({rule.type})"
    if kept:
        more = f" and {len(kept) - 1} more" if len(kept) > 1 else ""
        return (
            f"{what} matches only tensors that llama.cpp never quantizes ({kept[0]}{more}): norms, biases and other "
            "small ones keep their type; take the rule out"
        )
    near = difflib.get_close_matches(rule.match.replace("\\", ""), names, n=3, cutoff=0.4)
    return (
        f"{what} matches none of the model's {len(names)} tensors that can be quantized; it must match a tensor's "
        f"whole name, such as {', '.join(near or names[:3])}"
    )


def exact_pattern(name: str) -> str:
    """Regular expression of one name, for llama.cpp (std::regex, ECMAScript, searched unanchored).

    llama-quantize lower-cases it, cuts it at `=` and at white space (tools/quantize/quantize.cpp, `parse_tensor_type`
    and `parse_tensor_type_file`): such characters are written as their code.
    """
    letters = (chr(byte) for byte in name.encode())
    return "^" + "".join(c if c in _PLAIN else r"\." if c == "." else f"\\x{ord(c):02x}" for c in letters) + "$"


def tensor_type_file(types: Iterable[tuple[str, str]]) -> str:
    """Text for `llama-quantize --tensor-type-file`: one line for each tensor.

    Args:
        types: name and tensor type, as `llamacpp_quantize.Quantized.overrides` has them.
    """
    return "".join(f"{exact_pattern(name)}={kind.lower()}\n" for name, kind in types)


def overridable(file_type: str) -> str:
    """The file type to quantize to where every tensor's type is given: llama.cpp ignores given types in F16, BF16 and
    F32 files (src/llama-quant.cpp, `llama_tensor_get_type`), so Q8_0 stands in for them."""
    return "Q8_0" if file_type in UNQUANTIZED else file_type


def llama_quantize_options(file_type: str) -> tuple[str, ...]:
    """What llama-quantize needs beside `--tensor-type-file` and the type `overridable(file_type)`, so that the file
    says the same file type as quantcurve's."""
    if overridable(file_type) == file_type:
        return ()
    return ("--override-kv", f"general.file_type=int:{BY_NAME[file_type].ftype}")
