"""Python programs from HumanEval and MBPP."""

from __future__ import annotations

from quantcurve.slices.formats_rows import Row
from quantcurve.slices.items import CodeItem

STOP = ("\nclass", "\ndef", "\n#", "\nif", "\nprint")
"""Ends of a function that is to be completed, as lm-evaluation-harness's humaneval has them."""
CANDIDATE = "_candidate"
"""Name of the function that is tested: some are called check, as their test is."""
SHOWN_TESTS = 3
"""Of MBPP's own rows, in the prompt."""


def humaneval(row: Row) -> CodeItem:
    """HumanEval (Chen et al. 2021): the row's prompt, the head of a function with its docstring, which the answer goes
    on with; as lm-evaluation-harness's humaneval.

    Rows have prompt, test and entry_point, also on the hub.

    Raises:
        RecipeError: a row without these columns, or with other values in them.
    """
    row.schema(("prompt", "test", "entry_point"))
    return _completed(row)


def mbpp(row: Row) -> CodeItem:
    """MBPP (Austin et al. 2021), as MBXP (Athiwaratkun et al. 2023) released it for Python, or as it is.

    MBXP's rows have prompt, test and entry_point: the prompt is the head of a function, as HumanEval's. Rows of the hub
    have text (in the sanitized set: prompt) and test_list: the prompt is that of lm-evaluation-harness's mbpp without
    examples, a sentence, the task, three tests and [BEGIN]; the answer is a whole program.

    Raises:
        RecipeError: a row without these columns, or with other values in them, or for another language.
    """
    if row.schema(("prompt", "test", "entry_point"), ("text", "test_list"), ("prompt", "test_list")) == 0:
        if row.has("language") and row.value("language") != "python":
            raise row.wrong("language", "python, which is what can be run")
        return _completed(row)
    tests = row.texts("test_list")
    task = row.text("text" if row.has("text") else "prompt")
    shown = "\n".join(tests[:SHOWN_TESTS])
    asked = f"You are an expert Python programmer, and here is your task: {task} Your code should pass these tests:"
    return CodeItem(
        id=row.name("task_id"),
        prompt=f"{asked}\n\n{shown}\n[BEGIN]\n",
        tests="\n" + "\n".join([*_before(row), *tests]) + "\n",
        stop=("[DONE]",),
    )


def _completed(row: Row) -> CodeItem:
    prompt, name = row.text("prompt"), row.text("entry_point")
    if not name.isidentifier():
        raise row.wrong("entry_point", "the name of a function")
    tests = f"\n{CANDIDATE} = {name}\n{row.text('test')}\ncheck({CANDIDATE})\n"
    return CodeItem(id=row.name("task_id"), prompt=prompt, prefix=prompt, tests=tests, stop=STOP)


def _before(row: Row) -> list[str]:
    """Program text that the tests need before them."""
    setup = row.value("test_setup_code") if row.has("test_setup_code") else ""
    if not isinstance(setup, str):
        raise row.wrong("test_setup_code", "a text")
    imports = row.texts("test_imports") if row.record.row.get("test_imports") else []
    return [*imports, *([setup] if setup.strip() else [])]
