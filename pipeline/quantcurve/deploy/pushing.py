"""Uploads a bundle to the Hugging Face hub. The token comes from the environment; it is written and shown nowhere."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

from quantcurve import hub
from quantcurve.deploy import bundle
from quantcurve.deploy.bundle import BundleFile
from quantcurve.errors import BackendError, PrerequisiteError, QuantcurveError, RecipeError
from quantcurve.store_files import hash_of

TOKEN = "HF_TOKEN"
HIDDEN = "$HF_TOKEN"
"""What stands for the token, where a library has put it into a message."""
LOGIN = f"export {TOKEN}=...   # a token that may write, from https://huggingface.co/settings/tokens"


class Plan(NamedTuple):
    """What is to be uploaded."""

    folder: Path
    repository: str
    variant: str
    files: tuple[BundleFile, ...]

    @property
    def size_bytes(self) -> int:
        """Of all files."""
        return sum(file.size_bytes for file in self.files)


def plan(folder: Path, repository: str) -> Plan:
    """What would be uploaded: the files of the manifest, the manifest, and the file with its hash.

    Raises:
        RecipeError: there is no bundle, a file is not what the manifest says, or the repository's name is none.
    """
    name = hub.parse(repository)
    if name is None or name.repository != repository:
        raise RecipeError(f"{repository}: no name of a repository; write OWNER/NAME")
    manifest = bundle.read_manifest(folder)
    if broken := bundle.changed(folder, manifest):
        raise RecipeError(
            f"{folder}: not as it was written ({', '.join(broken[:3])}); `quantcurve verify {folder}` says more; "
            "nothing was sent"
        )
    own = [
        BundleFile(name=name, size_bytes=(folder / name).stat().st_size, sha256=hash_of(folder / name))
        for name in (bundle.MANIFEST, bundle.MANIFEST_HASH)
    ]
    return Plan(folder, repository, manifest.variant, (*manifest.files, *own))


def push(planned: Plan, private: bool, api: Any = None) -> str:
    """Upload; gives the repository's address.

    Args:
        planned: what to upload.
        private: whether a repository that is made is private.
        api: in place of the hub's client.

    Raises:
        PrerequisiteError: there is no token, or the hub is out of reach.
        BackendError: the hub refused.
    """
    from huggingface_hub import HfApi

    token = os.environ.get(TOKEN, "").strip()
    if not token:
        raise PrerequisiteError(f"{TOKEN} is not set: the hub takes uploads only with a token", LOGIN)
    client = api or HfApi(token=token)
    try:
        made = client.create_repo(planned.repository, private=private, repo_type="model", exist_ok=True)
        client.upload_folder(
            repo_id=planned.repository,
            folder_path=planned.folder,
            repo_type="model",
            allow_patterns=[file.name for file in planned.files],
            commit_message=f"{planned.variant}, deployed by quantcurve",
        )
    except Exception as error:  # network errors have classes that depend on the client's HTTP library
        raise _explained(planned.repository, error, token) from None
    return str(made)


def _explained(repository: str, error: Exception, token: str) -> QuantcurveError:
    """What a failed upload means, without the token."""
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    reason = (str(error).strip() or type(error).__name__).splitlines()[0].replace(token, HIDDEN)
    if isinstance(error, OfflineModeIsEnabled):
        return PrerequisiteError(f"{repository}: HF_HUB_OFFLINE is set", "unset HF_HUB_OFFLINE")
    if isinstance(error, HfHubHTTPError):
        return BackendError(f"{repository}: the hub refused: {reason}; see whether the token may write there")
    return PrerequisiteError(
        f"{repository}: the upload broke off ({type(error).__name__}: {reason})",
        "run the same command again; what has arrived is not sent twice",
    )
