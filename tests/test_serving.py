"""The server of runs: what it lists, what it gives out, and what nobody gets out of it."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import pytest

from factories import Made, failed_variant, make_run
from quantcurve.errors import RecipeError
from quantcurve.results import RunResult
from quantcurve.scorecard_records import Scorecard
from quantcurve.serving import answered_host, served
from quantcurve.serving_http import RunsServer, open_server
from quantcurve.serving_rows import KnownRuns, run_rows
from quantcurve.verdicts import VariantVerdict

DATA = Path(__file__).parent / "data"
MADE = (Made("Q8_0", 0.001, 130), Made("Q4_0", 0.05, 80, decision="at_line"))
SECRET = "what nobody may read"


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: str


class Site(NamedTuple):
    """A folder that is served, and what the server logs."""

    folder: Path
    server: RunsServer
    log: list[str]

    def ask(self, target: str, method: str = "GET", hosts: tuple[str, ...] = ("localhost",)) -> Answer:
        """The answer to a request whose target is sent as it is."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.server_port, timeout=20)
        try:
            connection.putrequest(method, target, skip_host=True)
            for host in hosts:
                connection.putheader("Host", host)
            connection.endheaders()
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read().decode())
        finally:
            connection.close()

    def raw(self, request: bytes) -> bytes:
        """All that is answered to these bytes."""
        with socket.create_connection(("127.0.0.1", self.server.server_port), timeout=20) as connection:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            with connection.makefile("rb") as answered:
                return answered.read()


def put(folder: Path, run: RunResult | None = None) -> Path:
    folder.mkdir(parents=True)
    (folder / "results.json").write_text((run or make_run(MADE)).model_dump_json())
    return folder


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    runs = tmp_path / "runs"
    first = put(runs / "first")
    for name in ("table.md", "curve.svg", "curve.png", "recipe.yaml", "secret.txt"):
        (first / name).write_text(f"content of {name}")
    (put(runs / "group" / "second") / "report.html").write_text("<p>the page</p>")
    put(runs / "deep" / "er" / "third")
    put(runs / "deep" / "er" / "most" / "fourth")
    put(runs / ".hidden")
    outside = put(tmp_path / "outside", make_run(MADE, name="outside"))
    for name in ("report.html", "curve.svg", "secret.txt"):
        (outside / name).write_text(SECRET)
    (tmp_path / "recipe.yaml").write_text(SECRET)
    put(tmp_path / "runs-too", make_run(MADE, name="beside"))  # begins like the folder that is served
    log: list[str] = []
    with open_server(served(runs), "127.0.0.1", 0, log.append) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield Site(runs, server, log)
        finally:
            server.shutdown()
            thread.join()


class _Page(HTMLParser):
    """Tags, links, texts of cells, and attributes of styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.nonces: list[str] = []
        self.rows: list[list[str]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append(tag)
        self.links += [found["href"] or ""] if "href" in found else []
        self.nonces += [found.get("nonce") or ""] if tag == "style" else []
        if tag == "tr":
            self.rows.append([])
        if tag in {"td", "th"}:
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] = (self.rows[-1][-1] + data).strip("\n")


def test_the_list_has_every_run_and_what_is_known_of_it(site: Site) -> None:
    os.utime(site.folder / "group" / "second" / "results.json", (2e9, 2e9))
    answer = site.ask("/")
    page = _Page(answer.body)
    assert answer.status == 200 and page.rows[0] == [
        "Run", "Model", "When", "Machine", "Measured", "Failed", "Verdicts", "Files",
    ]  # fmt: skip
    rows = {row[0].removesuffix("smollm2-135m"): row[1:] for row in page.rows[1:]}
    assert next(iter(rows)) == "group/second" and set(rows) == {"group/second", "first", "deep/er/third"}
    model, when, machine, measured, failed, verdicts, files = rows["group/second"]
    assert model == "smollm2-135m.gguf" and when.startswith("2033-05-1") and machine.startswith("Intel(R) Xeon(R)")
    assert (measured, failed) == ("2", "0")
    assert verdicts == "screen: keep Q8_0screen: at line Q4_0"
    assert "not written yet" not in files and "not written yet" in rows["first"][-1]
    assert page.links[:2] == ["/group/second/report.html", "/group/second/results.json"]
    assert all(site.ask(link).status == 200 for link in page.links if link.endswith(".json"))


def test_contracts_and_failures_are_listed(site: Site) -> None:
    run = make_run(MADE, failed=[failed_variant()])
    cards = [Scorecard(verdict=VariantVerdict(decision=d, sentence="why")) for d in ("pass", "fail")]  # type: ignore[arg-type]
    judged = tuple(v.model_copy(update={"scorecard": c}) for v, c in zip(run.variants, cards, strict=False))
    put(site.folder / "judged", run.model_copy(update={"variants": (*judged, run.variants[2])}))
    (row,) = (row for row in _Page(site.ask("/").body).rows if row[0].startswith("judged"))
    assert row[4:7] == ["2", "1", "contract: pass Q8_0contract: fail Q4_0"]


def test_encoders_are_listed(site: Site) -> None:
    (site.folder / "encoder").mkdir()
    (site.folder / "encoder" / "results.json").write_bytes((DATA / "encoder" / "results.json").read_bytes())
    (row,) = (row for row in _Page(site.ask("/").body).rows if row[0].startswith("encoder"))
    assert "minilm" in row[1] and int(row[4]) > 0
    assert "/encoder/table.md" in site.ask("/").body and "/encoder/report.html" not in site.ask("/").body


def test_a_damaged_run_is_a_row_with_its_error(site: Site) -> None:
    file = site.folder / "first" / "results.json"
    file.write_bytes(file.read_bytes()[:500])
    answer = site.ask("/")
    (row,) = (row for row in _Page(answer.body).rows if row[0] == "first")
    assert answer.status == 200 and "damaged: cut off in line 1, after byte 500" in row[1]
    assert "quantcurve run" in row[1] and len(_Page(answer.body).rows) == 4


def test_text_of_a_run_is_no_markup_and_the_policy_lets_nothing_run(site: Site) -> None:
    run = make_run([Made("<img src=x onerror=alert(1)>", 0.01, 80)], name="<script>alert(1)</script>")
    put(site.folder / "a\"><script>'&b", run)
    answer = site.ask("/")
    page = _Page(answer.body)
    assert not {"script", "img"} & set(page.tags) and "<script>" in "".join(chain.from_iterable(page.rows))
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; ") and "script-src" not in policy and "unsafe" not in policy
    assert [f"'nonce-{nonce}'" for nonce in page.nonces] == re.findall(r"'nonce-[^']+'", policy) != []
    assert "prefers-color-scheme: dark" in answer.body
    (link,) = (link for link in page.links if "script" in link and link.endswith("results.json"))
    assert site.ask(link).body == run.model_dump_json()
    assert site.ask("/").headers["Content-Security-Policy"] != policy


def test_a_run_is_read_again_only_if_its_file_is_another(site: Site) -> None:
    of, known = served(site.folder), KnownRuns()
    file = site.folder / "first" / "results.json"

    def listed() -> dict[str, str]:
        return {row.path: row.error or row.name for row in run_rows(of, known)}

    assert listed()["first"] == "smollm2-135m"
    status = file.stat()
    file.write_bytes(b"x" * status.st_size)
    os.utime(file, ns=(status.st_mtime_ns, status.st_mtime_ns))
    assert listed()["first"] == "smollm2-135m"
    os.utime(file, ns=(status.st_mtime_ns, status.st_mtime_ns + 1))
    assert "no JSON" in listed()["first"]
    file.unlink()
    assert "first" not in listed()


@pytest.mark.parametrize(
    ("name", "content_type"),
    [
        ("results.json", "application/json"),
        ("table.md", "text/plain; charset=utf-8"),
        ("curve.svg", "image/svg+xml"),
        ("curve.png", "image/png"),
        ("recipe.yaml", "text/plain; charset=utf-8"),
    ],
)
def test_the_files_of_a_run_that_are_given_out(site: Site, name: str, content_type: str) -> None:
    answer = site.ask(f"/first/{name}?x=../secret.txt#y")
    assert (answer.status, answer.headers["Content-Type"]) == (200, content_type)
    assert answer.body == (site.folder / "first" / name).read_text()
    assert int(answer.headers["Content-Length"]) == len(answer.body.encode())
    head = site.ask(f"/first/{name}", "HEAD")
    assert (head.status, head.body, head.headers["Content-Length"]) == (200, "", answer.headers["Content-Length"])
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert "script-src" not in answer.headers["Content-Security-Policy"]


def test_the_page_of_a_run(site: Site) -> None:
    for target in ("/group/second/", "/group/second/report.html"):
        answer = site.ask(target)
        assert (answer.status, answer.body) == (200, "<p>the page</p>")
        assert "sandbox allow-scripts" in answer.headers["Content-Security-Policy"]
    moved = site.ask("/group/second")
    assert (moved.status, moved.headers["Location"]) == (301, "/group/second/")
    missing = site.ask("/first/")
    assert missing.status == 404 and f"quantcurve report {site.folder / 'first'}" in missing.body
    assert not site.log


def test_a_run_that_is_itself_served(tmp_path: Path) -> None:
    run = put(tmp_path / "alone")
    (run / "report.html").write_text("the page")
    (row,) = run_rows(served(run), KnownRuns())
    assert (row.path, row.base, row.has_page, row.name) == ("", "/", True, "smollm2-135m")


OUTSIDE = (
    "/../outside/results.json",
    "/../outside/curve.svg",
    "/../recipe.yaml",
    "/first/../../outside/curve.svg",
    "/first/../../recipe.yaml",
    "/%2e%2e/outside/curve.svg",
    "/%2E%2e/outside/",
    "/.%2e/outside/curve.svg",
    "/first/%2e%2e/%2e%2e/outside/curve.svg",
    "/first%2f..%2f..%2foutside%2fcurve.svg",
    "/..%2foutside%2fcurve.svg",
    "/../runs-too/results.json",
    "/..%5coutside%5ccurve.svg",
    "/..\\outside\\curve.svg",
    "/first/%00/curve.svg",
    "/first/curve.svg%00.png",
    "/first/./curve.svg",
    "http://evil.example/first/results.json",
    "outside/curve.svg",
    "*",
)


@pytest.mark.parametrize("target", OUTSIDE)
def test_nothing_outside_the_folder_is_given_out_and_that_is_logged(site: Site, target: str) -> None:
    answer = site.ask(target)
    assert answer.status == 404
    assert SECRET not in answer.body and "outside" not in answer.body
    assert len(site.log) == 1 and target in site.log[0]


@pytest.mark.parametrize(
    "target",
    [
        "//etc/passwd",
        "/etc/passwd",
        "/first//results.json",
        "/%252e%252e/outside/curve.svg",
        "/first/secret.txt",
        "/first/results.json/",
        "/first/.saving.lock",
        "/.hidden/results.json",
        "/nothing/results.json",
        "/group/",
        "/group/results.json",
        "/deep/er/most/fourth/results.json",
        "/" + "x" * 5000 + "/results.json",
        "/%ff%fe/results.json",
        "/report.html",
        "/results.json",
        "/favicon.ico",
    ],
)
def test_nothing_but_runs_is_given_out(site: Site, target: str) -> None:
    answer = site.ask(target)
    assert answer.status == 404 and "content of" not in answer.body
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_bytes_that_no_client_would_send(site: Site) -> None:
    for line in (b"GET /first/\0results.json HTTP/1.1", b"GET", b"GET / HTTP/9.9", b"\0\1\2 / HTTP/1.1"):
        answer = site.raw(line + b"\r\nHost: localhost\r\n\r\n")
        assert re.match(rb"HTTP/1.0 (4\d\d|505) ", answer) and b"nosniff" in answer, (line[:40], answer[:80])
    many = b"".join(b"X-%d: y\r\n" % i for i in range(200))
    assert b" 431 " in site.raw(b"GET / HTTP/1.1\r\n" + many + b"\r\n")
    assert site.ask("/").status == 200
    assert not [line for line in site.log if "could not be answered" in line]


def test_links_are_followed_inside_the_folder_only(site: Site) -> None:
    outside = site.folder.parent / "outside"
    (site.folder / "away").symlink_to(outside, target_is_directory=True)
    (site.folder / "up").symlink_to("..", target_is_directory=True)
    (site.folder / "near").symlink_to("first", target_is_directory=True)
    (site.folder / "loop").symlink_to("loop")
    (site.folder / "group" / "second" / "curve.svg").symlink_to(outside / "curve.svg")
    (site.folder / "group" / "second" / "report.html").unlink()
    (site.folder / "group" / "second" / "report.html").symlink_to(outside / "report.html")
    refused = ("/away/curve.svg", "/away/results.json", "/away/", "/group/second/curve.svg", "/group/second/")
    for count, target in enumerate(refused, 1):
        answer = site.ask(target)
        assert answer.status == 404 and SECRET not in answer.body and "quantcurve report" not in answer.body
        assert len(site.log) == count and target in site.log[-1]
    assert site.ask("/up/outside/curve.svg").status == 404 and site.ask("/loop/").status == 404
    assert site.ask("/near/table.md").body == "content of table.md"


def test_results_that_lead_outside_are_not_even_listed(site: Site) -> None:
    file = site.folder / "first" / "results.json"
    file.unlink()
    file.symlink_to(site.folder.parent / "outside" / "results.json")
    (row,) = (row for row in _Page(site.ask("/").body).rows if row[0] == "first")
    assert row[1] == "results.json leads out of the folder that is served"


def test_what_is_no_file_is_not_opened(site: Site) -> None:
    os.mkfifo(site.folder / "first" / "report.html")
    assert site.ask("/first/").status == 404
    (site.folder / "first" / "results.json").unlink()
    os.mkfifo(site.folder / "first" / "results.json")
    assert "results.json is no file" in site.ask("/").body


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8765", "127.0.0.1", "127.0.0.1:80", "[::1]", "[::1]:9"])
def test_this_machine_is_answered(site: Site, host: str) -> None:
    assert site.ask("/", hosts=(host,)).status == 200


@pytest.mark.parametrize(
    "hosts",
    [(), ("evil.example",), ("evil.example:8765",), ("localhost.evil.example",), ("localhost", "evil.example"), ("",)],
)
def test_other_names_are_not_answered(site: Site, hosts: tuple[str, ...]) -> None:
    answer = site.ask("/first/results.json", hosts=hosts)
    assert answer.status == 421 and "Q8_0" not in answer.body and len(site.log) == 1


def test_names_of_other_loopback_addresses() -> None:
    assert answered_host("127.0.0.5:8765", "127.0.0.5") and not answered_host("127.0.0.5", "127.0.0.1")
    assert answered_host("[::2]:80", "::2") and not answered_host(None, "127.0.0.1")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "FROB"])
def test_only_get_and_head(site: Site, method: str) -> None:
    answer = site.ask("/first/results.json", method)
    assert answer.status == 405 and answer.headers["Allow"] == "GET, HEAD" and "Q8_0" not in answer.body


@pytest.mark.parametrize(
    ("target", "method", "host"),
    [("/", "GET", "localhost"), ("/first/table.md", "GET", "localhost"), ("/first/", "GET", "localhost"),
     ("/../x", "GET", "localhost"), ("/first", "GET", "localhost"), ("/", "POST", "localhost"), ("/", "GET", "evil")],
)  # fmt: skip
def test_every_answer_has_the_headers(site: Site, target: str, method: str, host: str) -> None:
    headers = site.ask(target, method, (host,)).headers
    assert headers["X-Content-Type-Options"] == "nosniff" and headers["Referrer-Policy"] == "no-referrer"
    assert (
        headers["Cache-Control"] == "no-store" and headers["Content-Security-Policy"].count("default-src 'none'") == 1
    )
    assert "Python" not in headers["Server"]


def test_clients_that_go_away_leave_no_trace(site: Site, capfd: pytest.CaptureFixture[str]) -> None:
    (site.folder / "first" / "table.md").write_bytes(bytes(20_000_000))
    for request in (b"GET / HT", b"GET /first/table.md HTTP/1.0\r\nHost: localhost\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", site.server.server_port), timeout=20) as connection:
            connection.sendall(request)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # reset on close
    assert site.ask("/").status == 200
    assert capfd.readouterr().err == "" and not site.log


def test_an_address_for_everyone_answers_every_name(site: Site) -> None:
    with open_server(served(site.folder), "0.0.0.0", 0, site.log.append) as server:
        assert not server.loopback and server.url == f"http://{socket.gethostname()}:{server.server_port}/"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            answer = site._replace(server=server).ask("/first/results.json", hosts=("a-name-in-the-network",))
        finally:
            server.shutdown()
            thread.join()
    assert answer.status == 200 and "Q8_0" in answer.body


def test_where_nobody_can_listen(site: Site) -> None:
    of = served(site.folder)
    with pytest.raises(RecipeError, match="another program listens there; name another port, or --port 0"):
        open_server(of, "127.0.0.1", site.server.server_port, print)
    with pytest.raises(RecipeError, match=r"--host nowhere\.invalid: no address has this name"):
        open_server(of, "nowhere.invalid", 0, print)
    with pytest.raises(RecipeError, match="this machine has no such address"):
        open_server(of, "192.0.2.1", 0, print)


@pytest.mark.parametrize("name", ["nothing", "file"])
def test_what_is_no_folder_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RecipeError, match=f"{name}: runs cannot be served from there .*quantcurve serve FOLDER"):
        served(tmp_path / name)


@pytest.mark.skipif(sys.platform == "win32", reason="sends signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_command_serves_until_it_is_ended(site: Site, number: int, code: int) -> None:
    command = [sys.executable, "-m", "quantcurve.cli", "serve", "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=site.folder.parent
    ) as process:
        try:
            assert process.stdout and process.stderr
            url = process.stdout.readline().strip()
            assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", url)
            connection = http.client.HTTPConnection("127.0.0.1", int(url.rpartition(":")[2].rstrip("/")), timeout=20)
            connection.request("GET", "/")
            assert b"group/second" in connection.getresponse().read()
            connection.close()
            process.send_signal(number)
            assert process.wait(timeout=20) == code
            said = process.stderr.read()
            assert "Traceback" not in said and ("stopped" in said) == (number == signal.SIGINT)
        finally:
            process.kill()


def test_the_command_says_why_it_cannot(site: Site) -> None:
    command = [
        sys.executable,
        "-m",
        "quantcurve.cli",
        "serve",
        str(site.folder),
        "--port",
        str(site.server.server_port),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2 and "another program listens there" in done.stderr and "Traceback" not in done.stderr
