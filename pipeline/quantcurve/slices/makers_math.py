"""The slice of mathematics: problems with whole numbers for answers, from easy to hard.

Each prompt begins with two worked examples, which show how an answer is written; it ends with the line.
"""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from quantcurve.slices.items import NumberItem
from quantcurve.slices.makers_parts import Part, combination, combinations
from quantcurve.slices.makers_problems import PROBLEMS, Problem

EXAMPLES = (
    "Question: What is 30 + 5?\nAnswer: 30 + 5 = 35. The answer is 35.\n\n"
    "Question: Nina has 3 stamps and buys 2 sheets of 5 stamps each. How many stamps does Nina have now?\n"
    "Answer: 2 * 5 = 10. 3 + 10 = 13. The answer is 13.\n\n"
)


def parts() -> list[Part]:
    """A part for each pattern of a problem."""
    return [Part(problem.name, combinations(problem.over), _Asked(problem)) for problem in PROBLEMS]


class _Asked(NamedTuple):
    problem: Problem

    def __call__(self, index: int, chance: Random) -> NumberItem:
        del chance
        values = combination(index, self.problem.over)
        text, answer = self.problem.make(*values)
        return NumberItem(
            prompt=f"{EXAMPLES}Question: {text}\nAnswer:",
            answer=answer,
            group=self.problem.difficulty,
            stop=("\n",),
        )
