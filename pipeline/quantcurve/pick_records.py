"""What `pick` is asked, and what it gives."""

from __future__ import annotations

from typing import Literal

from quantcurve.estimates import Figure
from quantcurve.records import Frozen
from quantcurve.verdicts import Decision

Target = Literal["llama.cpp", "cpu", "gpu"]
"""GGUF variants, or OpenVINO variants that were measured on a CPU or a GPU."""
Place = Literal["variants.gguf", "variants.openvino", "calibration", "validations"]
"""Key of the recipe that lines belong under."""


class Limits(Frozen):
    """What the variant to be shipped has to keep to; None is no limit."""

    max_kl: float | None = None
    """Mean KL divergence, nats."""
    max_perplexity_increase_percent: float | None = None
    """Over the reference."""
    min_top1_agreement: float | None = None
    """Share of tokens, 0 to 1."""
    max_size_bytes: int | None = None
    min_decode_tokens_per_s: float | None = None
    max_time_to_first_token_s: float | None = None
    max_memory_bytes: int | None = None
    target: Target | None = None
    """What is to run it."""


class Rejection(Frozen):
    """A variant that was not taken."""

    name: str
    why: str


class RunnerUp(Frozen):
    """A variant inside every limit that would be next, and what it costs against the chosen one."""

    name: str
    kl_difference_nats: float
    """Of the means, this one's less the chosen one's."""
    kl_tied: bool
    """Whether the run's paired interval of that difference contains 0."""
    speed_ratio: Figure
    """How many times as fast as the chosen one it decodes, paired round by round."""
    size_difference_bytes: int
    """This one's less the chosen one's."""
    contract: Decision | Literal["not evaluated"] | None
    """By the run's contract; None where there is none."""
    apart: bool
    """Whether the two can be told apart, in KL divergence or in decode speed."""
    sentence: str


class RecipeLines(Frozen):
    """YAML for one place of a recipe."""

    under: Place
    lines: str


class Mitigation(Frozen):
    """Something to try where no variant is inside every limit."""

    what: str
    variant: str | None
    """Of the run, that it starts from; None: of none."""
    why: str
    """One sentence, from the run's own figures."""
    under: Place
    """Key of the recipe that the lines belong under."""
    recipe_lines: str
    """YAML: under a list of variants one item of it, else keys."""
    also: RecipeLines | None = None
    """What the recipe needs beside."""
    extra_bytes: int | None
    """About so much larger is the file than that of `variant`; None: the run does not tell."""
    cost: str
    """The same in words, with what else it takes."""


class Choice(Frozen):
    """The variant to ship, and why not the others."""

    name: str | None
    """None if no variant is inside every limit."""
    why: str
    """Its first sentence tells if the next one cannot be told apart from it."""
    runners_up: tuple[RunnerUp, ...] = ()
    """At most three, in the order in which they would be chosen."""
    rejected: tuple[Rejection, ...]
    """Every other variant, in the order of the run."""
    nearest_miss: str | None = None
    """If none was taken: the variant whose worst excess over a limit, relative to the limit, is least."""
    mitigations: tuple[Mitigation, ...] = ()
    """If none was taken: what to try, by the bytes that it adds, those that are not known last."""
    provenance: str
    """What the reference is, that all were compared with."""
