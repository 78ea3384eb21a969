"""Programs that try to get out of a sandbox, to stay, or to take more than they may; and those that only compute."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from pydantic import ValidationError

from quantcurve import sandbox
from quantcurve.errors import PrerequisiteError
from quantcurve.sandbox import Ended, Limits, run, run_all, unavailable
from quantcurve.sandbox_calls import filters
from quantcurve.sandbox_command import INSIDE, Way, command, python
from quantcurve.sandbox_inside import Given

AMPLE = Limits(seconds=60)
"""For programs that end by themselves, on a machine that is busy."""
SHORT = Limits(seconds=0.6)
GIVEN = Given(2.5, b"\x01\x02", 2**30, 2**20, 32)
HEADERS = (Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"), Path("/usr/include/asm-generic/unistd.h"))


@pytest.fixture
def isolated() -> None:
    if why := unavailable():
        pytest.skip(why)


def refused(statement: str) -> str:
    """Program text that fails unless the statement is refused."""
    return (
        f"try:\n    {statement}\nexcept OSError:\n    pass\n"
        f"else:\n    raise AssertionError({f'not refused: {statement}'!r})\n"
    )


def good(program: str, limits: Limits = AMPLE) -> None:
    assert run(program, limits, marker=True) == Ended(ok=True, how="ended")


class Descendants:
    """The processes that this one has started, and those that they have, seen while a block runs."""

    def __init__(self) -> None:
        self.seen = set[psutil.Process]()
        self.most = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def _look(self) -> None:
        while not self._over.wait(0.01):
            with contextlib.suppress(psutil.Error):
                there = psutil.Process().children(recursive=True)
                self.seen.update(there)
                self.most = max(self.most, len(there))

    def __enter__(self) -> Descendants:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def alive(self) -> list[psutil.Process]:
        return [process for process in self.seen if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.usefixtures("isolated")
class TestPrograms:
    def test_a_right_one_ends(self):
        good("def double(x):\n    return 2 * x\nassert double(21) == 42")

    @pytest.mark.parametrize(
        ("program", "why"),
        [
            ("assert 1 + 1 == 3, 'wrong sum'", "AssertionError: wrong sum"),
            ("def f(:", "SyntaxError: invalid syntax"),
            ("import sys; sys.exit(3)", "exit code 3"),
            ("import sys; sys.exit('told')", "told"),
            ("x = 'a\0b'", "source code string cannot contain null bytes"),
            ("def f(n): return f(n + 1)\nf(0)", "RecursionError: maximum recursion depth exceeded"),
            ("import atexit, os; atexit.register(os._exit, 4)", "exit code 4"),
            ("import numpy", "ModuleNotFoundError: No module named 'numpy'"),
        ],
    )
    def test_a_failing_one_tells_its_last_line(self, program, why):
        ended = run(program, AMPLE, marker=True)
        assert (ended.ok, ended.how) == (False, "error") and why in ended.why

    def test_what_it_tells_is_short_and_printable(self):
        ended = run("import sys; sys.exit('\\x1b[31m\\u202e\\x07' + 'red' * 10**6)", AMPLE)
        assert ended.how == "error" and ended.why.startswith(r"\x1b[31m\u202e\x07") and len(ended.why) == 160
        ended = run("import sys; sys.stderr.buffer.write(b'\\xff\\xfe line\\n\\n \\n'); sys.exit(1)", AMPLE)
        assert (ended.how, ended.why) == ("error", "\ufffd\ufffd line")

    @pytest.mark.parametrize("program", ["", "# nothing", "\ufeffx = 1", "x = 1\r\ny = 2\r\n", "x = 'é\ud800'; len(x)"])
    def test_texts_of_all_kinds_are_read(self, program):
        good(program)

    def test_a_long_one_is_read_whole(self):
        good("x = 0\n" + "x += 1\n" * 100_000 + "assert x == 100_000")

    def test_it_is_main_and_sees_nothing_but_its_own_names(self):
        good("assert __name__ == '__main__' and set(globals()) == {'__name__', '__doc__', '__package__', '__loader__',"
             " '__spec__', '__builtins__'}, set(globals())\n"
             "import pickle, dataclasses, sys\n"
             "@dataclasses.dataclass\nclass A:\n    b: int\n"
             "assert pickle.loads(pickle.dumps(A(3))) == A(3) and sys.argv == ['']\n"
             "assert A.__annotations__ == {'b': int}")  # fmt: skip

    def test_it_has_the_standard_library(self):
        good(
            "import asyncio, ctypes, decimal, hashlib, multiprocessing, sqlite3, ssl, subprocess, tempfile, threading\n"
            "assert asyncio.run(asyncio.sleep(0, 3)) == 3\n"
            "with multiprocessing.Pool(2) as pool:\n    assert pool.map(abs, [-1, -2]) == [1, 2]\n"
            "assert subprocess.run(['echo', 'x'], capture_output=True).stdout == b'x\\n'\n"
            "with tempfile.TemporaryFile() as file:\n    file.write(bytes(1000))\n"
            "thread = threading.Thread(target=print)\nthread.start()\nthread.join()\n"
        )

    def test_its_input_and_environment_are_empty(self, monkeypatch):
        monkeypatch.setenv("SECRET", "told")
        good(
            "import os, sys\n"
            "assert sys.stdin.read() == '' and os.read(0, 1) == b''\n"
            "assert set(os.environ) == {'PATH', 'LANG', 'OMP_NUM_THREADS'} and not os.listdir('.')\n"
            f"assert os.uname().nodename != {platform.node()!r} and os.getpid() < 10\n"
            "assert not os.isatty(1)"
        )

    def test_many_keep_their_order(self):
        programs = [f"assert {n} % 3" for n in range(6)]
        assert [e.ok for e in run_all(programs, AMPLE)] == [False, True, True, False, True, True]
        assert run_all([], AMPLE) == []


@pytest.mark.usefixtures("isolated")
class TestMarker:
    @pytest.mark.parametrize(
        "program",
        [
            "import sys; sys.exit(0)\nassert False",
            "raise SystemExit\nassert False",
            "import os; os._exit(0)\nassert False",
            "import os; os.execv('/bin/true', ['true'])",
            "import os\nif os.fork(): os.wait(); os._exit(0)",
            "import os, sys\n"
            "for n in range(3, 64):\n    try: os.write(n, b'0' * 32 + b'\\n')\n    except OSError: pass\nsys.exit(0)",
        ],
    )
    def test_an_early_end_is_seen_with_it_alone(self, program):
        assert run(program, AMPLE) == Ended(ok=True, how="ended")
        assert run(program, AMPLE, marker=True) == Ended(ok=False, how="error", why="ended before its last line")

    def test_programs_that_replace_functions_of_os_still_come_to_their_end(self):
        good("import os\nos.write = os.getpid = os.read = None")

    def test_the_token_is_not_lying_about(self):
        good(
            "import os, sys, re\n"
            "places = [repr(dict(os.environ)), repr(sys.argv), repr(sys.orig_argv), repr(globals())]\n"
            "places += [open(f'/proc/self/{n}').read() for n in ('cmdline', 'environ') if os.listdir('/proc')]\n"
            "assert not any(re.search('[0-9a-f]{32}', place) for place in places)"
        )


@pytest.mark.usefixtures("isolated")
class TestLimits:
    @pytest.mark.parametrize(
        "program",
        [
            "while True: pass",
            "import time; time.sleep(1000)",
            "import signal\nfor n in range(1, 32):\n    try: signal.signal(n, signal.SIG_IGN)\n"
            "    except OSError: pass\nwhile True: pass",
            "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)",
            "import sys\nwhile True: print('x' * 10**6); sys.stderr.write('y' * 10**6)",
            "import threading; threading.Thread(target=threading.Event().wait).start()",
        ],
    )
    def test_it_ends_when_its_time_is_over(self, program):
        before, started = psutil.Process().memory_info().rss, time.monotonic()
        assert run(program, SHORT, marker=True) == Ended(ok=False, how="time", why="not done after 0.6 s")
        assert 0.6 <= time.monotonic() - started < 0.6 + sandbox.GRACE_SECONDS
        assert psutil.Process().memory_info().rss - before < 50e6

    def test_a_fork_bomb_neither_grows_nor_stays(self):
        program = "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass"
        with Descendants() as there:
            assert run(program, Limits(seconds=1.5, processes=20)).how == "time"
        assert 10 < there.most <= 20 + 2 and not there.alive()

    def test_threads_count_as_processes(self):
        program = (
            "import threading\nstop = threading.Event()\n"
            "threads = [threading.Thread(target=stop.wait) for _ in range({})]\n"
            "try:\n    for t in threads: t.start()\nfinally: stop.set()"
        )
        limits = Limits(seconds=60, processes=8)
        good(program.format(7), limits)
        assert run(program.format(8), limits).why == "RuntimeError: can't start new thread"

    def test_a_daemon_is_dead_afterwards(self):
        program = (
            "import os, time\n"
            "if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n"
            "        os.closerange(0, 64)\n        os.mkdir('alive')\n        time.sleep(1000)\n    os._exit(0)\n"
            "while not os.path.exists('alive'): time.sleep(0.01)\ntime.sleep(0.3)"
        )
        with Descendants() as there:
            good(program)
        assert there.most >= 4 and not there.alive()

    def test_it_is_killed_from_outside_if_all_else_fails(self, monkeypatch):
        monkeypatch.setattr(sandbox, "GRACE_SECONDS", -59)
        with Descendants() as there:
            assert run("import os\nos.fork()\nwhile True: pass", AMPLE).how == "time"
        assert there.most >= 3
        end = time.monotonic() + 10
        while there.alive() and time.monotonic() < end:
            time.sleep(0.05)
        assert not there.alive()

    @pytest.mark.parametrize(
        "program",
        [
            "x = bytearray(2**34)",
            "x = []\nwhile True: x.append(bytes(2**20))",
            "import mmap; mmap.mmap(-1, 2**34)",
            "import os, time\nfor _ in range(6):\n"
            "    if os.fork() == 0: x = b'x' * 2**27; time.sleep(100)\ntime.sleep(100)",
            "import os, time, mmap\nfor _ in range(6):\n    if os.fork() == 0:\n        x = mmap.mmap(-1, 2**27)\n"
            "        for n in range(0, 2**27, 2**20): x[n:n + 2**20] = b'x' * 2**20\n"
            "        time.sleep(100)\ntime.sleep(100)",
        ],
    )
    def test_its_memory_is_bounded_in_one_process_and_in_many(self, program):
        if "fork" in program and not Path("/proc/self/smaps_rollup").exists():
            pytest.skip("no /proc, which the memory of many processes is read from")
        ended = run(program, Limits(seconds=60, memory_bytes=2**28))
        assert ended.how == "memory" and ended.why

    def test_shared_memory_counts_once(self):
        good(
            "import os, time\nx = b'x' * (150 * 2**20)\n"
            "children = [os.fork() or (time.sleep(0.5), os._exit(0)) for _ in range(4)]\n"
            "assert [os.wait()[1] for _ in children] == [0] * 4",
            Limits(seconds=60, memory_bytes=2**28),
        )

    def test_memory_of_no_process_is_refused(self):
        if not filters(platform.machine()):
            pytest.skip(f"no filter of system calls for {platform.machine()}")
        good(
            "import os, ctypes\n" + refused("os.memfd_create('x')") + "libc = ctypes.CDLL(None, use_errno=True)\n"
            "assert libc.shmget(0, 2**20, 0o1600) == -1 and ctypes.get_errno() == 1\n"
            "assert libc.msgget(0, 0o1600) == -1 and libc.unshare(0x10000000) == -1"
        )

    def test_files_are_bounded_one_and_all(self):
        good(
            "import os, pathlib\n" + refused("os.truncate(os.open('huge', os.O_CREAT | os.O_RDWR), 100 * 10**9)")
            + refused("pathlib.Path('big').write_bytes(bytes(2**20 + 1))")
            + "os.remove('big')\nopen('right', 'wb').write(bytes(2**20))\nos.remove('right')\n"
            "for folder in ('/tmp', '/dev/shm'):\n    try:\n        for n in range(100):\n"
            "            with open(f'{folder}/{n}', 'wb') as file: file.write(bytes(2**18))\n"
            "    except OSError as error:\n        assert n <= 4, n\n"
            "    else:\n        raise AssertionError(folder)\n"
        )  # fmt: skip

    def test_no_core_is_dumped_and_a_signal_is_told(self):
        good("import resource; assert resource.getrlimit(resource.RLIMIT_CORE)[1] <= 1")
        assert run("import ctypes; ctypes.string_at(0)", AMPLE) == Ended(ok=False, how="killed", why="SIGSEGV")
        assert run("import os; os.kill(os.getpid(), 9)", AMPLE) == Ended(ok=False, how="killed", why="SIGKILL")

    def test_recursion_without_a_bound_ends(self):
        program = "import sys; sys.setrecursionlimit(10**9)\ndef f(): f()\nf()"
        assert not run(program, Limits(seconds=10, memory_bytes=2**26), marker=True).ok

    @pytest.mark.parametrize(
        "wrong", [{"seconds": 0}, {"seconds": float("inf")}, {"memory_bytes": 1}, {"file_bytes": 0}, {"processes": 0}]
    )
    def test_limits_that_no_program_can_keep_are_refused(self, wrong):
        with pytest.raises(ValidationError):
            Limits(**wrong)


@pytest.fixture
def listening() -> Iterator[tuple[socket.socket, socket.socket, socket.socket]]:
    with (
        socket.create_server(("127.0.0.1", 0)) as stream,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
        socket.socket(socket.AF_UNIX) as abstract,
    ):
        datagrams.bind(("127.0.0.1", 0))
        abstract.bind(f"\0quantcurve-{os.getpid()}")
        abstract.listen()
        for some in (stream, datagrams, abstract):
            some.setblocking(False)
        yield stream, datagrams, abstract


@pytest.mark.usefixtures("isolated")
class TestReach:
    def test_no_network_even_loopback(self, listening):
        stream, datagrams, abstract = listening
        program = "import socket\n"
        program += refused(f"socket.create_connection(('127.0.0.1', {stream.getsockname()[1]}), 5)")
        program += refused("socket.create_connection(('1.1.1.1', 53), 5)")
        program += refused(
            f"socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', {datagrams.getsockname()[1]}))"
        )
        program += refused("socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).sendto(b'x', ('::1', 9))")
        program += refused(f"socket.socket(socket.AF_UNIX).connect({abstract.getsockname().decode()!r})")
        if filters(platform.machine()):
            program += refused("socket.socket(socket.AF_VSOCK)") + refused("socket.socket(socket.AF_NETLINK)")
        good(program + "one, other = socket.socketpair()\none.send(b'x')\nassert other.recv(1) == b'x'")
        with pytest.raises(BlockingIOError):
            stream.accept()
        with pytest.raises(BlockingIOError):
            datagrams.recv(1)
        with pytest.raises(BlockingIOError):
            abstract.accept()

    def test_no_file_of_the_machine_is_read(self, tmp_path):
        secret = tmp_path / "secret"
        secret.write_text("told")
        secret.chmod(0o666)
        files = [secret, "/etc/passwd", "/etc/shadow", "/etc/hostname", Path(sandbox.__file__), "/proc/1/environ"]
        files += ["/proc/1/root/etc/passwd", "/proc/1/cwd/etc/passwd", "/proc/1/mem", "/proc/kcore"]
        folders = [Path.home(), "/home", "/root", "/var", "/run", "/sys", "/mnt", "/opt", "/boot", tmp_path, Path.cwd()]
        folders = [path for path in map(str, folders) if not path.startswith(("/usr", "/tmp/")) and path != "/"]
        program = "import os\nassert os.listdir('/etc') in ([], ['ld.so.cache'])\n"
        program += "".join(refused(f"open({str(path)!r}, 'rb').read(1)") for path in files)
        program += "".join(refused(f"os.listdir({str(path)!r})") for path in [*folders, str(tmp_path)])
        good(program)

    def test_no_package_of_this_interpreter_is_seen(self):
        good("import sys, os\nfor path in sys.path:\n    packages = os.path.join(path, 'site-packages')\n"
             "    assert not os.path.exists(packages) or not os.listdir(packages), packages")  # fmt: skip

    def test_nothing_outside_is_written(self, tmp_path):
        tmp_path.chmod(0o777)
        within = ["/usr", "/bin", "/lib", "/usr/lib", "/dev", "/etc", "/", str(tmp_path), "/proc/sys"]
        name = f"quantcurve-{os.getpid()}"
        program = "import os, shutil\n" + "".join(refused(f"open('{path}/{name}', 'w')") for path in within)
        program += refused("os.remove('/usr/bin/env')") + refused("os.chmod('/usr/bin/env', 0o777)")
        program += refused("os.rename('/usr/bin', '/usr/nib')") + refused(f"open({INSIDE!r}, 'a')")
        program += refused("open('/proc/sys/kernel/hostname', 'w').write('x')")
        program += refused("open('/proc/sysrq-trigger', 'w').write('x')")
        program += refused("os.rmdir('/tmp')") + refused("os.mknod('disk', 0o60666, os.makedev(254, 0))")
        good(program + f"open({name!r}, 'w').close()")
        assert not list(tmp_path.iterdir())
        assert not any((Path(path) / name).exists() for path in ["/tmp", *within])

    def test_all_that_is_bound_is_mounted_read_only(self):
        bound = [*{mount.target for mount in python().mounts}, "/", "/usr", INSIDE]
        good(
            "import os\n"
            f"for path in {bound!r}:\n"
            "    flags = os.statvfs(path).f_flag\n"
            "    assert flags & os.ST_RDONLY and flags & os.ST_NOSUID and flags & os.ST_NODEV, path\n"
        )

    def test_links_lead_nowhere(self, tmp_path):
        (tmp_path / "secret").write_text("told")
        ups = "../" * 40
        targets = ["/etc/passwd", f"{ups}etc/passwd", f"/proc/self/root/{ups}etc/passwd", f"{ups}{tmp_path}/secret"]
        targets += ["/proc/1/root/etc/passwd", "/proc/self/cwd/../etc/passwd", "link"]
        program = "import os\n"
        for target in targets:
            program += f"os.symlink({target!r}, 'link')\n" + refused("open('link').read()")
            program += (
                "os.remove('link')\n" if target == "link" else refused("open('link', 'w')") + "os.remove('link')\n"
            )
        program += "os.symlink('/', 'top')\n" + refused("os.link('top/usr/bin/env', 'env')")
        program += refused("open('top/usr/x', 'w')") + refused("os.rename('/tmp', 'top/other')")
        good(program + refused("os.chroot('.')") + refused("os.listdir('top/old')"))

    def test_it_gets_no_privileges(self):
        program = "import os, ctypes, subprocess\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        program += "user = os.getuid()\n"
        program += "for n in {0, 1, 1000, 65534} - {user}:\n"
        program += "    try: os.setuid(n)\n    except OSError: pass\n    else: raise AssertionError(n)\n"
        program += "assert libc.mount(b'tmpfs', b'/tmp', b'tmpfs', 0, None) == -1\n"
        program += "assert libc.mount(None, b'/usr', None, 32 | 4096, None) == -1 and libc.umount2(b'/tmp', 2) == -1\n"
        program += "assert libc.sethostname(b'x', 1) == -1 and libc.ptrace(16, 1, 0, 0) == -1\n"
        program += (
            "status = dict(l.split(':\\t', 1) for l in open('/proc/self/status').read().splitlines() if 'Cap' in l)\n"
        )
        program += "assert all(int(v, 16) == 0 for v in status.values()) and len(status) == 5, status\n"
        if shutil.which("unshare"):
            program += "assert subprocess.run(['unshare', '--user', '--map-root-user', 'true']).returncode\n"
        good(program)

    def test_its_parent_and_all_others_outlive_it(self):
        killer = (
            "import os\nfor who in (os.getppid(), 1, -1):\n    for n in [*range(1, 32), *range(34, 65)]:\n"
            "        try: os.kill(who, n)\n        except OSError: pass\n"
            "        if who == -1 and n == 9: break\n"
        )
        signals = "import signal\nfor n in range(1, 65):\n    try: signal.signal(n, signal.SIG_IGN)\n"
        signals += "    except (OSError, ValueError): pass\n"
        waiting = "import time; time.sleep(1)"
        with Descendants() as there:
            ended = run_all([signals + killer, waiting, signals + killer], AMPLE, marker=True)
        assert [e.ok for e in ended] == [True] * 3 and not there.alive()

    def test_its_parent_keeps_its_limits_and_its_pipes(self):
        program = "import os, resource\n"
        if filters(platform.machine()):
            program += refused("resource.prlimit(1, resource.RLIMIT_NOFILE, (0, 0))")
            program += refused("os.setpriority(os.PRIO_PROCESS, 1, 19)")
        program += "".join(refused(f"open('/proc/1/fd/{n}', 'wb').write(b'[]')") for n in range(8))
        good(program)


class TestUnavailable:
    @pytest.fixture(autouse=True)
    def _afresh(self) -> Iterator[None]:
        sandbox._tried.cache_clear()
        yield
        sandbox._tried.cache_clear()

    def test_other_systems(self, monkeypatch):
        monkeypatch.setattr(sys, "platform", "darwin")
        assert "on Linux only" in unavailable()

    def test_nothing_installed(self, monkeypatch, tmp_path):
        monkeypatch.setenv("PATH", str(tmp_path))
        assert unavailable() == "neither bwrap nor unshare is installed"
        with pytest.raises(PrerequisiteError, match=r"(?s)cannot be isolated.*neither bwrap.*fix: install bubblewrap"):
            run("pass")
        with pytest.raises(PrerequisiteError):
            run_all(["pass"])

    def test_what_is_installed_is_tried(self, monkeypatch, tmp_path):
        for name in ("bwrap", "unshare"):
            (tmp_path / name).write_text(f"#!/bin/sh\necho '{name}: Operation not permitted' >&2\nexit 1\n")
            (tmp_path / name).chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))
        why = unavailable()
        assert why.startswith("bwrap: programs that a model wrote cannot be isolated") or why.startswith(
            "bwrap: bwrap:"
        )
        assert "unshare: Operation not permitted" in why

    @pytest.mark.usefixtures("isolated")
    def test_a_sandbox_that_does_not_hold_is_none(self, monkeypatch):
        sandbox._tried.cache_clear()
        monkeypatch.setattr(sandbox, "_PROBE", sandbox._PROBE.replace("children < 8", "children < 3"))
        assert "the limit on processes does not hold (7 of 8 could be started)" in unavailable()

    def test_settings_that_forbid_it_are_named(self, tmp_path):
        (tmp_path / "user").mkdir()
        (tmp_path / "kernel").mkdir()
        (tmp_path / "user" / "max_user_namespaces").write_text("0\n")
        (tmp_path / "kernel" / "apparmor_restrict_unprivileged_userns").write_text("1\n")
        assert sandbox._forbidden(tmp_path) == [
            "user namespaces are forbidden here (user.max_user_namespaces = 0)",
            "user namespaces are forbidden here (kernel.apparmor_restrict_unprivileged_userns = 1)",
        ]
        (tmp_path / "user" / "max_user_namespaces").write_text("100\n")
        (tmp_path / "kernel" / "apparmor_restrict_unprivileged_userns").unlink()
        assert sandbox._forbidden(tmp_path) == []


class TestCommands:
    @pytest.mark.parametrize("root", [True, False])
    def test_bwrap(self, root):
        parts = command("bwrap", GIVEN, root)
        assert parts[0] == "bwrap" and ("--unshare-user" in parts) == (not root)
        assert {"--unshare-net", "--unshare-pid", "--unshare-ipc", "--die-with-parent", "--as-pid-1"} < set(parts)
        own, inside = parts[: parts.index("--")], parts[parts.index("--") + 1 :]
        assert inside == [
            python().executable,
            "-I",
            "-S",
            "-X",
            "utf8",
            INSIDE,
            "2.5",
            "0102",
            str(2**30),
            str(2**20),
            "32",
        ]
        assert " ".join(own).endswith("--remount-ro / --chdir /tmp")
        writable = [
            n for n, part in enumerate(own) if part == "--tmpfs" and own[n + 2 : n + 4] != ["--remount-ro", own[n + 1]]
        ]
        assert [own[n + 1] for n in writable] == ["/tmp", "/dev/shm"]
        assert all(own[n - 4 : n] == ["--perms", "1777", "--size", str(2**20)] for n in writable)
        bound = [own[n + 2] for n, part in enumerate(own) if part == "--ro-bind"]
        assert "/usr" in bound and not any(path.startswith(("/home", "/root", "/work")) for path in bound)
        assert "--bind" not in own and not {path for path in bound if path.startswith("/etc/")} - {"/etc/ld.so.cache"}
        made = {own[n + 1] for n, part in enumerate(own) if part == "--dir"}
        assert {str(Path(path).parent) for path in bound} <= made | {"/"}

    @pytest.mark.parametrize(("way", "user"), [("unshare", False), ("unshare --user", True)])
    def test_unshare(self, way: Way, user: bool):
        parts = command(way, GIVEN, not user)
        own = parts[: parts.index("--")]
        assert own[0] == "unshare" and ("--user" in own) == user == ("--map-root-user" in own)
        assert {"--mount", "--net", "--ipc", "--uts", "--pid", "--fork", "--kill-child"} < set(own)
        assert parts[-6:] == [INSIDE, "2.5", "0102", str(2**30), str(2**20), str(32 + user)]

    def test_an_interpreter_outside_of_usr_is_put_elsewhere(self, monkeypatch, tmp_path):
        name = f"python{sys.version_info.major}.{sys.version_info.minor}"
        (tmp_path / "lib" / name / "site-packages").mkdir(parents=True)
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin" / name).touch()
        monkeypatch.setattr(sys, "base_prefix", str(tmp_path))
        monkeypatch.setattr(sys, "platlibdir", "lib")
        python.cache_clear()
        try:
            found = python()
        finally:
            python.cache_clear()
        assert found.executable == f"/python/bin/{name}" and found.libraries == "/python/lib"
        assert [(m.kind, m.target) for m in found.mounts] == [
            ("bind", "/python/lib"),
            ("empty", f"/python/lib/{name}/site-packages"),
            ("bind", f"/python/bin/{name}"),
        ]

    @pytest.mark.parametrize("way", ["bwrap", "unshare", "unshare --user"])
    def test_every_way_that_is_there_holds(self, way: Way):
        if not shutil.which(way.split()[0]) or (way == "unshare" and os.geteuid()):
            pytest.skip(f"{way} is not to be had")
        why = sandbox._probed(way)
        if re.search("not permitted|denied", why):
            pytest.skip(why)
        alone = way != "unshare --user" or os.geteuid() != 0
        assert not why if alone else not why or "the limit on processes does not hold" in why


class TestFilters:
    def test_numbers_are_those_of_the_kernels_headers(self):
        if not all(path.exists() for path in HEADERS):
            pytest.skip("no headers of both kinds")
        texts = [path.read_text() for path in HEADERS]
        numbers = [dict(re.findall(r"#define __NR(?:3264)?_(\w+) (\d+)", text)) for text in texts]
        kinds = [numbers[0], numbers[1]]
        names = ("mount", "unshare", "setns", "ptrace", "memfd_create", "shmget", "bpf", "userfaultfd", "setpriority")
        names += ("io_uring_setup", "fsopen", "mount_setattr", "keyctl", "perf_event_open", "sched_setaffinity")
        for kind, machine in zip(kinds, ("x86_64", "aarch64"), strict=True):
            for name in names:
                assert verdict(machine, int(kind[name])) == 1, name
            for name in ("read", "write", "execve", "exit_group", "mmap", "socketpair", "kill", "futex", "openat"):
                assert verdict(machine, int(kind[name])) == 0, name
            assert (
                verdict(machine, int(kind["clone"]), 0x11) == 0
                and verdict(machine, int(kind["clone"]), 0x10000011) == 1
            )
            assert verdict(machine, int(kind["clone3"])) == 38
            assert [verdict(machine, int(kind["socket"]), n) for n in (1, 2, 10, 16, 40)] == [0, 97, 97, 97, 97]
            assert [verdict(machine, int(kind["prlimit64"]), n) for n in (0, 1)] == [0, 1]

    def test_other_processors_have_none(self):
        assert filters("riscv64") == b""

    def test_calls_of_another_kind_end_the_program(self):
        assert verdict("x86_64", 0, architecture=0x40000003) == -1
        assert verdict("x86_64", 0x40000000 + 321) == 38


def verdict(machine: str, number: int, argument: int = 0, architecture: int = 0) -> int:
    """The error that a filter gives a call, 0 where it allows it, -1 where it ends the program."""
    import struct

    own = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}[machine]
    data = struct.pack("=IIQQ", number, architecture or own, 0, argument)
    steps, place, value = list(struct.iter_unpack("=HBBI", filters(machine))), 0, 0
    while True:
        code, yes, no, operand = steps[place]
        place += 1
        if code == 0x20:
            value = struct.unpack_from("=I", data, operand)[0]
        elif code == 0x06:
            return {0x7FFF0000: 0, 0x80000000: -1}.get(operand, operand & 0xFFFF)
        else:
            met = {0x15: value == operand, 0x35: value >= operand, 0x45: bool(value & operand)}[code]
            place += yes if met else no
