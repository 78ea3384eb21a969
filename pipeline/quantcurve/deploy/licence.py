"""The licence of the reference: as its GGUF file or its model card says, with a licence text that lies beside it."""

from __future__ import annotations

import shutil
from pathlib import Path

from quantcurve.deploy import gguf_copy
from quantcurve.deploy.bundle import License
from quantcurve.deploy.source import Source

TEXTS = ("LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE", "COPYING")
COPIED = "LICENSE"


def carried_over(source: Source, draft: Path) -> License:
    """What is known of the licence; a text of it is copied into the bundle.

    Raises:
        ModelFileError: the reference cannot be read.
    """
    found = of_card(source.original) if source.original else License()
    if found.name is None:
        path = source.path if source.path.is_file() else source.reference
        fields = gguf_copy.license_fields(path) if path else {}
        name, title, link = (fields.get(key) for key in gguf_copy.LICENSE_KEYS)
        found = License(name=name, title=title, link=link)
    text = next((p for name in TEXTS if source.original and (p := source.original / name).is_file()), None)
    if text:
        shutil.copyfile(text, draft / COPIED)
        return found.model_copy(update={"file": COPIED})
    return found


def of_card(folder: Path) -> License:
    """By the front matter of the README.md in a Hugging Face folder."""
    from huggingface_hub import ModelCard

    try:
        data = ModelCard.load(folder / "README.md", ignore_metadata_errors=True).data.to_dict()
    except (OSError, ValueError):
        return License()
    name, title, link = (data.get(key) for key in ("license", "license_name", "license_link"))
    told = {"name": name, "title": title, "link": link}
    return License.model_validate({key: value for key, value in told.items() if isinstance(value, str)})
