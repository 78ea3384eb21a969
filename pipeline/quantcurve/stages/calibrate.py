"""The calibration set: one table of windows for the importance matrix and for NNCF, drawn from strata by a mix."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quantcurve import calibration_coverage as coverage
from quantcurve.calibration import LEAST_WINDOWS, Calibration, CalibrationResult
from quantcurve.calibration_coverage import Entry, Facts
from quantcurve.calibration_items import Item, Offered
from quantcurve.calibration_sampling import Packed, choose, fill, pack, spread, whole_parts
from quantcurve.calibration_sift import Fate, sift
from quantcurve.chat_template import ChatTemplate, TemplateRefusedError, adapt
from quantcurve.engines.base import Doubles, Tokens
from quantcurve.engines.child import Child
from quantcurve.errors import RecipeError
from quantcurve.records import EngineIdentity, Frozen
from quantcurve.session import Event, Session
from quantcurve.stages.resolve import Reference
from quantcurve.stages.tokenize import windows_hash

FILE = "windows.npz"
Places = NDArray[np.int64]


class SourceInputs(Frozen):
    """A source in the key of a calibration set."""

    name: str
    stratum: str
    share: float
    content_hash: str


class StratumInputs(Frozen):
    """A stratum in the key of a calibration set."""

    name: str
    weight: float


class CalibrationInputs(Frozen):
    """Key of a calibration set."""

    version: Literal[1] = 1
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


class _Texts(NamedTuple):
    """Items as the model's tokenizer has them."""

    tokens: dict[int, Tokens]
    """By place among all items; none for one that the template refuses."""
    bos: int | None
    control: dict[int, str]
    template: str | None
    kind: Literal["model", "none", "unreadable"]
    adapted: int
    left_out: int
    refusal: str


def inputs_of(
    offered: Offered, settings: Calibration, seed: int, reference_hash: str, engine: EngineIdentity
) -> CalibrationInputs:
    """Key of a calibration set."""
    return CalibrationInputs(
        reference_hash=reference_hash,
        mix=offered.mix_name,
        strata=tuple(StratumInputs(name=s.name, weight=s.weight) for s in offered.mix.strata),
        sources=tuple(
            SourceInputs(name=s.name, stratum=s.stratum, share=s.share, content_hash=s.content_hash())
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
    with Child("calibration", session.log("calibration")) as child:
        texts = _tokenize(items, np.flatnonzero(fates == Fate.KEPT).tolist(), model, child)
    fates[[i for i in np.flatnonzero(fates == Fate.KEPT) if i not in texts.tokens]] = Fate.REFUSED
    _check_sources(offered, owners, fates, texts)
    shares = spread([s.weight for s in offered.mix.strata], [s.name not in offered.spread for s in offered.mix.strata])
    wanted = whole_parts(shares, inputs.tokens)
    drawn = _draw(inputs, owners, texts, wanted)
    packed = pack([texts.tokens[i][:n] for i, n in drawn], inputs.window_tokens, texts.bos)
    _check_size(inputs, packed, fates)
    order = np.random.default_rng([inputs.seed, 1]).permutation(len(packed.windows))
    np.savez(draft / FILE, windows=packed.windows[order])
    entries = _entries(items, [offered.sources[o].stratum for o in owners], fates, texts, drawn, packed)
    facts = Facts(texts.adapted, texts.left_out, texts.refusal, inputs.tokens)
    return _result(inputs, offered, texts, packed.windows[order], shares, wanted.tolist(), entries, facts)


def _tokenize(items: Sequence[Item], kept: Sequence[int], model: Path, child: Child) -> _Texts:
    from quantcurve.engines import llamacpp_files

    facts = child.call(llamacpp_files.chat_facts, model)
    template, kind, refusal = None, "none", ""
    if facts.template:
        try:
            template, kind = ChatTemplate(facts.template, facts.bos_text, facts.eos_text), "model"
        except TemplateRefusedError as error:
            kind, refusal = "unreadable", str(error)
    written: dict[int, str] = {}
    plain: dict[int, str] = {}
    adapted = left_out = 0
    for i in kept:
        item = items[i]
        if not item.messages or template is None:
            plain[i] = item.text or "\n\n".join(m["content"] for m in adapt(item.messages)) + "\n"
            continue
        try:
            rendered = template.render_any(item.messages, item.tools)
        except TemplateRefusedError as error:
            refusal = str(error)
            continue
        written[i] = rendered.text
        adapted, left_out = adapted + rendered.adapted, left_out + bool(rendered.left_out)
        refusal = rendered.refusal or refusal
    tokens: dict[int, Tokens] = {}
    for texts, parse_special in ((written, True), (plain, False)):
        if texts:
            ids = child.call(llamacpp_files.tokenize, model, list(texts.values()), parse_special)
            tokens |= {i: _one_bos(t, facts.bos) for i, t in zip(texts, ids, strict=True) if len(t)}
    return _Texts(tokens, facts.bos, facts.control, facts.template, kind, adapted, left_out, refusal)  # type: ignore[arg-type]


def _one_bos(tokens: Tokens, bos: int | None) -> Tokens:
    """Without the BOS token that the tokenizer put before the template's own."""
    return tokens[1:] if bos is not None and len(tokens) > 1 and tokens[0] == tokens[1] == bos else tokens


def _draw(inputs: CalibrationInputs, owners: Places, texts: _Texts, wanted: Places) -> list[tuple[int, int]]:
    """Places of the items in the set and how many tokens of each, by stratum, in random order within each."""
    drawn: list[tuple[int, int]] = []
    for number, (stratum, budget) in enumerate(zip(inputs.strata, wanted, strict=True)):
        members = [k for k, s in enumerate(inputs.sources) if s.stratum == stratum.name]
        places = [[i for i in np.flatnonzero(owners == k).tolist() if i in texts.tokens] for k in members]
        lengths = [np.array([len(texts.tokens[i]) for i in own], np.int64) for own in places]
        shares = np.array([inputs.sources[k].share for k in members])
        given = fill(shares, [int(n.sum()) for n in lengths], int(budget))
        mine: list[tuple[int, int]] = []
        for k, own, n, part in zip(members, places, lengths, given, strict=True):
            chosen = choose(n, int(part), np.random.default_rng([inputs.seed, 0, k]))
            mine += [(own[i], int(t)) for i, t in zip(chosen.items, chosen.tokens, strict=True)]
        order = np.random.default_rng([inputs.seed, 2, number]).permutation(len(mine))
        drawn += [mine[i] for i in order]
    return drawn


def _entries(
    items: Sequence[Item],
    strata: Sequence[str],
    fates: NDArray[np.int8],
    texts: _Texts,
    drawn: Sequence[tuple[int, int]],
    packed: Packed,
) -> list[Entry]:
    counts = np.bincount(packed.owners[packed.owners >= 0], minlength=len(drawn))
    used = {place: int(n) for (place, _), n in zip(drawn, counts, strict=True)}
    return [
        Entry(item, stratum, Fate(fates[i]), len(texts.tokens.get(i, ())), used.get(i, 0))
        for i, (item, stratum) in enumerate(zip(items, strata, strict=True))
    ]


def _result(
    inputs: CalibrationInputs,
    offered: Offered,
    texts: _Texts,
    windows: Tokens,
    shares: Doubles,
    wanted: Sequence[int],
    entries: Sequence[Entry],
    facts: Facts,
) -> CalibrationResult:
    strata = coverage.strata_coverage(offered, shares, entries, wanted)
    seen, missing = coverage.special_tokens(windows, texts.control, texts.template)
    result = CalibrationResult(
        mix=inputs.mix,
        tokens=windows.size,
        windows=len(windows),
        window_tokens=inputs.window_tokens,
        content_hash=windows_hash(windows),
        chat_template=texts.kind,
        strata=strata,
        languages=coverage.languages(entries),
        lengths=coverage.lengths(entries),
        special_tokens=seen,
        special_tokens_missing=missing,
        notes=coverage.notes(offered, strata, texts.kind, facts),
        warnings=(),
    )
    return result.model_copy(update={"warnings": coverage.warnings(entries, result, facts)})


def _check_sources(offered: Offered, owners: Places, fates: NDArray[np.int8], texts: _Texts) -> None:
    """Every source gives something."""
    for k, source in enumerate(offered.sources):
        own = fates[owners == k]
        if not np.any(own == Fate.KEPT):
            because = f"; the template says: {texts.refusal}" if np.any(own == Fate.REFUSED) else ""
            raise RecipeError(
                f"calibration source {source.name}: none of its {len(own)} items is left: {_losses(own)}{because}; "
                "give other texts, or leave it out"
            )


def _check_size(inputs: CalibrationInputs, packed: Packed, fates: NDArray[np.int8]) -> None:
    if len(packed.windows) < LEAST_WINDOWS:
        kept = int(np.sum(fates == Fate.KEPT))
        raise RecipeError(
            f"the calibration set is too small: {len(packed.windows)} windows of {inputs.window_tokens} tokens from "
            f"{kept} items ({_losses(fates)}); {LEAST_WINDOWS} windows are needed, "
            f"{LEAST_WINDOWS * inputs.window_tokens:,} tokens: add texts, or lower calibration.window_tokens"
        )


def _losses(fates: NDArray[np.int8]) -> str:
    counts = {fate: int(np.sum(fates == fate)) for fate in Fate}
    return (
        f"{counts[Fate.DUPLICATE]} duplicates, {counts[Fate.NEAR_DUPLICATE]} near-duplicates, "
        f"{counts[Fate.OVERLAPPING]} overlap with held-out texts, {counts[Fate.REFUSED]} refused by the chat template"
    )
