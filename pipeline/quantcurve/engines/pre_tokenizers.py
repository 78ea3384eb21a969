"""How byte-level BPE vocabularies cut a text into words, as llama.cpp does it (src/llama-vocab.cpp, src/unicode.cpp).

The patterns are written so that Oniguruma (the tokenizers library) and PCRE2 (OpenVINO's tokenizers) cut as
llama.cpp's own matcher does. Only what tests/test_gguf_tokenizer.py proves equal to it is listed. Characters that
came to Unicode after version 15 may be cut differently: each library has its own table of them.
"""

from __future__ import annotations

from typing import NamedTuple


class PreTokenizer(NamedTuple):
    """One way to cut."""

    patterns: tuple[str, ...]
    """Applied one after the other; each cuts what the ones before left, matches and the text between them alike."""
    whole_words: bool = False
    """A word that is a token stays whole, whatever the merges say (`ignore_merges`)."""


_SPACE = "\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
r"""What llama.cpp takes for a space, in place of \s below: Oniguruma and PCRE2 have others."""
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|[\s]+(?![^\s])|[\s]+"
# llama.cpp cuts digits out first; in one pattern, because OpenVINO's tokenizers look past the end of what is cut out.
_GPT2_DIGITS = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|[\s]+(?=\p{N})|[\s]+(?![^\s])|[\s]+"
_SHORT = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
_SPACES = r"[\s]*[\r\n]+|[\s]+(?![^\s])|[\s]+"
_REST = rf" ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_SPACES}"
_LETTERS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_LLAMA3 = rf"{_SHORT}|{_LETTERS}|\p{{N}}{{1,3}}|{_REST}"
_QWEN2 = rf"{_SHORT}|{_LETTERS}|\p{{N}}|{_REST}"
_QWEN35 = rf"{_SHORT}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{_SPACES}"
# llama.cpp knows no case beyond ASCII: any other letter is both upper and lower.
_UPPER, _LOWER = r"(?:(?=\p{L})[^a-z])", r"(?:(?=\p{L})[^A-Z])"
_FIRST = r"[^\r\n\p{L}\p{N}]?"
_SLASH = rf" ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_SPACES}"
_TEKKEN = rf"{_FIRST}{_UPPER}*{_LOWER}+|{_FIRST}{_UPPER}+{_LOWER}*|\p{{N}}|{_SLASH}"
_GPT4O = rf"{_FIRST}{_UPPER}*{_LOWER}+{_SHORT}?|{_FIRST}{_UPPER}+{_LOWER}*{_SHORT}?|\p{{N}}{{1,3}}|{_SLASH}"
_DEEPSEEK3 = (
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
    rf"| ?[\p{{P}}\p{{S}}]+[\r\n]*|{_SPACES}"
)
# In patterns without a category llama.cpp takes every space beyond ASCII for a vertical tab, so ranges lose theirs.
_CASED_LETTERS = (
    "A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-"
    "ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-"
    "ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃"
)
_DEEPSEEK_HAN = "(?:(?![\\s])[一-龥ࠀ-一가-퟿])+"
_DEEPSEEK_LLM = (
    "[\r\n]",
    rf"[\s]?[{_CASED_LETTERS}]+",
    "[\\s]?[!-/:-~！-／：-～‘-‟、-。]+",
    r"[\s]+$",
    _DEEPSEEK_HAN,
    r"\p{N}+",
)
_DEEPSEEK_CODER = ("[\r\n]", r"[\s]?\p{L}+", r"[\s]?\p{P}+", _DEEPSEEK_HAN, r"\p{N}")
_BLOOM = " ?[^(\\s|.,!?…。，、।۔،)]+"
_THREE_DIGITS = "[0-9][0-9][0-9]"


def _cut(*patterns: str, whole_words: bool = False) -> PreTokenizer:
    return PreTokenizer(tuple(pattern.replace(r"\s", _SPACE) for pattern in patterns), whole_words)


_ONE = _cut(_GPT2)
_DIGITS = _cut(_GPT2_DIGITS)
_LLAMA = _cut(_LLAMA3, whole_words=True)
_QWEN = _cut(_QWEN2)
_CHAT = _cut(r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+", _DEEPSEEK3)
_DEFAULT = _cut(r"[\p{P}\$\+<=>\^~\|]+", _GPT2, r"\p{N}+", _THREE_DIGITS)

PRE_TOKENIZERS = {
    "": _DEFAULT,
    "default": _DEFAULT,
    "gpt-2": _ONE,
    "phi-2": _ONE,
    "mpt": _ONE,
    "olmo": _ONE,
    "jais": _ONE,
    "gigachat": _ONE,
    "exaone4": _ONE,
    "trillion": _ONE,
    "mellum": _ONE,
    "granite-docling": _ONE,
    "smollm": _DIGITS,
    "starcoder": _DIGITS,
    "refact": _DIGITS,
    "command-r": _DIGITS,
    "codeshell": _DIGITS,
    "exaone": _DIGITS,
    "minerva-7b": _DIGITS,
    "llama-bpe": _LLAMA,
    "llama3": _LLAMA,
    "llama-v3": _LLAMA,
    "falcon3": _LLAMA,
    "falcon-h1": _LLAMA,
    "pixtral": _LLAMA,
    "lfm2": _LLAMA,
    "glm4": _LLAMA,
    "dbrx": _cut(_LLAMA3),
    "smaug-bpe": _cut(_LLAMA3),
    "chatglm-bpe": _cut(_LLAMA3),
    "qwen2": _QWEN,
    "deepseek-r1-qwen": _QWEN,
    "stablelm2": _QWEN,
    "hunyuan": _QWEN,
    "megrez": _QWEN,
    "grok-2": _QWEN,
    "qwen35": _cut(_QWEN35),
    "tekken": _cut(_TEKKEN, whole_words=True),
    "gpt-4o": _cut(_GPT4O),
    "llama4": _cut(_GPT4O),
    "deepseek-llm": _cut(*_DEEPSEEK_LLM),
    "deepseek-coder": _cut(*_DEEPSEEK_CODER),
    "deepseek-v3": _CHAT,
    "hunyuan-dense": _CHAT,
    "falcon": _cut(r"[\p{P}\$\+<=>\^~\|`]+", _GPT2, _THREE_DIGITS),
    "bloom": _cut(_BLOOM),
    "viking": _cut(_BLOOM, r"\p{N}"),
}
"""By the name in `tokenizer.ggml.pre`; a file without it is cut by "", llama.cpp's default."""
