"""Files from the Hugging Face hub, through its own client and cache; HF_HOME, HF_TOKEN and HF_HUB_OFFLINE count.

The hub is asked once what a repository holds, so that a wrong name is answered with the right ones. If it cannot be
reached, what lies in the hub's cache is used.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from quantcurve.errors import PrerequisiteError, QuantcurveError, RecipeError

CONNECT_S = 10.0
NAMES_SHOWN = 10
_NAME = re.compile(r"^(?P<repository>[\w.-]+/[\w.-]+)(?:@(?P<revision>[^#\s]+))?(?:#(?P<file>.+))?$")

RepositoryType = Literal["model", "dataset"]


class HubName(NamedTuple):
    """OWNER/NAME[@REVISION][#FILE]."""

    repository: str
    revision: str
    file: str | None
    repository_type: RepositoryType = "model"

    def __str__(self) -> str:
        return f"hf:{self.repository}@{self.revision}" + (f"#{self.file}" if self.file else "")


def parse(text: str, repository_type: RepositoryType = "model") -> HubName | None:
    """What stands after `hf:`, None if it is malformed; the revision is `main` where none is given."""
    match = _NAME.match(text)
    if match is None:
        return None
    return HubName(match["repository"], match["revision"] or "main", match["file"], repository_type)


def nearest(name: str, names: Iterable[str]) -> str:
    """The names most like one that does not exist, comma-separated; empty if there are none."""
    by_lower = {n.lower(): n for n in names}
    return ", ".join(by_lower[n] for n in difflib.get_close_matches(name.lower(), by_lower, 3, 0.4))


def commit_of(path: Path) -> str | None:
    """Hash of the commit that a path in the hub's cache belongs to."""
    parts = path.parts
    places = [i for i, part in enumerate(parts[:-1]) if part == "snapshots"]
    return parts[places[-1] + 1] if places else None


def listing(name: HubName) -> list[str] | None:
    """The files of a revision as the hub lists them; None if the hub is out of reach or in offline mode.

    Raises:
        RecipeError: no such repository or revision.
        PrerequisiteError: access not granted.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    api = HfApi()
    ask = api.model_info if name.repository_type == "model" else api.dataset_info
    try:
        info = ask(name.repository, revision=name.revision, timeout=CONNECT_S)
    except HfHubHTTPError as error:
        if error.response is not None and error.response.status_code >= 500:
            return None
        raise _refused(name, error) from error
    except HFValidationError as error:
        raise RecipeError(f"{name}: {str(error).splitlines()[0]}") from error
    except Exception:  # offline mode, or a network error whose class depends on the client's HTTP library
        return None
    return [s.rfilename for s in info.siblings or ()]


def fetch_file(name: HubName) -> Path:
    """One file, from the cache or downloaded.

    Raises:
        RecipeError: no such repository, revision or file.
        PrerequisiteError: out of reach and not in the cache, or access not granted.
    """
    from huggingface_hub import hf_hub_download

    assert name.file
    files = listing(name)
    if files is not None and name.file not in files:
        kind = Path(name.file).suffix
        alike = sorted(f for f in files if f.endswith(kind))
        near = nearest(name.file, alike) or ", ".join(alike[:NAMES_SHOWN]) or f"no {kind} files"
        raise RecipeError(f"{name}: {name.repository} has no file {name.file}; it has {near}")
    try:
        return Path(
            hf_hub_download(
                name.repository,
                name.file,
                revision=name.revision,
                repo_type=name.repository_type,
                local_files_only=files is None,
            )
        )
    except Exception as error:
        raise _explained(name, error) from error


def fetch_folder(name: HubName, patterns: Sequence[str], ignored: Sequence[str], offline: bool) -> Path:
    """The files of a model's revision that match, in one folder.

    Args:
        name: the repository.
        patterns: of the names wanted.
        ignored: of the names not wanted all the same.
        offline: take only what is in the cache.

    Raises:
        PrerequisiteError: out of reach and not in the cache, or access not granted.
    """
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(
                name.repository,
                revision=name.revision,
                allow_patterns=list(patterns),
                ignore_patterns=list(ignored),
                local_files_only=offline,
            )
        )
    except Exception as error:
        raise _explained(name, error) from error


def _explained(name: HubName, error: Exception) -> QuantcurveError:
    """What a failed download means; network errors have classes that depend on the client's HTTP library."""
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    if isinstance(error, LocalEntryNotFoundError):
        return out_of_reach(name)
    if isinstance(error, HfHubHTTPError):
        return _refused(name, error)
    return PrerequisiteError(
        f"{name}: the download broke off ({type(error).__name__}: {error})",
        "run the same command again; the download goes on where it stopped",
    )


def out_of_reach(name: HubName) -> PrerequisiteError:
    """The error for what is neither in the cache nor to be had."""
    from huggingface_hub.constants import HF_HUB_CACHE, HF_HUB_OFFLINE

    why = "HF_HUB_OFFLINE is set" if HF_HUB_OFFLINE else "the hub cannot be reached"
    command = [*(["unset HF_HUB_OFFLINE;"] if HF_HUB_OFFLINE else []), "hf download", name.repository]
    command += [name.file] if name.file else []
    command += ["--repo-type dataset"] if name.repository_type == "dataset" else []
    command += ["--revision", name.revision] if name.revision != "main" else []
    return PrerequisiteError(
        f"{name}: {why}, and this revision is not, or not completely, in {HF_HUB_CACHE}",
        f"{' '.join(command)}   # needs the network once",
    )


def _refused(name: HubName, error: OSError) -> QuantcurveError:
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    if isinstance(error, GatedRepoError):
        return PrerequisiteError(
            f"{name}: {name.repository} is gated; accept its terms on its page, then log in", "hf auth login"
        )
    if isinstance(error, RepositoryNotFoundError):
        return RecipeError(
            f"{name}: the hub has no {name.repository_type} {name.repository}, or it is private; check the name, "
            "or log in with: hf auth login"
        )
    if isinstance(error, RevisionNotFoundError):
        return RecipeError(f"{name}: {name.repository} has no revision {name.revision}; leave @REVISION out for main")
    first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return PrerequisiteError(f"{name}: the hub refused: {first_line}", "hf auth whoami   # is the token still valid?")
