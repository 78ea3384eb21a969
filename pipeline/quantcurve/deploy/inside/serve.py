"""Serve the bundle by llama-cpp-python's server, which speaks OpenAI's protocol, with the settings that were measured.

    python serve.py [--host HOST] [--port PORT]

Needs llama-cpp-python[server], nothing else.
"""

from __future__ import annotations

import argparse
import json
import socket
import sys
from pathlib import Path
from typing import Any


def server_settings(folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """What llama_cpp.server.settings.ModelSettings is made of.

    Logits of all positions are left out, which the server would keep otherwise: they take more memory than the model.
    """
    import runtime  # type: ignore[import-not-found, unused-ignore]

    found: dict[str, Any] = runtime.arguments(folder, settings)
    model = found.pop("model_path")
    return found | {
        "model": model,
        "model_alias": settings["alias"],
        "logits_all": False,
        "use_mlock": False,
        "verbose": False,
    }


def free_port(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        OSError: the port is in use, or the address is none of this machine.
    """
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    found = socket.socket(family, socket.SOCK_STREAM)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((host, port))
        found.listen(128)
    except OSError:
        found.close()
        raise
    return found


def serve(folder: Path, listening: socket.socket, host: str, port: int) -> None:
    """Serve until it is stopped. Requests wait for each other: the server's own way is to cut off the one before."""
    import uvicorn  # type: ignore[import-not-found, unused-ignore]
    from llama_cpp.server.app import create_app
    from llama_cpp.server.settings import ModelSettings, ServerSettings

    settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    app = create_app(
        server_settings=ServerSettings(host=host, port=port, interrupt_requests=False),
        model_settings=[ModelSettings(**server_settings(folder, settings))],
    )
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listening])


def main() -> int:
    """Parse the options; gives the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args()
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(Path(__file__).resolve().parent))  # python -I leaves it out
    try:
        listening = free_port(options.host, options.port)
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or error
        sys.stderr.write(f"port {options.port} of {options.host}: {why}; give another with --port\n")
        return 2
    try:
        serve(Path(__file__).resolve().parent, listening, options.host, options.port)
    except ImportError as error:
        sys.stderr.write(f"{error}; install it: pip install 'llama-cpp-python[server]'\n")
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
