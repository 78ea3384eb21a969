"""Chat with the bundle's model in the terminal, with the settings that were measured.

    python chat.py [--device DEVICE] [--max-tokens N] [MESSAGE]

Without a message it asks for one after the other. Needs the target's runtime (README.md names it), nothing else.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any


def write(part: str) -> None:
    """Show a part of an answer at once."""
    sys.stdout.write(part)
    sys.stdout.flush()


def answer(model: Any, messages: list[dict[str, str]], max_tokens: int) -> str:
    """Write an answer while it comes; gives all of it."""
    found = str(model.answer(messages, max_tokens, write))
    write("\n")
    return found


def talk(model: Any, max_tokens: int) -> None:
    """Ask for messages until there are none."""
    messages: list[dict[str, str]] = []
    while True:
        try:
            said = input("> ")
        except EOFError:
            return
        messages.append({"role": "user", "content": said})
        messages.append({"role": "assistant", "content": answer(model, messages, max_tokens)})


def main() -> int:
    """Parse the options; gives the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("message", nargs="?")
    parser.add_argument("--device", help="another than in settings.json; what was measured does not hold there")
    parser.add_argument("--max-tokens", type=int, default=256)
    options = parser.parse_args()
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(Path(__file__).resolve().parent))  # python -I leaves it out
    folder = Path(__file__).resolve().parent
    settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    if options.device:
        settings["device"] = options.device
    try:
        import runtime  # type: ignore[import-not-found, unused-ignore]
    except ImportError as error:
        sys.stderr.write(f"{error}; README.md says how to install the runtime\n")
        return 3
    if reason := runtime.refusal(settings):
        sys.stderr.write(f"{reason}\n")
        return 3
    model = runtime.open_model(folder, settings)
    if options.message is None:
        talk(model, options.max_tokens)
    else:
        answer(model, [{"role": "user", "content": options.message}], options.max_tokens)
    return 0


if __name__ == "__main__":
    sys.exit(main())
