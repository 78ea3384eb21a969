"""What this machine has and lacks for quantcurve, each with the command that fixes it."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Literal, NamedTuple

from quantcurve import requirements
from quantcurve.errors import PrerequisiteError, QuantcurveError
from quantcurve.records import Frozen
from quantcurve.store import ENVIRONMENT_VARIABLE

OLDEST_PYTHON = (3, 11)
CONNECT_S = 3.0
GIB = 2**30
DISK_GIB = (1, 10)
"""Free space below which nothing can be made, and below which a run may not fit."""
MEMORY_GIB = 2
REBUILD = "pip install --force-reinstall --no-deps --no-binary llama-cpp-python llama-cpp-python=={version}"
OTHER_CACHE = f"export {ENVIRONMENT_VARIABLE}=/a/folder/on/another/disk"

Status = Literal["ok", "warning", "missing"]


class Check(Frozen):
    """One thing that was looked at."""

    name: str
    status: Status
    """`warning`: quantcurve works, but slower or without something optional."""
    finding: str
    fix: str | None = None
    """Command that mends it."""


class _Tool(NamedTuple):
    """A program that compiling llama.cpp needs, with the packages that bring it."""

    name: str
    commands: tuple[str, ...]
    apt: str
    dnf: str
    brew: str


TOOLS = (
    _Tool("C++ compiler", ("c++", "g++", "clang++"), "g++", "gcc-c++", "gcc"),
    _Tool("cmake", ("cmake",), "cmake", "cmake", "cmake"),
    _Tool("make", ("make", "gmake", "ninja"), "make", "make", "make"),
)


def examine(cache: Path) -> tuple[Check, ...]:
    """Look at everything; takes a few seconds and changes nothing.

    Args:
        cache: quantcurve's cache folder.
    """
    engine = _engine()
    return (
        _python(),
        *(_tool(tool, needed=engine.status == "missing") for tool in TOOLS),
        _processor(),
        _memory(),
        _energy(),
        _disk(cache),
        _cache(cache),
        *_packages(),
        engine,
        _openvino(),
        _converter(cache),
        _hub(),
    )


def _python() -> Check:
    found = ".".join(str(n) for n in sys.version_info[:3])
    if sys.version_info >= OLDEST_PYTHON:
        return Check(name="Python", status="ok", finding=f"{found} at {sys.executable}")
    oldest = ".".join(str(n) for n in OLDEST_PYTHON)
    return Check(
        name="Python",
        status="missing",
        finding=f"{found}; {oldest} or later is needed",
        fix=_install(f"python{oldest}", f"python{oldest}", f"python@{oldest}"),
    )


def _tool(tool: _Tool, needed: bool) -> Check:
    found = next((path for command in tool.commands if (path := shutil.which(command))), None)
    if found:
        return Check(name=tool.name, status="ok", finding=found)
    fix = _install(tool.apt, tool.dnf, tool.brew)
    if needed:
        return Check(name=tool.name, status="missing", finding="not found; llama.cpp is compiled with it", fix=fix)
    finding = "not found; needed only to compile llama-cpp-python again"
    return Check(name=tool.name, status="warning", finding=finding, fix=fix)


def _install(apt: str, dnf: str, brew: str) -> str:
    """Command of this system's package manager; apt-get's where none is known."""
    if shutil.which("apt-get") is None:
        if shutil.which("dnf"):
            return f"sudo dnf install {dnf}"
        if shutil.which("brew"):
            return f"brew install {brew}"
    return f"sudo apt-get install {apt}"


def _processor() -> Check:
    from quantcurve.machine import cpu_features, instruction_sets, processor_name

    features = cpu_features().split()
    words = ", ".join(instruction_sets())
    finding = f"{processor_name()}: {words or 'its instruction sets are not listed here'}"
    if any(f.startswith("sse") for f in features) and "avx2" not in features:
        finding += "; without AVX2 everything is several times slower"
        return Check(name="processor", status="warning", finding=finding)
    return Check(name="processor", status="ok", finding=finding)


def _memory() -> Check:
    from quantcurve.machine import available_memory_bytes, default_threads, facts

    available = available_memory_bytes() / GIB
    machine = facts()
    finding = (
        f"{machine.logical_cores} usable cores ({default_threads()} threads by default), "
        f"{available:.1f} of {machine.memory_bytes / GIB:.1f} GiB of memory available"
    )
    if available < MEMORY_GIB:
        return Check(name="cores and memory", status="warning", finding=f"{finding}; a 1B model in F16 needs 2 GiB")
    return Check(name="cores and memory", status="ok", finding=finding)


def _energy() -> Check:
    from quantcurve.energy import ALLOW, EnergyMeter

    name = "energy (optional)"
    if not (why := EnergyMeter().unavailable):
        return Check(name=name, status="ok", finding="the processor's counters can be read")
    fix = ALLOW if ALLOW in why else None
    finding = why.removesuffix(f"; {ALLOW}")
    return Check(name=name, status="warning", finding=f"{finding}; needed only for energy per token", fix=fix)


def _existing(folder: Path) -> Path:
    return next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())


def _disk(cache: Path) -> Check:
    free = shutil.disk_usage(_existing(cache)).free / GIB
    finding = f"{free:.1f} GiB free at {cache}"
    if free >= DISK_GIB[1]:
        return Check(name="disk", status="ok", finding=finding)
    status: Status = "missing" if free < DISK_GIB[0] else "warning"
    return Check(name="disk", status=status, finding=f"{finding}; every variant is a file there", fix=OTHER_CACHE)


def _cache(cache: Path) -> Check:
    place = _existing(cache)
    if place.is_dir() and os.access(place, os.W_OK | os.X_OK):
        made = "" if place == cache.absolute() else " (not made yet)"
        return Check(name="cache", status="ok", finding=f"{cache} can be written{made}")
    return Check(name="cache", status="missing", finding=f"{place} cannot be written", fix=OTHER_CACHE)


def _packages() -> list[Check]:
    """The packages that quantcurve's own metadata asks for, those of extras as optional."""
    wanted = requirements.read()
    if not wanted:
        finding = "not installed as a package, so its requirements are not known"
        return [Check(name="quantcurve", status="warning", finding=finding, fix="pip install -e .")]
    return [_package(r) for r in wanted if r.extra != "dev"]


def _package(wanted: requirements.Requirement) -> Check:
    status: Status = "warning" if wanted.extra else "missing"
    purpose = f"optional: {wanted.extra}" if wanted.extra else "required"
    exact = f"{wanted.name}=={wanted.pinned}" if wanted.pinned else wanted.name
    try:
        version = metadata.version(wanted.name)
    except metadata.PackageNotFoundError:
        fix = f"pip install 'quantcurve[{wanted.extra}]'" if wanted.extra else f"pip install {exact}"
        return Check(name=wanted.name, status=status, finding=f"not installed ({purpose})", fix=fix)
    if wanted.pinned and version.partition("+")[0] != wanted.pinned:
        finding = f"{version}, but quantcurve is written for {wanted.pinned}"
        return Check(name=wanted.name, status=status, finding=finding, fix=f"pip install {exact}")
    return Check(name=wanted.name, status="ok", finding=f"{version} ({purpose})")


def system_info() -> str:
    """What llama.cpp says of its own build; runs in a child process."""
    import llama_cpp

    info: bytes = llama_cpp.llama_print_system_info()
    return info.decode()


def _engine() -> Check:
    """Whether llama.cpp's libraries load, in a child process since a build for another processor dies."""
    from quantcurve.engines.child import Child
    from quantcurve.machine import cpu_features

    pin = next((r.pinned for r in requirements.read() if r.name == "llama-cpp-python"), None)
    rebuild = REBUILD.format(version=pin) if pin else "pip install llama-cpp-python"
    with tempfile.TemporaryDirectory(prefix="quantcurve-doctor-") as folder:
        try:
            with Child("llama.cpp", Path(folder) / "log") as child:
                said = child.call(system_info)
        except (QuantcurveError, ImportError, OSError, RuntimeError, AttributeError) as error:
            finding = f"does not load: {str(error).strip().splitlines()[0]}"
            return Check(name="llama.cpp", status="missing", finding=finding, fix=rebuild)
    used = re.findall(r"(\w+) = 1", said)
    finding = f"loads; its build uses {', '.join(used) or 'no special instructions'}"
    if "avx2" in cpu_features().split() and "AVX2" not in used:
        finding += "; it leaves this processor's AVX2 unused, compile it here"
        return Check(name="llama.cpp", status="warning", finding=finding, fix=rebuild)
    return Check(name="llama.cpp", status="ok", finding=finding)


def openvino_devices() -> list[str]:
    """Devices that OpenVINO finds, with their full names; runs in a child."""
    import openvino as ov

    core = ov.Core()
    return [f"{d} ({str(core.get_property(d, 'FULL_DEVICE_NAME')).strip()})" for d in core.available_devices]


def _openvino() -> Check:
    """Whether OpenVINO loads and what it finds, in a child process as the runs use it."""
    from quantcurve.engines import openvino
    from quantcurve.engines.child import Child

    name = "OpenVINO (optional: openvino)"
    try:
        openvino.require()
        folder = tempfile.TemporaryDirectory(prefix="quantcurve-doctor-")
        with folder as place, Child("OpenVINO", Path(place) / "log") as child:
            found = child.call(openvino_devices)
    except PrerequisiteError as error:
        finding = f"{error.args[0]}; needed only for variants.openvino"
        return Check(name=name, status="warning", finding=finding, fix=error.fix)
    except (QuantcurveError, ImportError, OSError, RuntimeError, AttributeError) as error:
        finding = f"does not load: {str(error).strip().splitlines()[0]}"
        return Check(name=name, status="warning", finding=finding, fix=openvino.INSTALL)
    return Check(name=name, status="ok", finding=f"{metadata.version('openvino')} finds {', '.join(found)}")


def _converter(cache: Path) -> Check:
    from quantcurve.engines import convert

    name = f"{convert.DISTRIBUTION} (optional: convert)"
    if convert.is_installed(cache):
        return Check(name=name, status="ok", finding=f"{convert.VERSION}, in a folder of its own under the cache")
    finding = "not installed; needed only to start from a Hugging Face folder"
    return Check(name=name, status="warning", finding=finding, fix=convert.install_command(cache))


def _hub() -> Check:
    try:
        from huggingface_hub import constants, get_session, get_token
    except ImportError as error:
        return Check(name="hub", status="warning", finding=f"its client does not load: {error}")
    token = "a token is set" if get_token() else "no token (needed only for gated and private models)"
    if constants.HF_HUB_OFFLINE:
        finding = f"offline mode (HF_HUB_OFFLINE is set): only what is cached can be used; {token}"
        return Check(name="hub", status="ok", finding=finding)
    try:
        get_session().head(constants.ENDPOINT, timeout=CONNECT_S)
    except Exception as error:  # the class depends on the client's HTTP library
        finding = f"cannot be reached ({type(error).__name__}): only what is cached can be used; {token}"
        return Check(
            name="hub", status="warning", finding=finding, fix="export HTTPS_PROXY=http://PROXY:PORT   # behind a proxy"
        )
    return Check(name="hub", status="ok", finding=f"can be reached; {token}")
