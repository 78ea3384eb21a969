"""The perplexity screen: reference and variants visit the windows in one random order, and stop when enough is known.

Chunk by chunk the reference's logits go to a scratch file on disk, every variant still in the race is scored against
them, the scratch goes. So it works when the models do not fit in memory together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from quantcurve.contract import screen_verdict
from quantcurve.engines.base import Doubles, LlamaCppConfig, TokenScores
from quantcurve.errors import BackendError
from quantcurve.estimates import Estimate, Figure
from quantcurve.metrics import sequential
from quantcurve.metrics.statistics import paired_difference
from quantcurve.recipe import Screen
from quantcurve.records import REFERENCE, EffectiveConfig
from quantcurve.results import ScreenEffort, ScreenVerdict
from quantcurve.session import Event, Session
from quantcurve.stages.resolve import Failed
from quantcurve.stages.route import Chunk, Route, chunks
from quantcurve.stages.scoring import Model, Scorer, StoredScores
from quantcurve.stages.tokenize import Windowed

LEVEL_ALPHA = 0.01
"""Probability that any variant is discarded (or kept) wrongly, shared evenly by the variants."""
CLOSE_ENOUGH = 0.01
"""Half-width of the ln-perplexity ratio at which a variant that still straddles a line is let go as `at_line`."""
KL_ALPHA = 0.05
KL_RELATIVE_HALF_WIDTH = 0.2
LN_RATIO = "ln(perplexity ratio)"


class Race(NamedTuple):
    """The rules by which a variant stops."""

    lines: Screen
    alpha: float
    """Level of one variant's confidence sequence."""
    route: Route

    def interval(self, differences: Doubles) -> Figure:
        """Mean difference in negative log-likelihood with what is known of it: exact at the end of the whole text; at
        the end of a part of it, or if nothing stops early, as every other figure; a confidence sequence on the way.

        differences: (n, T), of the first n windows of the route.
        """
        total, n = len(self.route.order), len(differences)
        if n == total and self.route.whole:
            return sequential.exact(differences.mean(axis=1), LN_RATIO)
        if n == total:
            rows, segments = self.route.sorted_rows(n)
            return paired_difference(differences[rows], np.zeros_like(differences), segments, LN_RATIO)
        return sequential.confidence_sequence(differences.mean(axis=1), self.alpha, LN_RATIO)

    def look(
        self, differences: Doubles, kl: Doubles, before: ScreenVerdict | None
    ) -> tuple[ScreenVerdict | None, bool]:
        """What can be said of a variant now, and whether it is through.

        differences, kl: (n, T), of the first n windows of the route; before: its verdict, if it has one already.
        """
        total, n = len(self.route.order), len(differences)
        if n == total:
            return self._judge(differences), True
        if self.lines.exhaustive or n < sequential.MIN_WINDOWS:
            return None, False
        verdict = before or self._judge(differences)
        assert isinstance(verdict.judged, Estimate)
        half_width = (verdict.judged.high - verdict.judged.low) / 2
        if verdict.decision == "at_line" and half_width > CLOSE_ENOUGH:
            return None, False
        return verdict, verdict.decision == "discard" or _known(kl)

    def _judge(self, differences: Doubles) -> ScreenVerdict:
        total, n = len(self.route.order), len(differences)
        if n < total:
            basis = f" after {n} of {total} windows ({100 * (1 - self.alpha):.5g} % confidence sequence)"
        else:
            basis = " on the whole text" if self.route.whole else ""
        return screen_verdict(self.interval(differences), self.lines, basis)


def _known(kl: Doubles) -> bool:
    """Whether the mean KL divergence is known to within `KL_RELATIVE_HALF_WIDTH`."""
    found = sequential.confidence_sequence(kl.mean(axis=1), KL_ALPHA, "nats")
    return found.high - found.value <= KL_RELATIVE_HALF_WIDTH * found.value


class Screened(NamedTuple):
    """Scores of the first windows of the route, by model: (n, T), each with an n of its own."""

    route: Route
    reference: TokenScores
    variants: dict[str, TokenScores]
    verdicts: dict[str, ScreenVerdict]
    failed: dict[str, Failed]
    configs: dict[str, EffectiveConfig]
    alpha: float
    effort: ScreenEffort


class Task(NamedTuple):
    """What is screened, and how."""

    reference: Model
    variants: Sequence[Model]
    texts: Sequence[Windowed]
    along: Route
    lines: Screen
    config: LlamaCppConfig


def screen(task: Task, session: Session) -> Screened:
    """Score models on as many windows as it takes.

    Raises:
        BackendError: the reference cannot be scored; a variant that cannot be is in `failed`.
        PrerequisiteError: too little disk for one batch of the reference's logits.
    """
    walk = _Walk(task, session)
    models, vocabulary = (task.reference, *task.variants), task.texts[0].step.vocabulary
    with Scorer("screen", models, vocabulary, task.config, session, walk.report) as scorer:
        return walk.run(scorer)


def stored(task: Task, session: Session) -> set[str]:
    """Names of the models whose whole way through the screen is in the store; writes nothing."""
    try:
        screened = _Walk(task, session).run(StoredScores("screen", task.config, session))
    except BackendError:  # of the reference
        return set()
    return {REFERENCE, *screened.variants}


class _Walk:
    """The state of one walk along the route."""

    def __init__(self, task: Task, session: Session) -> None:
        self.reference = task.reference
        self.racing = list(task.variants)
        self.chunks = chunks(task.texts, task.along, task.config.sequences)
        self.race = Race(task.lines, LEVEL_ALPHA / max(1, len(task.variants)), task.along)
        self.session = session
        self.failed: dict[str, Failed] = {}
        self.verdicts: dict[str, ScreenVerdict] = {}
        self.scores: dict[str, list[TokenScores]] = {m.name: [] for m in (task.reference, *task.variants)}
        self.done = 0
        self.total = len(task.along.order) * len(self.scores)  # less what turns out not to be needed

    def run(self, scorer: Scorer | StoredScores) -> Screened:
        visited = 0
        for chunk in self.chunks:
            if not self.racing and visited >= sequential.MIN_WINDOWS:
                break
            self._score_chunk(chunk, scorer)
            visited += len(chunk.windows)
            self._look(scorer)
        joined = {name: TokenScores.concatenate(p) for name, p in self.scores.items() if name not in self.failed}
        effort = self._effort(joined)
        self.session.progress(Event("screen", self.done, self.done, "done"))
        return Screened(
            route=self.race.route,
            reference=joined.pop(self.reference.name),
            variants=joined,
            verdicts=self.verdicts,
            failed=self.failed,
            configs=scorer.effective,
            alpha=self.race.alpha,
            effort=effort,
        )

    def _score_chunk(self, chunk: Chunk, scorer: Scorer | StoredScores) -> None:
        wanted = any(not scorer.cached(m, chunk, self.reference) for m in self.racing)
        last = chunk is self.chunks[-1]  # nobody is needed afterwards, and the next one runs faster in used memory
        with scorer.keep(self.reference, chunk, wanted) as kept:
            self.scores[self.reference.name].append(kept.scores)
            if last:
                scorer.drop(self.reference)
            for model in list(self.racing):
                try:
                    self.scores[model.name].append(scorer.score(model, chunk, kept))
                    if last:
                        scorer.drop(model)
                except BackendError as error:
                    scorer.drop(model)
                    self.racing.remove(model)
                    self.failed[model.name] = Failed(model.name, error.message, str(self.session.log(model.name)))

    def _look(self, scorer: Scorer | StoredScores) -> None:
        reference = np.concatenate([s.nll for s in self.scores[self.reference.name]])
        for model in list(self.racing):
            scores = self.scores[model.name]
            kl = np.concatenate([s.kl for s in scores if s.kl is not None])
            differences = np.concatenate([s.nll for s in scores]) - reference
            verdict, through = self.race.look(differences, kl, self.verdicts.get(model.name))
            if verdict:
                self.verdicts[model.name] = verdict
            if through:
                self.racing.remove(model)
                self.total -= len(self.race.route.order) - len(reference)
                scorer.drop(model)

    def report(self, name: str, windows: int) -> None:
        self.done += windows
        self.session.progress(Event("screen", self.done, self.total, name))

    def _effort(self, joined: dict[str, TokenScores]) -> ScreenEffort:
        window_tokens = self.chunks[0].windows.shape[1]
        whole = len(self.race.route.order) * window_tokens * len(joined)
        return ScreenEffort(
            exhaustive=self.race.lines.exhaustive,
            tokens=sum(len(s.nll) for s in joined.values()) * window_tokens,
            whole_tokens=whole,
        )
