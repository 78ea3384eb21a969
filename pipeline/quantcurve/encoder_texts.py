"""What an encoder is judged and calibrated on: graded pairs, a retrieval set, sentences; embedded ones, or files."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from quantcurve import resources, text_files
from quantcurve.encoder_recipe import (
    LEAST_PAIRS,
    LEAST_SENTENCES,
    CalibrationTexts,
    EncoderCalibration,
    LoadedEncoder,
    Retrieval,
    Similarity,
    at,
)
from quantcurve.engines.base import Doubles
from quantcurve.errors import PrerequisiteError, RecipeError
from quantcurve.near_duplicates import HeldOut, content_hash
from quantcurve.recipe_text import Text
from quantcurve.text_files import Record
from quantcurve.texts import manifest
from quantcurve.validation import Item

EMBEDDED = "embedded"
ALL = "all"
LEAST_QUERIES = 3
_REINSTALL = "pip install --force-reinstall quantcurve"


class Pairs(NamedTuple):
    """Pairs of sentences that people have graded."""

    source: str
    first: tuple[str, ...]
    second: tuple[str, ...]
    graded: Doubles
    """(n,)."""

    @property
    def items(self) -> list[Item]:
        """As a validation function gets them."""
        rows = zip(self.first, self.second, self.graded, strict=True)
        return [
            Item(i, self.source, record={"sentence1": a, "sentence2": b, "score": float(s)})
            for i, (a, b, s) in enumerate(rows)
        ]


class Query(NamedTuple):
    """A question, and where its answers are."""

    text: str
    domain: str
    relevant: frozenset[int]
    """Places of passages."""


class RetrievalSet(NamedTuple):
    """Queries over passages."""

    source: str
    passages: tuple[str, ...]
    queries: tuple[Query, ...]

    @property
    def domains(self) -> tuple[str, ...]:
        """Of the queries, in order."""
        return tuple(dict.fromkeys(q.domain for q in self.queries))


class Sentences(NamedTuple):
    """What is calibrated on."""

    source: str
    texts: tuple[str, ...]
    left_out: int
    """Those that share a passage with what the model is judged on."""

    @property
    def content_hash(self) -> str:
        """SHA-256 of the texts."""
        return hash_of(self.texts)


class EncoderTexts(NamedTuple):
    """Everything that a recipe names."""

    pairs: Pairs
    retrieval: RetrievalSet
    sentences: Sentences | None
    """None where no variant is calibrated."""

    @property
    def judged(self) -> list[str]:
        """All texts that the model is judged on, each once."""
        found = (
            *self.pairs.first,
            *self.pairs.second,
            *self.retrieval.passages,
            *(q.text for q in self.retrieval.queries),
        )
        return list(dict.fromkeys(found))


def load_texts(loaded: LoadedEncoder) -> EncoderTexts:
    """Read all texts of a recipe.

    Raises:
        RecipeError: one cannot be read, lacks a field, or holds too little.
        PrerequisiteError: a package or the hub is missing.
    """
    recipe, base = loaded.recipe, loaded.path.parent
    with at(loaded, "similarity", "source"):
        pairs = load_pairs(recipe.similarity, base, recipe.seed)
    with at(loaded, "retrieval", "source"):
        retrieval = load_retrieval(recipe.retrieval, base)
    found = EncoderTexts(pairs, retrieval, None)
    if not any(v.data_aware for v in recipe.variants.openvino):
        return found
    with at(loaded, "calibration"):
        return found._replace(sentences=load_sentences(recipe.calibration, base, recipe.seed, found.judged))


def load_pairs(settings: Similarity, base: Path, seed: int) -> Pairs:
    """Graded pairs; with a limit, a seeded sample of them.

    Raises:
        RecipeError: it cannot be read, lacks a field, or has too few pairs.
        PrerequisiteError: a package or the hub is missing.
    """
    records = _records("similarity", settings.source, base)
    first, second = (_texts(records, field) for field in (settings.sentence1, settings.sentence2))
    graded = np.array([_number(record, settings.score) for record in records])
    if len(records) < LEAST_PAIRS:
        raise RecipeError(f"{settings.source} has {len(records)} pairs; a rank correlation needs {LEAST_PAIRS}")
    kept = np.arange(len(records))
    if settings.limit and settings.limit < len(records):
        kept = np.sort(np.random.default_rng(seed).choice(len(records), settings.limit, replace=False))
    return Pairs(settings.source, tuple(first[i] for i in kept), tuple(second[i] for i in kept), graded[kept])


def load_retrieval(settings: Retrieval, base: Path) -> RetrievalSet:
    """Queries and passages.

    Raises:
        RecipeError: it cannot be read, a record is neither, a query names a passage that is not there, or there are too
            few.
        PrerequisiteError: a package or the hub is missing.
    """
    records = _records("retrieval", settings.source, base)
    places: dict[str, int] = {}
    passages: list[str] = []
    asked: list[Record] = []
    for record in records:
        row = record.row if isinstance(record.row, dict) else {}
        if "query" in row:
            asked.append(record)
            continue
        name = str(_value(record, "id"))
        if name in places:
            raise RecipeError(
                f"{record.path}:{record.number}: a second passage {name!r}; give every passage its own id"
            )
        places[name] = len(passages)
        passages.append(_text(record, "passage"))
    queries = tuple(_query(record, places) for record in asked)
    if len(queries) < LEAST_QUERIES or len(passages) < 2:
        raise RecipeError(
            f"{settings.source} has {len(queries)} queries and {len(passages)} passages; at least "
            f"{LEAST_QUERIES} and 2 are needed"
        )
    return RetrievalSet(settings.source, tuple(passages), queries)


def load_sentences(settings: EncoderCalibration, base: Path, seed: int, judged: Sequence[str]) -> Sentences:
    """The calibration set: a seeded sample of all sources, without what the model is judged on.

    Args:
        settings: sources and size.
        base: folder that relative paths start from.
        seed: of the sample.
        judged: what it must be disjoint from.

    Raises:
        RecipeError: a source cannot be read, or too little is left.
        PrerequisiteError: a package or the hub is missing.
    """
    apart = HeldOut(judged)
    read = [text.strip() for source in settings.sources for text in _source_texts(source, base) if text.strip()]
    distinct = list({content_hash(text): text for text in read}.values())
    kept = [text for text in distinct if not apart.overlaps(text)]
    names = ", ".join(s.source for s in settings.sources)
    left_out = len(distinct) - len(kept)
    if len(kept) < LEAST_SENTENCES:
        raise RecipeError(
            f"{names}: {len(kept)} sentences are left to calibrate on ({left_out} share a passage with what the model "
            f"is judged on); {LEAST_SENTENCES} are needed: add other texts"
        )
    chosen = np.sort(np.random.default_rng(seed).permutation(len(kept))[: settings.sentences])
    return Sentences(names, tuple(kept[i] for i in chosen), left_out)


def hash_of(texts: Iterable[Any]) -> str:
    """SHA-256 of texts and numbers in their order."""
    return hashlib.sha256(json.dumps(list(texts), ensure_ascii=True).encode()).hexdigest()


def _source_texts(source: CalibrationTexts, base: Path) -> list[str]:
    return _texts(_records("calibration", source.source, base), source.field)


def _records(name: str, source: str, base: Path) -> list[Record]:
    scheme, _, rest = source.partition(":")
    if scheme == EMBEDDED:
        return _embedded(rest)
    found = text_files.read(Text(name=name, source=source), base)
    if isinstance(found, str):
        raise RecipeError(f"{source} is plain text; give records: a JSONL, JSON or Parquet file")
    if not found:
        raise RecipeError(f"{source} is empty")
    return found


def _embedded(name: str) -> list[Record]:
    files = {Path(f.path).stem: f for f in manifest().encoder}
    if name not in files:
        raise RecipeError(f"no embedded set {name!r}; there are {', '.join(files)}, or name a file")
    path = resources.folder("calib") / files[name].path
    try:
        raw = path.read_bytes()
    except OSError as error:
        lost = f"embedded set {name}: {path} cannot be read ({error.strerror})"
        raise PrerequisiteError(lost, _REINSTALL) from error
    if hashlib.sha256(raw).hexdigest() != files[name].sha256:
        raise PrerequisiteError(f"embedded set {name} was changed: its hash is not the manifest's", _REINSTALL)
    return [Record(path, number, json.loads(line)) for number, line in enumerate(raw.splitlines(), 1)]


def _query(record: Record, places: dict[str, int]) -> Query:
    relevant = _value(record, "relevant")
    names = [str(n) for n in relevant] if isinstance(relevant, list) else []
    unknown = [n for n in names if n not in places]
    if not names or unknown:
        what = f"there is no passage {unknown[0]!r}" if unknown else "relevant must be a list of passages' ids"
        raise RecipeError(f"{record.path}:{record.number}: {what}")
    domain = str(record.row.get("domain", ALL))
    return Query(_text(record, "query"), domain, frozenset(places[n] for n in names))


def _texts(records: Sequence[Record], field: str) -> list[str]:
    return [_text(record, field) for record in records]


def _text(record: Record, field: str) -> str:
    value = _value(record, field)
    if not isinstance(value, str) or not value.strip():
        raise RecipeError(f"{record.path}:{record.number}: field {field!r} must be a text (got {value!r:.60})")
    return value


def _number(record: Record, field: str) -> float:
    value = _value(record, field)
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise RecipeError(f"{record.path}:{record.number}: field {field!r} must be a number (got {value!r:.60})")
    return number


def _value(record: Record, field: str) -> Any:
    here = record.row
    for part in field.split("."):
        if not isinstance(here, dict) or part not in here:
            keys = ", ".join(here) if isinstance(here, dict) else type(here).__name__
            raise RecipeError(f"{record.path}:{record.number}: no field {field!r} (there is: {keys})")
        here = here[part]
    return here
