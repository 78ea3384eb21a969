"""What a quantised KV cache costs: against the same weights with an F16 cache, and in a 2 x 2 with the weights' loss.

    cells            F16 cache      the variant's cache
    reference        0              cache alone
    variant          weights alone  both

If the two losses add, the interaction (both - weights alone - cache alone) is 0. It is tested in mean KL divergence
from the reference and in mean negative log-likelihood, token by token on the same windows, at two context lengths.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from quantcurve.engines.base import CacheTypes, Doubles, LlamaCppConfig, TokenScores
from quantcurve.errors import BackendError
from quantcurve.estimates import Estimate, Missing
from quantcurve.metrics.statistics import mean_estimate, paired_difference
from quantcurve.results import CacheFigures
from quantcurve.session import Event, Session
from quantcurve.stages.figures import NATS, not_negative
from quantcurve.stages.route import Chunk, Route, chunks
from quantcurve.stages.scoring import Kept, Model, Scorer
from quantcurve.stages.tokenize import Windowed

F16 = CacheTypes()


class Context(NamedTuple):
    """Windows of one length, and those of them that are scored."""

    texts: Sequence[Windowed]
    along: Route
    windows: int
    """At most so many, the first of the route."""
    config: LlamaCppConfig

    @property
    def tokens(self) -> int:
        """Length of a window."""
        return int(self.texts[0].windows.shape[1])

    def chunks(self) -> list[Chunk]:
        """The windows that are scored."""
        taken = self.along._replace(order=self.along.order[: self.windows])
        return chunks(self.texts, taken, self.config.sequences)


class _Cells(NamedTuple):
    """One chunk's scores behind a 2 x 2; the reference with an F16 cache is what all but `own` are compared with."""

    reference: TokenScores
    cache_alone: TokenScores
    weights_alone: TokenScores
    both: TokenScores
    own: TokenScores
    """Both, compared with the same weights and an F16 cache."""


def measure(
    reference: Model, variants: Sequence[Model], contexts: Sequence[Context], session: Session
) -> dict[str, tuple[CacheFigures, ...] | Missing]:
    """Figures of every variant that has another cache than F16, by name, one entry a context length.

    Raises:
        BackendError: the reference cannot be scored; what fails for a variant is `Missing`.
        PrerequisiteError: too little disk for the logits of a chunk.
    """
    wanted = [v for v in variants if isinstance(v.runtime, CacheTypes) and v.runtime != F16]
    found: dict[str, list[CacheFigures]] = {v.name: [] for v in wanted}
    failed: dict[str, Missing] = {}
    progress = _Progress(session, sum(len(c.chunks()) for c in contexts) * (1 + 5 * len(wanted)))
    for context in contexts if wanted else ():
        cells = _Table(reference, context, session, progress).run(wanted, failed)
        for variant in wanted:
            if variant.name not in failed:
                found[variant.name].append(_figures(variant, cells[variant.name], context))
    if wanted:
        progress.end()
    return {name: failed.get(name) or tuple(figures) for name, figures in found.items()}


class _Progress:
    """Counts scored chunks."""

    def __init__(self, session: Session, total: int) -> None:
        self.session, self.total, self.done = session, total, 0

    def __call__(self, name: str, windows: int) -> None:
        self.done = min(self.total, self.done + bool(windows))
        self.session.progress(Event("kv_cache", self.done, self.total, name))

    def end(self) -> None:
        self.session.progress(Event("kv_cache", self.total, self.total, "done"))


class _Table:
    """The cells of all variants at one context length."""

    def __init__(self, reference: Model, context: Context, session: Session, progress: _Progress) -> None:
        self.reference = reference
        self.context = context
        self.session = session
        self.progress = progress

    def run(self, variants: Sequence[Model], failed: dict[str, Missing]) -> dict[str, list[_Cells]]:
        models = {self.reference.name: self.reference}
        for variant in variants:
            models |= {m.name: m for m in (variant, self._cached_reference(variant), self._plain(variant))}
        vocabulary = self.context.texts[0].step.vocabulary
        cells: dict[str, list[_Cells]] = {v.name: [] for v in variants}
        with Scorer(
            "kv_cache", list(models.values()), vocabulary, self.context.config, self.session, self.progress
        ) as scorer:
            for chunk in self.context.chunks():
                going = [v for v in variants if v.name not in failed]
                wanted = any(not self._all_there(scorer, v, chunk) for v in going)
                with scorer.keep(self.reference, chunk, wanted) as base:
                    for content_hash in dict.fromkeys(v.content_hash for v in going):
                        same = [v for v in going if v.content_hash == content_hash]
                        self._weights(scorer, same, chunk, base, cells, failed)
        return cells

    def _weights(
        self,
        scorer: Scorer,
        variants: Sequence[Model],
        chunk: Chunk,
        base: Kept,
        cells: dict[str, list[_Cells]],
        failed: dict[str, Missing],
    ) -> None:
        """The cells of variants that have the same weights."""
        wanted = any(not self._all_there(scorer, v, chunk) for v in variants)
        try:
            with scorer.keep(self._plain(variants[0]), chunk, wanted, base) as own:
                for variant in variants:
                    try:
                        cells[variant.name].append(self._row(scorer, variant, chunk, base, own))
                    except BackendError as error:
                        failed[variant.name] = Missing(missing=error.message)
        except BackendError as error:
            failed.update({v.name: Missing(missing=error.message) for v in variants})

    def _row(self, scorer: Scorer, variant: Model, chunk: Chunk, base: Kept, own: Kept) -> _Cells:
        return _Cells(
            reference=base.scores,
            cache_alone=scorer.score(self._cached_reference(variant), chunk, base),
            weights_alone=own.scores,
            both=scorer.score(variant, chunk, base),
            own=scorer.score(variant, chunk, own),
        )

    def _all_there(self, scorer: Scorer, variant: Model, chunk: Chunk) -> bool:
        cached, plain = self._cached_reference(variant), self._plain(variant)
        pairs = ((cached, self.reference), (plain, self.reference), (variant, self.reference), (variant, plain))
        return all(scorer.cached(model, chunk, against) for model, against in pairs)

    def _cached_reference(self, variant: Model) -> Model:
        name = f"{self.reference.name}+{variant.runtime.label()}"
        return self.reference._replace(name=name, runtime=variant.runtime)

    @staticmethod
    def _plain(variant: Model) -> Model:
        """The same weights with an F16 cache; named by its content, since variants may share it."""
        return variant._replace(name=f"{variant.content_hash[:12]}+f16-cache", runtime=F16)


def _figures(variant: Model, cells: Sequence[_Cells], context: Context) -> CacheFigures:
    windows, cache = sum(len(c.both.nll) for c in cells), variant.runtime
    assert isinstance(cache, CacheTypes)
    rows, segments = context.along.sorted_rows(windows)

    def kl(cell: str) -> Doubles:
        return np.concatenate([_kl(getattr(c, cell)) for c in cells])[rows]

    def nll(cell: str) -> Doubles:
        return np.concatenate([getattr(c, cell).nll for c in cells])[rows]

    def change(cell: str) -> Estimate:
        return paired_difference(nll(cell), nll("reference"), segments, "ln(perplexity ratio)")

    interaction_kl = kl("both") - kl("weights_alone") - kl("cache_alone")
    interaction_nll = nll("both") - nll("weights_alone") - nll("cache_alone") + nll("reference")
    return CacheFigures(
        context_tokens=context.tokens,
        windows=windows,
        k_type=cache.k,
        v_type=cache.v,
        kl_from_f16_cache=not_negative(mean_estimate(kl("own"), segments, NATS)),
        ln_perplexity_ratio_to_f16_cache=paired_difference(
            nll("both"), nll("weights_alone"), segments, "ln(perplexity ratio)"
        ),
        kl_cache_alone=not_negative(mean_estimate(kl("cache_alone"), segments, NATS)),
        kl_weights_alone=not_negative(mean_estimate(kl("weights_alone"), segments, NATS)),
        kl_both=not_negative(mean_estimate(kl("both"), segments, NATS)),
        ln_perplexity_ratio_cache_alone=change("cache_alone"),
        ln_perplexity_ratio_weights_alone=change("weights_alone"),
        ln_perplexity_ratio_both=change("both"),
        interaction_kl=mean_estimate(interaction_kl, segments, NATS),
        interaction_ln_perplexity_ratio=mean_estimate(interaction_nll, segments, "ln(perplexity ratio)"),
    )


def _kl(scores: TokenScores) -> Doubles:
    assert scores.kl is not None
    return scores.kl
