"""The server of `serve`: serving.py's answers over HTTP/1.0, with the headers that keep other pages out."""

from __future__ import annotations

import errno
import ipaddress
import os
import secrets
import shutil
import socket
import sys
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any

from quantcurve import interrupts
from quantcurve.errors import RecipeError, printable
from quantcurve.report.run_list import run_list
from quantcurve.serving import (
    PLAIN_POLICY,
    Listing,
    MovedTo,
    NotThere,
    Served,
    ServedFile,
    answer,
    answered_host,
)
from quantcurve.serving_rows import KnownRuns, run_rows

IDLE_S = 30
"""After which a connection that says nothing is closed."""
METHODS = "GET, HEAD"
TEXT = "text/plain; charset=utf-8"
ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""Headers of every answer."""
FIXES = {
    errno.EADDRINUSE: "another program listens there; name another port, or --port 0 for any that is free",
    errno.EACCES: "ports below 1024 are not for everybody; name a higher one, or --port 0 for any that is free",
    errno.EADDRNOTAVAIL: "this machine has no such address; name one that it has, or leave --host out",
}


def open_server(of: Served, host: str, port: int, log: Callable[[str], None]) -> RunsServer:
    """A server that listens, and answers once `serve_forever` is called.

    Args:
        of: the folder.
        host: name or address to listen at.
        port: 0: any that is free.
        log: is told of refused requests, a line each; called from several threads.

    Raises:
        RecipeError: nothing can listen there.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise RecipeError(f"--host {host}: no address has this name ({why}); name another, or leave it out") from error
    try:
        return RunsServer(of, family, (str(address[0]), int(address[1])), host, log)
    except OSError as error:
        fix = FIXES.get(error.errno or 0, "name another port or host")
        raise RecipeError(f"--host {host} --port {port}: cannot listen there ({error.strerror}): {fix}") from error


class RunsServer(ThreadingHTTPServer):
    """Gives out the runs of one folder."""

    allow_reuse_address = os.name != "nt"  # on Windows that would let two programs listen at one port

    def __init__(
        self,
        of: Served,
        family: socket.AddressFamily,
        address: tuple[str, int],
        host: str,
        log: Callable[[str], None],
    ) -> None:
        self.served, self.host, self.log, self.known = of, host, log, KnownRuns()
        self.address_family = family
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Listen, without asking for this machine's name, which may take long."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    @property
    def loopback(self) -> bool:
        """Whether only this machine reaches it."""
        return ipaddress.ip_address(self.server_name.partition("%")[0]).is_loopback

    @property
    def url(self) -> str:
        """Of the list of runs."""
        everywhere = ipaddress.ip_address(self.server_name.partition("%")[0]).is_unspecified
        host = socket.gethostname() if everywhere else self.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.server_port}/"

    def service_actions(self) -> None:
        """End if that was asked for where Python forgot it."""
        interrupts.check()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no error; anything else is one line."""
        error = sys.exception()
        if not isinstance(error, ConnectionError | TimeoutError):
            self.log(printable(f"a request could not be answered: {type(error).__name__}: {error}"))


class _Handler(BaseHTTPRequestHandler):
    server: RunsServer
    timeout = IDLE_S

    def do_GET(self) -> None:
        if self._known_host():
            self._answer(answer(self.server.served, self.path))

    do_HEAD = do_GET  # noqa: N815 - the base class calls it so

    def _known_host(self) -> bool:
        """Whether a request to a loopback server is for it; if not, it is refused."""
        hosts = self.headers.get_all("Host") or []
        if not self.server.loopback or (len(hosts) == 1 and answered_host(hosts[0], self.server.host)):
            return True
        self._refused(f"it is for the host {', '.join(hosts) or '(none)'}")
        self._text(HTTPStatus.MISDIRECTED_REQUEST, "this server answers to localhost only")
        return False

    def _answer(self, found: Listing | ServedFile | MovedTo | NotThere) -> None:
        match found:
            case Listing():
                nonce = secrets.token_urlsafe(16)
                policy = (
                    f"default-src 'none'; style-src 'nonce-{nonce}'; base-uri 'none'; form-action 'none'; "
                    "frame-ancestors 'none'"
                )
                page = run_list(self.server.served.named, run_rows(self.server.served, self.server.known), nonce)
                self._body(HTTPStatus.OK, page.encode(), "text/html; charset=utf-8", policy)
            case ServedFile():
                self._file(found)
            case MovedTo():
                self._text(HTTPStatus.MOVED_PERMANENTLY, found.location, {"Location": found.location})
            case NotThere():
                if found.suspicious:
                    self._refused(found.why)
                self._text(HTTPStatus.NOT_FOUND, found.why)

    def _file(self, found: ServedFile) -> None:
        try:
            opened = found.path.open("rb")
        except OSError as error:
            self._text(HTTPStatus.NOT_FOUND, f"{found.path.name} cannot be read ({error.strerror})")
            return
        with opened:
            size_bytes = os.fstat(opened.fileno()).st_size
            self._head(HTTPStatus.OK, size_bytes, found.kind.content_type, found.kind.policy)
            if self.command != "HEAD":
                shutil.copyfileobj(opened, self.wfile)

    def _text(self, status: HTTPStatus, text: str, more: Mapping[str, str] | None = None) -> None:
        self._body(status, f"{text}\n".encode(errors="backslashreplace"), TEXT, PLAIN_POLICY, more)

    def _body(
        self, status: HTTPStatus, body: bytes, content_type: str, policy: str, more: Mapping[str, str] | None = None
    ) -> None:
        self._head(status, len(body), content_type, policy, more)
        if self.command != "HEAD":
            self.wfile.write(body)

    def _head(
        self, status: HTTPStatus, size_bytes: int, content_type: str, policy: str, more: Mapping[str, str] | None = None
    ) -> None:
        if self.request_version == self.default_request_version:  # HTTP/0.9, of which the base class sends no headers
            self.request_version = self.protocol_version
        self.send_response(status)
        headers = {"Content-Type": content_type, "Content-Length": str(size_bytes), "Content-Security-Policy": policy}
        for name, value in {**headers, **ALWAYS, **(more or {})}.items():
            self.send_header(name, value)
        self.end_headers()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the base class refuses: bad requests, and methods that are not here."""
        self.close_connection = True
        if code == HTTPStatus.NOT_IMPLEMENTED:
            self._text(HTTPStatus.METHOD_NOT_ALLOWED, f"only {METHODS}", {"Allow": METHODS})
        else:
            self._text(HTTPStatus(code), message or HTTPStatus(code).phrase)

    def _refused(self, why: str) -> None:
        self.server.log(printable(f"refused {self.client_address[0]}: {self.requestline}: {why}"))

    def version_string(self) -> str:
        """Without Python's."""
        return "quantcurve"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class calls it so
        """Only what is refused is logged."""
