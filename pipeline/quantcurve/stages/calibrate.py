"""The calibration set: one table of windows for the importance matrix and for NNCF, drawn from strata by a mix."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quantcurve import calibration_coverage as coverage
from quantcurve.calibration import LEAST_WINDOWS, Calibration, CalibrationResult
from quantcurve.calibration_coverage import Entry
from quantcurve.calibration_items import Offered
from quantcurve.calibration_sampling import Packed, choose, cut, fill, pack, spread, whole_parts
from quantcurve.calibration_sift import Fate, sift
from quantcurve.calibration_texts import ItemTokens, tokenize_items
from quantcurve.engines.base import Doubles, Tokens
from quantcurve.engines.child import Child
from quantcurve.errors import RecipeError
from quantcurve.records import EngineIdentity, Frozen
from quantcurve.session import Event, Session
from quantcurve.stages.resolve import Reference
from quantcurve.stages.tokenize import windows_hash

FILE = "windows.npz"
PIECE_WINDOWS = 4
"""Longer items are cut into pieces of so many windows, each drawn by itself: no item takes a whole stratum."""
Places = NDArray[np.int64]
Fates = NDArray[np.int8]


class SourceInputs(Frozen):
    """A source in the key of a calibration set."""

    name: str
    stratum: str
    share: float
    records: int
    content_hash: str


class StratumInputs(Frozen):
    """A stratum in the key of a calibration set."""

    name: str
    weight: float


class CalibrationInputs(Frozen):
    """Key of a calibration set."""

    version: Literal[2] = 2
    reference_hash: str
    mix: str
    strata: tuple[StratumInputs, ...]
    sources: tuple[SourceInputs, ...]
    held_out_hashes: tuple[str, ...]
    tokens: int
    window_tokens: int
    seed: int
    engine: EngineIdentity


class Calibrated(NamedTuple):
    """A calibration set, ready to use."""

    windows: Tokens
    """(n, window_tokens) ids in random order: the first ones are a sample of all."""
    result: CalibrationResult


class _Piece(NamedTuple):
    """Part of an item that is in the set."""

    item: int
    start: int
    stop: int


class _Made(NamedTuple):
    """All that the record of a set is made of."""

    inputs: CalibrationInputs
    offered: Offered
    windows: Tokens
    shares: Doubles
    """Of the strata."""
    wanted: Places
    """Tokens of each stratum."""
    entries: Sequence[Entry]
    texts: ItemTokens


def inputs_of(
    offered: Offered, settings: Calibration, seed: int, reference_hash: str, engine: EngineIdentity
) -> CalibrationInputs:
    """Key of a calibration set."""
    return CalibrationInputs(
        reference_hash=reference_hash,
        mix=offered.mix_name,
        strata=tuple(StratumInputs(name=s.name, weight=s.weight) for s in offered.mix.strata),
        sources=tuple(
            SourceInputs(
                name=s.name, stratum=s.stratum, share=s.share, records=s.records, content_hash=s.content_hash()
            )
            for s in offered.sources
        ),
        held_out_hashes=tuple(sorted({t.content_hash for t in offered.held_out})),
        tokens=settings.tokens,
        window_tokens=settings.window_tokens,
        seed=seed,
        engine=engine,
    )


def calibrate(offered: Offered, settings: Calibration, seed: int, reference: Reference, session: Session) -> Calibrated:
    """The calibration set of a model.

    Items are sifted (calibration_sift), written by the model's template and tokenised (calibration_texts), drawn from
    each stratum (calibration_sampling.choose), put one after the other by stratum and cut into windows of one length
    (calibration_sampling.pack), so that only windows at the borders mix strata. The windows are then shuffled.

    Raises:
        RecipeError: nothing of a source is left, or the set is too small.
        ModelFileError: the model's vocabulary cannot be loaded.
    """
    session.progress(Event("calibrate", 0, 1, offered.mix_name))
    inputs = inputs_of(offered, settings, seed, reference.step.file.content_hash, session.engine)
    result, artifact = session.make(
        "calibrate", inputs, CalibrationResult, partial(_make, inputs, offered, reference.path, session)
    )
    session.progress(Event("calibrate", 1, 1, f"{result.windows} windows"))
    return Calibrated(_read(artifact.folder), result)


def find(
    offered: Offered, settings: Calibration, seed: int, reference_hash: str, session: Session
) -> Calibrated | None:
    """The set if the store has it; writes nothing."""
    inputs = inputs_of(offered, settings, seed, reference_hash, session.engine)
    found = session.peek("calibrate", inputs, CalibrationResult)
    return Calibrated(_read(found[1]), found[0]) if found else None


def _read(folder: Path) -> Tokens:
    with np.load(folder / FILE) as arrays:
        windows: Tokens = arrays["windows"]
        return windows


def _make(inputs: CalibrationInputs, offered: Offered, model: Path, session: Session, draft: Path) -> CalibrationResult:
    items = [item for source in offered.sources for item in source.items]
    owners = np.repeat(np.arange(len(offered.sources)), [len(s.items) for s in offered.sources])
    fates = sift(items, [t.content for t in offered.held_out])
    kept = np.flatnonzero(fates == Fate.KEPT).tolist()
    with Child("calibration", session.log("calibration")) as child:
        texts = tokenize_items(items, kept, model, child)
    fates[[i for i in kept if i not in texts.tokens]] = Fate.REFUSED
    _check_sources(offered, owners, fates, texts.written.refusal)
    shares = spread([s.weight for s in offered.mix.strata], [s.name not in offered.spread for s in offered.mix.strata])
    wanted = whole_parts(shares, inputs.tokens)
    drawn = _draw(inputs, owners, texts, wanted)
    packed = pack([texts.tokens[p.item][p.start : p.stop] for p in drawn], inputs.window_tokens, texts.facts.bos)
    _check_size(inputs, packed, fates)
    windows = packed.windows[np.random.default_rng([inputs.seed, 1]).permutation(len(packed.windows))]
    np.savez(draft / FILE, windows=windows)
    entries = _entries(offered, fates, texts, drawn, packed)
    return _result(_Made(inputs, offered, windows, shares, wanted, entries, texts))


def _draw(inputs: CalibrationInputs, owners: Places, texts: ItemTokens, wanted: Places) -> list[_Piece]:
    """What goes into the set: stratum after stratum, in random order within each; the largest comes last, since the
    rest that fills no window is dropped."""
    strata: list[list[_Piece]] = []
    for number, (stratum, budget) in enumerate(zip(inputs.strata, wanted, strict=True)):
        members = [k for k, s in enumerate(inputs.sources) if s.stratum == stratum.name]
        pieces = [_pieces(inputs, owners, texts, k) for k in members]
        lengths = [np.array([p.stop - p.start for p in own], np.int64) for own in pieces]
        shares = np.array([inputs.sources[k].share for k in members])
        given = fill(shares, [int(n.sum()) for n in lengths], int(budget))
        mine: list[_Piece] = []
        for k, own, n, part in zip(members, pieces, lengths, given, strict=True):
            chosen = choose(n, int(part), np.random.default_rng([inputs.seed, 0, k]))
            taken = zip(chosen.items, chosen.tokens, strict=True)
            mine += [own[i]._replace(stop=own[i].start + int(tokens)) for i, tokens in taken]
        order = np.random.default_rng([inputs.seed, 2, number]).permutation(len(mine))
        strata.append([mine[i] for i in order])
    strata.sort(key=lambda own: sum(p.stop - p.start for p in own))
    return [piece for own in strata for piece in own]


def _pieces(inputs: CalibrationInputs, owners: Places, texts: ItemTokens, source: int) -> list[_Piece]:
    longest = PIECE_WINDOWS * inputs.window_tokens
    places = [i for i in np.flatnonzero(owners == source).tolist() if i in texts.tokens]
    return [_Piece(i, start, stop) for i in places for start, stop in cut(len(texts.tokens[i]), longest)]


def _entries(offered: Offered, fates: Fates, texts: ItemTokens, drawn: Sequence[_Piece], packed: Packed) -> list[Entry]:
    counts = np.bincount(packed.owners[packed.owners >= 0], minlength=len(drawn))
    used: Counter[int] = Counter()
    for piece, count in zip(drawn, counts, strict=True):
        used[piece.item] += int(count)
    origins = [(item, source.stratum) for source in offered.sources for item in source.items]
    return [
        Entry(item, stratum, Fate(fates[i]), len(texts.tokens.get(i, ())), used[i])
        for i, (item, stratum) in enumerate(origins)
    ]


def _result(made: _Made) -> CalibrationResult:
    inputs, windows, facts = made.inputs, made.windows, made.texts.facts
    strata = coverage.strata_coverage(made.offered, made.shares, made.entries, made.wanted.tolist())
    seen, missing = coverage.special_tokens(windows, facts.control, facts.template)
    result = CalibrationResult(
        mix=inputs.mix,
        tokens=windows.size,
        windows=len(windows),
        window_tokens=inputs.window_tokens,
        content_hash=windows_hash(windows),
        chat_template=made.texts.written.kind,
        strata=strata,
        languages=coverage.languages(made.entries),
        lengths=coverage.lengths(made.entries),
        special_tokens=seen,
        special_tokens_missing=missing,
        notes=(),
        warnings=(),
    )
    notes = coverage.notes(made.offered, result, made.texts.written)
    warnings = coverage.warnings(made.entries, result, made.texts.written, inputs.tokens)
    return result.model_copy(update={"notes": notes, "warnings": warnings})


def _check_sources(offered: Offered, owners: Places, fates: Fates, refusal: str) -> None:
    """Every source gives something."""
    for k, source in enumerate(offered.sources):
        own = fates[owners == k]
        if not np.any(own == Fate.KEPT):
            because = f"; the template says: {refusal}" if np.any(own == Fate.REFUSED) else ""
            raise RecipeError(
                f"calibration source {source.name}: none of its {len(own)} items is left: {_losses(own)}{because}; "
                "give other texts, or leave it out"
            )


def _check_size(inputs: CalibrationInputs, packed: Packed, fates: Fates) -> None:
    if len(packed.windows) < LEAST_WINDOWS:
        kept = int(np.sum(fates == Fate.KEPT))
        raise RecipeError(
            f"the calibration set is too small: {len(packed.windows)} windows of {inputs.window_tokens} tokens from "
            f"{kept} items ({_losses(fates)}); {LEAST_WINDOWS} windows are needed, "
            f"{LEAST_WINDOWS * inputs.window_tokens:,} tokens: add texts, or lower calibration.window_tokens"
        )


def _losses(fates: Fates) -> str:
    counts = {fate: int(np.sum(fates == fate)) for fate in Fate}
    return (
        f"{counts[Fate.DUPLICATE]} duplicates, {counts[Fate.NEAR_DUPLICATE]} near-duplicates, "
        f"{counts[Fate.OVERLAPPING]} overlap with held-out texts, {counts[Fate.REFUSED]} refused by the chat template"
    )
