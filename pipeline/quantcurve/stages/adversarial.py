"""Strings on which tokenizers that pass for equal differ; characters of Unicode 14 at the latest."""

from __future__ import annotations

_BROKEN = (b"\xff", b"caf\xc3", b"\xe2\x82", b"\xed\xa0\x80 \xed\xb0\x80", b"a\x80b\xc0\xafc", b"\xf0\x9f\x98")

ADVERSARIAL: tuple[str, ...] = (
    "",
    " ",
    "  ",
    "\n",
    "\t",
    " leading",
    "trailing ",
    "  both  ",
    "a  5 and   12  345",
    "0123456789" * 12,
    "1 12 123 1234 12345 123456 1234567",
    "1,234,567.89 1.234.567,89 1_000_000 1'000 -3.14e-10 0x1F 0b101 \u00bd \u00b2 \u2167 \u0663\u0664 \uff11\uff12",
    "def f(x):\n\tif x:\n\t\treturn {'a': [1, 2], \"b\": None}\n    return x**2 // 3\n\n\n# done",
    "#include <stdio.h>\r\nint main(void)\r\n{\r\n\treturn a[i]->b != 0 && ~c ? x << 2 : y >>= 1;\r\n}\r\n",
    "I'm you're he'll they've she'd it's don't I'M YOU'RE HE'LL THEY'VE SHE'D IT'S DON'T o'clock 'tis ''s '\u017f",
    "<s></s><unk><pad><mask>[INST] hi [/INST]<|endoftext|>",
    "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n",
    " <|im_start|> <|im_end|>x<|im_end|><|im_end|> ",
    "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nhi<|eot_id|>",
    "<start_of_turn>user\nhi<end_of_turn><bos><eos><0x0a>\u2581x\u2581\u2581y",
    "<|im_start><im_start|> <|im_ start|> <|im_start|",
    '<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call><think></think><|fim_prefix|><fim_suffix><repo_name>',
    "\U0001f469\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 \U0001f3f3\ufe0f\u200d\U0001f308 \U0001f44d\U0001f3fd",
    "\U0001f1e9\U0001f1ea\U0001f1eb\U0001f1f7 \u2764\ufe0f\u2b50 1\ufe0f\u20e3",
    "\u4e2d\u6587\u6587\u672c\uff0c\u6ca1\u6709\u7a7a\u683c\u3002\u6df7\u5408English\u8bcd2024\u5e74",
    (
        "\u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8\u3001\u30ab\u30bf\u30ab\u30ca\u30fb\u3072\u3089"
        "\u304c\u306a\u3000\uff76\uff85"
    ),
    "\ud55c\uad6d\uc5b4 \ud14d\uc2a4\ud2b8 \u1112\u1161\u11ab\uae00",
    (
        "\u0627\u0644\u0639\u0631\u0628\u064a\u0651\u064e\u0629 \u0664\u0662 \u061f \u05e9\u05b8\u05c1\u05dc"
        "\u05d5\u05b9\u05dd abc \u200f\u202ex\u202c"
    ),
    (
        "\u0939\u093f\u0928\u094d\u0926\u0940 \u0e20\u0e32\u0e29\u0e32\u0e44\u0e17\u0e22 \u0ba4\u0bae\u0bbf"
        "\u0bb4\u0bcd \u10e5\u10d0\u10e0\u10d7\u10e3\u10da\u10d8"
    ),
    (
        "e\u0301 \u00e9 a\u0308\u0304\u0323 Z\u0351\u036b\u0343\u036a\u0302 \u1e9b\u0323 \ufb01 \u212b \u01c5"
        " \u00df \u0130\u0131"
    ),
    (
        "Stra\u00dfe na\u00efve \u0416\u0443\u043a \u03a9\u03c3\u03c2 camelCaseWORDWithXMLParts \u00c5ngstr"
        "\u00f6m\u00c9COLE"
    ),
    "\u00a0\u2003\u2009\u202f\u205f\u3000x\u1680y\u2028z\u2029w\u200b\u200c\u200d\u2060\ufeff \u0085\u180e",
    " " * 37 + "x" + "\t" * 9 + "y" + "\n" * 11 + "z \n \n\t \r\n \r\r\n  ",
    "a\r\nb\rc\n\rd\x0be\x0cf\x1cg\x1dh\x1ei\x1fj",
    "a\x00b\x00\x00\x01\x02\x07\x08\x1b[31m\x7f\u009f",
    "".join(f"th{chr(code)}ere in{chr(code)}g" for code in range(32)),
    "https://user:pw@www.example.org:8080/a/b_c-d/?q=1&r=%20%C3%A9#frag mailto:a.b+c@d.co C:\\dir\\f.txt /usr/lib",
    "!!!???...---___***///===+++~~~```^^^|||\\\\\\$$$@@@###%%%&&&((()))[[[]]]{{{}}}<<<>>>\"\"\"''',,,;;;:::",
    (
        "\u201cquotes\u201d \u2018single\u2019 \u00abguillemets\u00bb \u2013 \u2014 \u2026 \u20ac\u00a3\u00a5"
        "\u20bf \u2211\u222b\u221e\u2260 \u2190\u21d2"
    ),
    "$x^2 + \\frac{1}{2} \\le \\sqrt{y_i}$ | a | b |\n|---|:-:|\n",
    "x" * 700,
    "supercalifragilisticexpialidocious" * 12,
    "\u00e9" * 200 + "\u4e2d" * 200,
    "aA" * 100 + "1a" * 100,
    "\ufffd\ufffe\uffff\ue000\U000f0000\U0010ffff\U0001f9ff\U00020000",
    *(raw.decode("utf-8", "replace") for raw in _BROKEN),
)
"""For every lane; broken UTF-8 as it is read from files (see texts.load_text), with U+FFFD for what cannot be read.

Not here: a byte token spelled out (<0x0A>), which OpenVINO's tokenizers take for the byte in SentencePiece
vocabularies; a text in use that has one stops the run.
"""
