"""Where a model comes from: an installed Python package, a local file or folder, or the Hugging Face hub."""

from __future__ import annotations

import fnmatch
import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, NamedTuple

from quantcurve import hub
from quantcurve.errors import PrerequisiteError, RecipeError
from quantcurve.store import HashFile

FORMS = """package:MODULE/FILE.gguf            a file inside an installed Python package
    package:MODULE/FOLDER               a Hugging Face folder inside one
    FILE.gguf                           a local GGUF file, relative to the recipe
    FOLDER                              a local Hugging Face folder (config.json and weights)
    hf:OWNER/NAME[@REVISION][#FILE.gguf]    a repository on the Hugging Face hub, or one GGUF file of it"""
TEXT_PATTERNS = ("*.json", "*.jinja", "*.model", "*.tiktoken", "merges.txt", "vocab.txt")
WEIGHT_PATTERNS = ("*.safetensors", "pytorch_model*.bin")
IGNORED_PATTERNS = ("*/*", "consolidated*", "training_args*", "optimizer*", "adapter_*")
_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]+):")
_SHARD = re.compile(r"-\d{5}-of-0*(\d+)\.gguf$", re.I)


class Located(NamedTuple):
    """A model on this machine's disk."""

    kind: Literal["gguf", "hf_folder"]
    path: Path
    """A GGUF file, or a folder with config.json, tokenizer and weights."""
    description: str
    """The source as the recipe names it; for the hub with the commit's hash."""


def locate(source: str, base: Path) -> Located:
    """Find a model, downloading it if it is on the hub and not yet in the hub's cache.

    Args:
        source: one of `FORMS`.
        base: folder that local paths are relative to (the recipe's).

    Raises:
        RecipeError: unknown form; no such file, repository or revision.
        PrerequisiteError: package not installed; hub out of reach or access not granted.
    """
    scheme = _SCHEME.match(source)
    if scheme is None:
        return _local(source, base)
    rest = source[scheme.end() :]
    if scheme[1] == "package":
        return _packaged(source, rest)
    if scheme[1] == "hf":
        return _on_hub(source, rest)
    raise RecipeError(f"model source {source!r}: unknown form {scheme[1]!r}; use one of\n    {FORMS}")


def locate_folder(source: str, base: Path) -> Located:
    """Find a model that must be a Hugging Face folder; see `locate`.

    Raises:
        RecipeError: as `locate`, or it is a GGUF file.
        PrerequisiteError: as `locate`.
    """
    located = locate(source, base)
    if located.kind != "hf_folder":
        raise RecipeError(
            f"model source {source!r}: a GGUF file; an embedding model is needed as a Hugging Face folder: name a "
            "folder, package:MODULE/FOLDER, or hf:OWNER/NAME"
        )
    return located


def fetch_beside(located: Located, names: Sequence[str]) -> list[Path]:
    """Files in folders below a model's own, which `locate` does not fetch from the hub; those that it has.

    Args:
        located: a Hugging Face folder.
        names: of the files, relative to it.

    Raises:
        PrerequisiteError: out of reach and not in the hub's cache.
    """
    scheme = _SCHEME.match(located.description)
    name = hub.parse(located.description[scheme.end() :]) if scheme and scheme[1] == "hf" else None
    found = []
    for file in names:
        if name and not (located.path / file).is_file():
            try:
                hub.fetch_file(name._replace(file=file))
            except RecipeError:
                continue  # the repository has no such file
        if (located.path / file).is_file():
            found.append(located.path / file)
    return found


def download_file(repository: str, file: str, repo_type: hub.RepositoryType = "model") -> Path:
    """One file of a repository on the hub, from its cache or downloaded.

    Args:
        repository: OWNER/NAME[@REVISION].
        file: name inside the repository.
        repo_type: kind of repository.

    Raises:
        RecipeError: no such repository, revision or file.
        PrerequisiteError: out of reach and not in the cache, or access not granted.
    """
    name = hub.parse(f"{repository}#{file}", repo_type)
    if name is None:
        raise RecipeError(f"hf:{repository}#{file}: write hf:OWNER/NAME[@REVISION]#FILE")
    return hub.fetch_file(name)


def content_hash(located: Located, hash_file: HashFile) -> str:
    """SHA-256 of a model: of the GGUF file, or of the names and hashes of the folder's config, tokenizer and weights.

    Args:
        located: the model.
        hash_file: gives the SHA-256 of a file (the store's memo makes this cheap).
    """
    if located.kind == "gguf":
        return hash_file(located.path)
    lines = (f"{path.name} {hash_file(path)}\n" for path in model_files(located.path))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def model_files(folder: Path) -> list[Path]:
    """Config, tokenizer and weight files of a Hugging Face folder; pickled weights only if there are no others."""
    names = [p.name for p in folder.iterdir() if p.is_file()]
    return [folder / name for name in sorted(_wanted(names))]


def _wanted(names: Iterable[str]) -> list[str]:
    useful = [n for n in names if not _matches(n, IGNORED_PATTERNS)]
    texts = [n for n in useful if _matches(n, TEXT_PATTERNS)]
    weights = next((w for p in WEIGHT_PATTERNS if (w := [n for n in useful if fnmatch.fnmatch(n, p)])), [])
    return texts + weights


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatch(name, p) for p in patterns)


def _packaged(source: str, rest: str) -> Located:
    module, _, file = rest.partition("/")
    if not module.isidentifier() or not file:
        raise RecipeError(f"model source {source!r}: write package:MODULE/FILE.gguf or package:MODULE/FOLDER")
    spec = find_spec(module) if module != "__main__" else None  # which has none, and says so by a ValueError
    if spec is None:
        raise PrerequisiteError(
            f"model source {source!r}: the Python package {module} is not installed",
            f"pip install {module.replace('_', '-')}",
        )
    folders = [Path(place) for place in spec.submodule_search_locations or ()]
    found = next((f / file for f in folders if (f / file).exists()), None)
    if found is None or (found.is_file() and found.suffix.lower() != ".gguf"):
        there = sorted(str(p.relative_to(f)) for f in folders for p in f.rglob("*.gguf"))
        models = ((f, p.parent) for f in folders for p in f.rglob("config.json") if _is_model(p.parent))
        there += sorted(str(model.relative_to(f)) for f, model in models)
        what = f"no file {file}" if found is None else f"{file}, which is neither a GGUF file nor a folder"
        raise RecipeError(
            f"model source {source!r}: package {module} has {what}; "
            + (f"it has {', '.join(there)}" if there else "it has no models")
        )
    if found.is_dir():
        return Located("hf_folder", _checked_folder(found, source), source)
    return Located("gguf", _one_piece(found, source), source)


def _is_model(folder: Path) -> bool:
    return not _folder_problem(p.name for p in folder.iterdir())


def _local(source: str, base: Path) -> Located:
    try:
        path = Path(os.path.normpath(base / Path(source).expanduser()))
        path.stat()
    except FileNotFoundError:
        pass
    except (OSError, RuntimeError) as error:  # RuntimeError: ~ without a home
        raise RecipeError(f"model source {source!r}: cannot be looked up ({error}); write the path out") from error
    if path.is_dir():
        return Located("hf_folder", _checked_folder(path, source), source)
    if not path.is_file():
        raise RecipeError(f"model source {source!r}: there is no {path}; {_nearby(path)}")
    if path.suffix.lower() != ".gguf":
        raise RecipeError(
            f"model source {source!r}: {path.name} is not a .gguf file; for a Hugging Face model name its folder"
        )
    return Located("gguf", _one_piece(path, source), source)


def _one_piece(path: Path, source: str) -> Path:
    shards = _SHARD.search(path.name)
    if shards and int(shards[1]) > 1:
        raise RecipeError(
            f"model source {source!r}: this is one of {int(shards[1])} pieces; "
            "join them first: llama-gguf-split --merge FIRST_PIECE.gguf WHOLE.gguf"
        )
    return path


def _checked_folder(folder: Path, source: str) -> Path:
    names = [p.name for p in folder.iterdir()]
    problem = _folder_problem(names) or _missing_pieces(folder)
    if problem:
        ggufs = sorted(n for n in names if n.lower().endswith(".gguf"))
        hint = f"it has GGUF files, name one: {', '.join(ggufs)}" if ggufs else "a Hugging Face folder is needed"
        raise RecipeError(f"model source {source!r}: {folder} has {problem}; {hint}")
    return folder


def _folder_problem(names: Iterable[str]) -> str | None:
    """What keeps a listing of files from being a Hugging Face model, None if nothing does."""
    wanted = _wanted(names)
    if "config.json" not in wanted:
        return "no config.json"
    if not any(_matches(n, WEIGHT_PATTERNS) for n in wanted):
        return "no weights (*.safetensors or pytorch_model*.bin)"
    return None


def _missing_pieces(folder: Path) -> str | None:
    """Pieces of the weights that their index names and that are not there."""
    index = next((p for p in model_files(folder) if p.name.endswith(".index.json")), None)
    if index is None:
        return None
    pieces = set(re.findall(r'"([^"/]+\.(?:safetensors|bin))"', index.read_text("utf-8", "replace")))
    gone = sorted(p for p in pieces if not (folder / p).is_file())
    return f"only {len(pieces) - len(gone)} of {len(pieces)} weight files ({gone[0]} is missing)" if gone else None


def _nearby(path: Path) -> str:
    """The nearest existing names in a missing path's folder."""
    folder = path.parent
    while not folder.is_dir():
        path, folder = folder, folder.parent
    names = [p.name for p in folder.iterdir() if p.is_dir() or p.suffix.lower() == ".gguf"]
    near = hub.nearest(path.name, names)
    return f"in {folder} there is {near}" if near else f"{folder} has nothing like it"


def _on_hub(source: str, rest: str) -> Located:
    name = hub.parse(rest)
    if name is None:
        raise RecipeError(f"model source {source!r}: write hf:OWNER/NAME[@REVISION][#FILE.gguf]")
    if name.file is None:
        folder = _checked_folder(_hub_folder(source, name), source)
        return Located("hf_folder", folder, _with_commit(name, folder))
    if not name.file.lower().endswith(".gguf"):
        raise RecipeError(f"model source {source!r}: {name.file} is not a .gguf file; leave #FILE out for the folder")
    _one_piece(Path(name.file), source)
    path = hub.fetch_file(name)
    return Located("gguf", path, _with_commit(name, path))


def _hub_folder(source: str, name: hub.HubName) -> Path:
    """Config, tokenizer and weights of a repository in the hub's cache; pickled weights only if there are no others."""
    files = hub.listing(name)
    problem = _folder_problem(files) if files is not None else None
    if files is not None and problem:
        ggufs = sorted(f for f in files if f.lower().endswith(".gguf"))
        hint = f"; it has GGUF files, add one: #{' #'.join(ggufs[: hub.NAMES_SHOWN])}" if ggufs else ""
        raise RecipeError(f"model source {source!r}: {name.repository} has {problem}{hint}")
    for weights in WEIGHT_PATTERNS:
        folder = hub.fetch_folder(name, [*TEXT_PATTERNS, weights], IGNORED_PATTERNS, offline=files is None)
        if not _folder_problem(p.name for p in folder.iterdir()):
            return folder
    raise hub.out_of_reach(name)


def _with_commit(name: hub.HubName, path: Path) -> str:
    return str(name._replace(revision=hub.commit_of(path) or name.revision))
