"""The file types that `llama_model_quantize` of the pinned llama.cpp writes, by the names llama-quantize uses.

A file type is a recipe for a whole file: a base tensor type and rules that give some tensors another one
(llama.cpp: src/llama-quant.cpp, `llama_ftype_get_default_type` and `llama_tensor_get_type_impl`).
`tests/test_gguf_types.py` writes every one of them with the installed build.
"""

from __future__ import annotations

from typing import NamedTuple


class FileType(NamedTuple):
    """One file type of llama.cpp."""

    name: str
    ftype: int
    """Value of `enum llama_ftype` (include/llama.h)."""
    base: str
    """ggml type that most weights get."""
    needs_imatrix: bool = False
    """llama.cpp refuses to write it without an importance matrix (`tensor_requires_imatrix`)."""


FILE_TYPES = (
    FileType("Q1_0", 40, "Q1_0"),
    FileType("IQ1_S", 24, "IQ1_S", True),
    FileType("TQ1_0", 36, "TQ1_0"),
    FileType("IQ1_M", 31, "IQ1_M", True),
    FileType("TQ2_0", 37, "TQ2_0"),
    FileType("IQ2_XXS", 19, "IQ2_XXS", True),
    FileType("Q2_0", 41, "Q2_0"),
    FileType("IQ2_XS", 20, "IQ2_XS", True),
    FileType("IQ2_S", 28, "IQ2_XS", True),
    FileType("IQ2_M", 29, "IQ2_S", True),
    FileType("Q2_K_S", 21, "Q2_K", True),
    FileType("Q2_K", 10, "Q2_K"),
    FileType("IQ3_XXS", 23, "IQ3_XXS", True),
    FileType("IQ3_XS", 22, "IQ3_S", True),
    FileType("IQ3_S", 26, "IQ3_S"),
    FileType("IQ3_M", 27, "IQ3_S"),
    FileType("Q3_K_S", 11, "Q3_K"),
    FileType("Q3_K_M", 12, "Q3_K"),
    FileType("Q3_K_L", 13, "Q3_K"),
    FileType("IQ4_XS", 30, "IQ4_XS"),
    FileType("MXFP4_MOE", 38, "MXFP4"),
    FileType("Q4_0", 2, "Q4_0"),
    FileType("IQ4_NL", 25, "IQ4_NL"),
    FileType("Q4_K_S", 14, "Q4_K"),
    FileType("Q4_K_M", 15, "Q4_K"),
    FileType("Q4_1", 3, "Q4_1"),
    FileType("Q5_0", 8, "Q5_0"),
    FileType("Q5_K_S", 16, "Q5_K"),
    FileType("Q5_K_M", 17, "Q5_K"),
    FileType("Q5_1", 9, "Q5_1"),
    FileType("Q6_K", 18, "Q6_K"),
    FileType("Q8_0", 7, "Q8_0"),
    FileType("F16", 1, "F16"),
    FileType("BF16", 32, "BF16"),
    FileType("F32", 0, "F32"),
)
BY_NAME = {t.name: t for t in FILE_TYPES}
