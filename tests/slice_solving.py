"""Answers to made items, found from the prompts alone: what a maker says is right has to agree with them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from quantcurve.slices.items import Check

Numbers = list[int]
WORD_PROBLEMS: Mapping[str, Callable[[Numbers], float]] = {
    "half": lambda n: n[0] / 2,
    "double": lambda n: 2 * n[0],
    "gets": lambda n: n[0] + n[1],
    "gives": lambda n: n[0] - n[1],
    "both": lambda n: n[0] + n[1],
    "more-than": lambda n: n[0] - n[1],
    "rows": lambda n: n[0] * n[1],
    "bags": lambda n: n[0] * n[1],
    "shared": lambda n: n[0] / n[1],
    "minutes": lambda n: 60 * n[0] + n[1],
    "packs": lambda n: n[0] + n[1] * n[2],
    "change": lambda n: n[1] - n[0],
    "age": sum,
    "percent": lambda n: n[0] * n[1] / 100,
    "average": lambda n: sum(n) / len(n),
    "remainder": lambda n: n[0] % n[1],
    "several": lambda n: n[0] - n[1] * n[2],
    "boxes": lambda n: n[0] * n[1] - n[2],
    "two-goods": lambda n: n[0] * n[2] + n[1] * n[3],
    "discount": lambda n: n[0] - n[0] * n[1] / 100,
    "journey": lambda n: n[0] * n[1] + n[2] * n[3],
    "rate": lambda n: n[0] * n[1] * n[2],
    "share-out": lambda n: n[0] * n[1] / n[2],
}
"""By the pattern's name, from the numbers of the question in their order."""
SOLUTIONS: Mapping[str, str] = {
    "count_above_3": (
        "    found = 0\n    for n in numbers:\n        if n > 3:\n            found += 1\n    return found\n"
    ),
    "rotate_left_by_2": (
        "    for _ in range(2):\n        if numbers:\n            numbers = numbers[1:] + [numbers[0]]\n"
        "    return numbers\n"
    ),
    "sums_of_3_neighbours": "    return [a + b + c for a, b, c in zip(numbers, numbers[1:], numbers[2:])]\n",
    "most_common": "    from collections import Counter\n    return Counter(sorted(numbers)).most_common(1)[0][0]\n",
    "longest_rise": "    best = 1\n    for i in range(len(numbers)):\n        j = i\n"
    "        while j + 1 < len(numbers) and numbers[j + 1] > numbers[j]:\n            j += 1\n"
    "        best = max(best, j - i + 1)\n    return best\n",
    "shift_letters_by_3": "    import string\n    a = string.ascii_lowercase\n"
    "    return text.translate(str.maketrans(a, a[3:] + a[:3]))\n",
    "run_lengths": "    out = []\n    for c in text:\n        if out and out[-1][0] == c:\n"
    "            out[-1] = (c, out[-1][1] + 1)\n        else:\n            out.append((c, 1))\n    return out\n",
    "in_base_2": "    return bin(n)[2:]\n",
    "steps_to_one": "    return 0 if n == 1 else 1 + steps_to_one(3 * n + 1 if n % 2 else n // 2)\n",
    "divisors": "    return [d for d in range(1, n + 1) if not n % d]\n",
    "primes_up_to": "    return [p for p in range(2, n + 1) if not any(p % d == 0 for d in range(2, p))]\n",
    "round_up_to_multiple_of_7": "    while n % 7:\n        n += 1\n    return n\n",
    "clock": "    hours, minutes = divmod(n, 60)\n    return str(hours) + ':' + str(minutes).zfill(2)\n",
    "sequence_from_1_and_2": (
        "    terms = [1, 2]\n    while len(terms) < n:\n"
        "        terms.append(terms[-1] + terms[-2])\n    return terms[n - 1]\n"
    ),
    "add_tallies": "    for k in b:\n        a[k] = a.get(k, 0) + b[k]\n    return a\n",
}
"""Bodies of some functions, not written like quantcurve's own."""


def number(part: str, question: str) -> float:
    """The answer to a problem of the slice of mathematics."""
    if part in WORD_PROBLEMS:
        return WORD_PROBLEMS[part]([int(n) for n in re.findall(r"\d+", question)])
    found = re.fullmatch(r"What is ([\d+*/() -]+)\?", question)
    assert found, question
    return float(eval(found[1]))


def following(checks: Sequence[Check]) -> str:
    """A text that follows all of an item's instructions."""
    arguments: dict[str, Any] = {}
    for check in checks:
        arguments |= check.arguments
    names = {check.name for check in checks}
    words = list(arguments.get("keywords", ())) + [arguments.get("keyword", "")] * arguments.get("frequency", 0)
    words += (
        [f"o{arguments['letter']}o" for _ in range(arguments.get("let_frequency", 0))] if "letter" in arguments else []
    )
    words += ["[name]"] * arguments.get("num_placeholders", 0) + ["*this one*"] * arguments.get("num_highlights", 0)
    words += ["<<moon>>"] if "detectable_format:title" in names else []
    lengths = [check.arguments for check in checks if check.name == "length_constraints:number_words"]
    words += [word for some in lengths if some["relation"] == "at least" for word in ["word"] * some["num_words"]]
    body = _laid_out(" ".join(filter(None, words)) or "word", arguments)
    if "change_case:english_lowercase" in names:
        body = body.lower()
    if "change_case:english_capital" in names:
        body = body.upper()
    body += f"\n{arguments['postscript_marker']} word" if "postscript_marker" in arguments else ""
    body += f" {arguments['end_phrase']}" if "end_phrase" in arguments else ""
    return f'"{body}"' if "startend:quotation" in names else body


def _laid_out(text: str, arguments: Mapping[str, Any]) -> str:
    if "num_bullets" in arguments:
        return text + "".join("\n* word" for _ in range(arguments["num_bullets"]))
    if "num_sections" in arguments:
        heads = [f"{arguments['section_spliter']} {n + 1}\n" for n in range(arguments["num_sections"])]
        return heads[0] + text + "".join(f"\n{head}word" for head in heads[1:])
    if "first_word" in arguments:
        paragraphs = ["word"] * arguments["num_paragraphs"]
        paragraphs[arguments["nth_paragraph"] - 1] = arguments["first_word"]
        return "\n\n".join(paragraphs) + f" {text}"
    if "num_paragraphs" in arguments:
        return "\n***\n".join([text] + ["word"] * (arguments["num_paragraphs"] - 1))
    return text
