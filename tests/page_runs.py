"""Runs for the page's tests: many variants, hostile text, several machines."""

from __future__ import annotations

from factories import DEFAULT, Made, failed_variant, make_run
from factories_scorecard import flipped, make_card
from quantcurve.results import RunResult
from quantcurve.scorecard_records import FailingItem

EVIL = "</script><script>window.hacked=1</script><img src=x onerror=window.hacked=1> {{7*7}} \u2028'\"&amp;"
TEXTS = ("wiki", "code", "deutsch")


def many(count: int, name: str = "many") -> RunResult:
    """KL divergences from 0.001 to 1 nats, faster and smaller as they grow; each is tied with the next."""
    made = [
        Made(f"V{i:03d}", 0.001 * 1000 ** (i / count), 130 - 60 * i / count, 40 + 30 * i / count) for i in range(count)
    ]
    run = make_run(made, texts=TEXTS)
    names = [variant.name for variant in run.variants]
    variants = tuple(
        variant.model_copy(update={"tied_with": (names[i + 1],) if i % 2 == 0 and i + 1 < count else ()})
        for i, variant in enumerate(run.variants)
    )
    return run.model_copy(update={"name": name, "variants": variants})


def hostile() -> RunResult:
    """Names, reasons, a recipe and answers of models that are full of markup."""
    card = make_card(flipped("json", 6, 2))
    lost = FailingItem(
        slice="json", item="7", reference='{"a": 1}', variant=f'{{"a": {EVIL}', first_divergent_token=3, why=EVIL
    )
    card = card.model_copy(update={"failing": (lost,)})
    run = make_run([*DEFAULT, Made("x" * 200, 0.04, 80.0, 45.0)], failed=[failed_variant(EVIL, EVIL)], texts=TEXTS)
    first = run.variants[0].model_copy(update={"scorecard": card})
    return run.model_copy(update={"recipe_text": EVIL, "warnings": (EVIL,), "variants": (first, *run.variants[1:])})


def nothing_measured() -> RunResult:
    return make_run([], failed=[failed_variant("Q2_K")])
