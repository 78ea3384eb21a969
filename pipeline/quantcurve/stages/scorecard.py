"""The scorecard: slices on the reference and the shortlisted variants, and what the contract says of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from typing import NamedTuple

from quantcurve import scorecard, validation_loading
from quantcurve.budgets_system import SystemFigures, system
from quantcurve.engines.text_side import TextSide
from quantcurve.errors import BackendError, RecipeError, reason
from quantcurve.recipe import LoadedRecipe, Recipe, at
from quantcurve.recipe_contract import EVERY, parts
from quantcurve.recipe_slices import SliceEntry
from quantcurve.records import REFERENCE
from quantcurve.scorecard import Answered, Card
from quantcurve.scorecard_made import scorecard_of
from quantcurve.scorecard_plan import Candidate, shortlist
from quantcurve.scorecard_records import BUILT_IN, Scorecard
from quantcurve.session import Session
from quantcurve.slices import asks, judging, loading
from quantcurve.slices.check_model import CheckSettings
from quantcurve.slices.makers import NAMES as MADE
from quantcurve.stages import checks, settings_check, slices, tasks
from quantcurve.stages.resolve import Reference
from quantcurve.stages.scoring import Model
from quantcurve.verdicts import Judged, VariantVerdict, not_evaluated, refused

BATCH, CONTEXT_TOKENS = 16, 2048
"""Where the recipe has no `evaluate`."""


class Evaluated(NamedTuple):
    """What came of it."""

    cards: Mapping[str, Scorecard] = {}
    """Of all variants; none without a contract and slices."""
    asked: tuple[str, ...] = ()
    """Of each slice a hash of the items and of what judges them."""


class _Around(NamedTuple):
    """What is the same for all models."""

    loaded: LoadedRecipe
    text: TextSide
    """The reference's tokenizer."""
    text_hash: str
    """Of the reference, which that is made of."""
    ends: tuple[int, ...]
    session: Session


def entries(recipe: Recipe) -> tuple[SliceEntry, ...]:
    """The recipe's slices, and quantcurve's own that the contract names without more."""
    given = recipe.evaluate.slices if recipe.evaluate else ()
    named = [*recipe.contract.quality, *(parts(name)[1] for name in recipe.contract.behaviour)]
    known = {entry.name for entry in given}
    return (*given, *(SliceEntry(name=name) for name in dict.fromkeys(named) if name in MADE and name not in known))


def check(loaded: LoadedRecipe) -> None:
    """Refuse what cannot be evaluated, before anything is made.

    Raises:
        RecipeError: a budget on a slice that is not there, or a slice whose file or judge is wrong.
    """
    contract, found = loaded.recipe.contract, entries(loaded.recipe)
    names = [entry.name for entry in found]
    for part, wanted in (("quality", contract.quality), ("behaviour", contract.behaviour)):
        for key in wanted:
            on = key if part == "quality" else parts(key)[1]
            if on and on not in (*names, *(EVERY if part == "quality" else ())):
                near = get_close_matches(on, [*names, *MADE], 1)
                hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(names) or 'none'}"
                with at(loaded, "contract", part, key):
                    raise RecipeError(f"a budget on {on}, and the recipe has no such slice; {hint}")
    functions = {entry.name for entry in found if entry.function}
    _check_behaviour(loaded, functions, len(functions) < len(found))
    if (contract.quality or contract.behaviour) and not found:
        with at(loaded, "contract"):
            raise RecipeError(f"budgets need slices: add some under evaluate.slices, or name one of {', '.join(MADE)}")
    for i, entry in enumerate(found):
        place = ("evaluate", "slices", i) if loaded.recipe.evaluate and i < len(loaded.recipe.evaluate.slices) else ()
        with at(loaded, *place):
            _check_slice(entry, loaded)


def _check_slice(entry: SliceEntry, loaded: LoadedRecipe) -> None:
    base = loaded.path.parent
    if entry.function:
        loading.load_check(entry, loaded.recipe.contract, base, loaded.recipe.seed)
        validation_loading.load(entry.function, base)
        return
    loading.load(entry, loaded.recipe.contract, base, loaded.recipe.seed)
    judging.judge_of(entry, base)


def _check_behaviour(loaded: LoadedRecipe, functions: Collection[str], others: bool) -> None:
    for key in loaded.recipe.contract.behaviour:
        figure, on = parts(key)
        if on in functions:
            with at(loaded, "contract", "behaviour", key):
                raise RecipeError(
                    f"{figure} is of answers, and those of {on} are its function's own; give {on} a limit under quality"
                )
        if functions and not others:
            with at(loaded, "contract", "behaviour", key):
                raise RecipeError(
                    f"{figure} is of answers, and all slices are functions, whose answers are their own; add a slice"
                )


def evaluate(
    loaded: LoadedRecipe,
    reference: Reference,
    models: Sequence[Model],
    candidates: Sequence[Candidate],
    systems: Mapping[str, SystemFigures],
    session: Session,
) -> Evaluated:
    """Scorecards of all variants. Those that are not shortlisted say so; one that is deployed with another chat
    template, vocabulary or end token than the reference fails (settings_check.py).

    Args:
        loaded: the recipe.
        reference: what variants are compared with.
        models: the reference first, then the variants that did not fail.
        candidates: the variants, as the shortlist sees them.
        systems: what each model takes, by name.
        session: the run's surroundings.

    Raises:
        RecipeError: an item does not fit, or a judge failed.
        BackendError: the reference cannot be asked; a variant that cannot is not evaluated, and says why.
    """
    recipe, contract = loaded.recipe, loaded.recipe.contract
    if contract.empty and not entries(recipe):
        return Evaluated()
    listed = shortlist(candidates, contract.shortlist)
    found = {name: Scorecard(verdict=not_evaluated(why)) for name, why in listed.items() if why}
    original, *others = models
    chosen = {model.name: model for model in others if listed.get(model.name) == ""}  # the engine floor is not listed
    step, folder = tasks.text_side(loaded, reference, session)
    around = _Around(loaded, TextSide(folder), reference.step.file.content_hash, step.ends, session)
    refusals = _refusals(around, original, chosen)
    found |= {name: Scorecard(verdict=verdict) for name, verdict in refusals.items()}
    chosen = {name: model for name, model in chosen.items() if name not in refusals}
    asker = _Asker(around, {REFERENCE: original, **chosen})

    def of_system(name: str) -> list[Judged]:
        return system(contract, systems[original.name], systems[name])

    return Evaluated(found | _asked(list(chosen), asker, recipe, of_system), asker.hashes())


def _asked(names: Sequence[str], asker: _Asker, recipe: Recipe, of_system: scorecard.System) -> dict[str, Scorecard]:
    """Scorecards of variants that are asked; where one's engine fails, the others are judged without it."""
    left, found = list(names), dict[str, Scorecard]()
    judges = {entry.name: entry.judge or BUILT_IN for entry in entries(recipe)}
    card = Card(recipe.contract, asker.counts())
    while left:
        try:
            scored = scorecard.evaluate(card, left, asker.ask, of_system)
            return found | {name: scorecard_of(one, judges, recipe.contract) for name, one in scored.items()}
        except _ModelError as error:
            left.remove(error.name)
            found[error.name] = Scorecard(verdict=not_evaluated(f"not evaluated: {reason(error.cause, error.name)}"))
    return found


def _refusals(around: _Around, original: Model, chosen: Mapping[str, Model]) -> dict[str, VariantVerdict]:
    """Verdicts of variants that are not asked: those that are deployed with other settings than the reference fail."""
    found = {}
    for name, model in chosen.items():
        try:
            if why := settings_check.mismatch(model, original, around.text, around.session):
                found[name] = refused(f"settings mismatch: {why}")
        except BackendError as error:
            found[name] = not_evaluated(f"not evaluated: {reason(error, name)}")
    return found


class _ModelError(Exception):
    """One variant's engine failed."""

    def __init__(self, name: str, cause: BackendError) -> None:
        super().__init__(name)
        self.name, self.cause = name, cause


class _Asker:
    """Slices as tokens, checks, and the models that are asked."""

    def __init__(self, around: _Around, models: Mapping[str, Model]) -> None:
        self._around, self._models = around, models
        found = entries(around.loaded.recipe)
        self._checks = {entry.name: self._check(entry, entry.function) for entry in found if entry.function}
        self._slices = {entry.name: self._prepared(entry) for entry in found if not entry.function}
        self._reference: dict[tuple[str, range], slices.OnModel] = {}

    def counts(self) -> dict[str, int]:
        """Items of each slice."""
        names = [entry.name for entry in entries(self._around.loaded.recipe)]
        return {n: len(self._checks[n].items if n in self._checks else self._slices[n].asked) for n in names}

    def hashes(self) -> tuple[str, ...]:
        """Of all items of each slice, and of its judge."""
        judged = (f"{one.asked_hash} {one.judge_version}" for one in self._slices.values())
        return (*judged, *(one.asked_hash for one in self._checks.values()))

    def _prepared(self, entry: SliceEntry) -> slices.SliceAsking:
        loaded = self._around.loaded
        recipe, base = loaded.recipe, loaded.path.parent
        items = loading.load(entry, recipe.contract, base, recipe.seed).items
        settings = asks.AskSettings(
            ends=self._around.ends,
            context_tokens=self._context_tokens,
            max_tokens=entry.max_tokens,
            system=entry.system,
        )
        asked = asks.ask(entry.name, items, self._around.text, settings)
        judge, version = judging.judge_of(entry, base)
        return slices.SliceAsking(entry.name, asked, settings, self._around.text, judge, version)

    def _check(self, entry: SliceEntry, function: str) -> checks.Checking:
        around, base = self._around, self._around.loaded.path.parent
        recipe = around.loaded.recipe
        return checks.Checking(
            name=entry.name,
            items=loading.load_check(entry, recipe.contract, base, recipe.seed),
            function=validation_loading.load(function, base),
            function_name=function,
            function_hash=validation_loading.source_hash(function, base),
            settings=CheckSettings(around.text, around.ends, self._context_tokens),
            text_hash=around.text_hash,
        )

    @property
    def _context_tokens(self) -> int:
        evaluation = self._around.loaded.recipe.evaluate
        return evaluation.context_tokens if evaluation else CONTEXT_TOKENS

    def ask(self, model: str, name: str, part: range) -> Answered:
        """Samples of some items; those of the reference are kept, since variants are led along them."""
        try:
            return self._sample(model, name, part)
        except BackendError as error:
            if model == REFERENCE:
                raise
            raise _ModelError(model, error) from error

    def _sample(self, name: str, on: str, part: range) -> Answered:
        model, around = self._models[name], self._around
        batch = around.loaded.recipe.evaluate.batch if around.loaded.recipe.evaluate else BATCH
        settings = tasks.settings_of(around.loaded, model.runtime, batch, tasks.BATCH_TOKENS, around.session)
        if check := self._checks.get(on):
            some = check._replace(items=[check.items[i] for i in part])
            return checks.sample(some, model, settings, around.session, twice=name == REFERENCE)
        whole = self._slices[on]
        asking = whole._replace(asked=[whole.asked[i] for i in part])
        lead = None if name == REFERENCE else self._reference[on, part]
        found = slices.sample(asking, model, settings, lead, around.session)
        if name == REFERENCE:
            self._reference[on, part] = found
        return Answered(found.samples, found.seconds)
