"""Whether a variant is deployed with the reference's chat template, vocabulary and end tokens.

The scorecard writes all prompts with the reference's own, so that every model gets the same tokens. What a variant's
file brings is what it will be run with: if that is another, figures of it would be of a model that nobody deploys. Such
a variant is not asked, and its verdict is `fail`, not `not evaluated`: a run that ends well must not hide it.

Of a GGUF file every field that begins with `tokenizer.` is compared. Of an IR's folder the chat template beside it and
the one in openvino_tokenizer.xml, which GenAI takes; that it ends at the reference's end token; and the ids of
adversarial strings (tokenizer_gate has compared the same tokenizers on whole texts). A chat template is compared where
the reference has one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

from quantcurve.engines import gguf_settings
from quantcurve.engines.base import CacheTypes
from quantcurve.engines.child import Child
from quantcurve.engines.gguf_settings import TextFields
from quantcurve.engines.text_side import TOKENIZER, TextSide
from quantcurve.engines.tokenizer_lanes import OPENVINO_TOKENIZER
from quantcurve.errors import ModelFileError, printable
from quantcurve.records import Frozen
from quantcurve.session import Session
from quantcurve.stages.adversarial import ADVERSARIAL
from quantcurve.stages.scoring import Model

STAGE = "scorecard"
TEMPLATE, EOS = "tokenizer.chat_template", "tokenizer.ggml.eos_token_id"
CHARACTERS_SHOWN = 40
IDS_SHOWN = 12


class SettingsInputs(Frozen):
    """Key of what a GGUF file says of texts."""

    version: Literal[1] = 1
    content_hash: str


def mismatch(variant: Model, reference: Model, text: TextSide, session: Session) -> str:
    """The first setting of a variant that is not the reference's, in words; empty if there is none.

    Args:
        variant: of either lane.
        reference: a GGUF file.
        text: its tokenizer.
        session: the run's surroundings.

    Raises:
        BackendError: the variant's file, or one beside its IR, cannot be read.
    """
    wanted = _of_gguf(reference, session).fields
    if isinstance(variant.runtime, CacheTypes):
        return _fields(_of_gguf(variant, session).fields, wanted)
    beside = TextSide(variant.path)
    return _of_folder(beside, wanted.get(TEMPLATE)) or _ends(beside, wanted.get(EOS)) or _ids(beside, text)


def template_of_ir(folder: Path) -> str | None:
    """The chat template that openvino_tokenizer.xml has; None if it has none, or is not there.

    Raises:
        ModelFileError: it cannot be read.
    """
    path = folder / OPENVINO_TOKENIZER
    try:
        node = ElementTree.parse(path).find("./rt_info/chat_template")
    except FileNotFoundError:
        return None
    except (OSError, ElementTree.ParseError) as error:
        raise ModelFileError(f"{path}: cannot be read: {error}; export the model again") from error
    return None if node is None else node.get("value")


def _of_folder(beside: TextSide, wanted: str | None) -> str:
    if wanted is None:
        return ""
    if found := _template("its chat template", beside.template_source, wanted):
        return found
    in_ir = template_of_ir(beside.path)
    return "" if in_ir is None else _template(f"the chat template in its {OPENVINO_TOKENIZER}", in_ir, wanted)


def _of_gguf(model: Model, session: Session) -> TextFields:
    def make(folder: Path) -> TextFields:
        with Child("settings", session.log("settings")) as child:
            return child.call(gguf_settings.text_fields, model.path)

    return session.make(STAGE, SettingsInputs(content_hash=model.content_hash), TextFields, make)[0]


def _fields(found: dict[str, str], wanted: dict[str, str]) -> str:
    names = sorted(found.keys() | wanted.keys(), key=lambda name: (not name.startswith(TEMPLATE), name))
    for name in names:
        if name.startswith(TEMPLATE):
            compared = TEMPLATE in wanted
            what = "its chat template" if name == TEMPLATE else f"its {name}"
            if compared and (said := _template(what, found.get(name), wanted.get(name))):
                return said
        elif found.get(name) != wanted.get(name):
            return f"its {name} is {_shown(found.get(name))}, and the reference's {_shown(wanted.get(name))}"
    return ""


def _template(what: str, found: str | None, wanted: str | None) -> str:
    if found == wanted:
        return ""
    if found is None or wanted is None:
        return f"{what} is not there" if found is None else f"{what} is one that the reference does not have"
    differences = (i for i, (a, b) in enumerate(zip(found, wanted, strict=False)) if a != b)
    place = next(differences, min(len(found), len(wanted)))
    shown = [_excerpt(one[place:]) for one in (found, wanted)]
    return f"{what} is not the reference's, first difference at character {place + 1}: {shown[0]} against {shown[1]}"


def _excerpt(rest: str) -> str:
    return repr(printable(rest, CHARACTERS_SHOWN)) if rest else "its end"


def _shown(value: str | None) -> str:
    return "not there" if value is None else printable(value, CHARACTERS_SHOWN) or "empty"


def _ends(beside: TextSide, eos: str | None) -> str:
    if eos is None or int(eos) in beside.ends:
        return ""
    ends = ", ".join(map(str, sorted(beside.ends))) or "no token"
    return f"its answers end at {ends}, and the reference's at {eos}"


def _ids(beside: TextSide, text: TextSide) -> str:
    files = [side.path / TOKENIZER for side in (beside, text)]
    if all(file.is_file() for file in files) and files[0].read_bytes() == files[1].read_bytes():
        return ""
    for string in ADVERSARIAL:
        ids = [side.encode(string) for side in (beside, text)]
        if ids[0] != ids[1]:
            shown = [f"{one[:IDS_SHOWN]}{'…' * (len(one) > IDS_SHOWN)}" for one in ids]
            return f"its tokenizer makes {printable(string, CHARACTERS_SHOWN)!r} {shown[0]}, the reference's {shown[1]}"
    return ""
