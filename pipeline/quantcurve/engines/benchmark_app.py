"""OpenVINO's own benchmark_app on language models, whose inputs it cannot make up and whose state it never resets.

Read in its source, openvino/tools/benchmark of OpenVINO 2026.4.1 (main.py, benchmark.py, utils/):

- Inputs that it is not given are random in 0 ... 255; with such a beam_idx it crashes. Every input comes from a file.
- One `-data_shape` and one file per forward pass make a group each; `-niter 1` is rounded up to all groups once.
- The inputs of group 0 are set before the loop; with `-no_warmup` they are not inferred, and the loop goes on with
  group 1 and ends with group 0 (see `in_groups`). One process thus runs every pass once in a known order, so a stateful
  model decodes in its deployed form at exact contexts. A warm-up would put group 0 into the state first.
- Files of an input are taken in the order of their names.
- Inputs of shapes that do not change are refused by `-api sync`, so `-api async -nireq 1`.
- A four-dimensional input with few channels is taken for an image and made u8, unless `-iop` gives its type.
- `-report_folder` must exist, or the error at the end hides the first one. In the JSON file the keys of single groups
  are repeated, so only the last one is left: their latencies are read from what is printed.
- What `-load_config` sets is set on the device as it is; a performance hint in it is not overridden.
"""

from __future__ import annotations

import json
import re
import sysconfig
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from quantcurve.engines import tool
from quantcurve.engines.channel import LIMIT_VARIABLE, seconds_from_environment
from quantcurve.engines.openvino import INSTALL, OpenVinoModel
from quantcurve.engines.openvino_ir import MODEL
from quantcurve.engines.passes import Pass
from quantcurve.errors import BackendError, PrerequisiteError
from quantcurve.latency_records import BenchmarkAppReport, Setting

NAME = "benchmark_app"
LIMIT_S = 1800.0
"""Wall time after which a run of the tool is given up, unless the user sets another (channel.LIMIT_VARIABLE)."""
CONFIG, REPORTS, REPORT, GRAPH, MASK = "config.json", "reports", "benchmark_report.json", "model", "attention_mask"
DEPLOYED = (
    *("PERFORMANCE_HINT", "EXECUTION_MODE_HINT", "INFERENCE_PRECISION_HINT", "DYNAMIC_QUANTIZATION_GROUP_SIZE"),
    *("KV_CACHE_PRECISION", "KEY_CACHE_PRECISION", "VALUE_CACHE_PRECISION"),
    *("INFERENCE_NUM_THREADS", "NUM_STREAMS", "EXECUTION_DEVICES"),
)
"""Settings that must be the same in benchmark_app and in the model as it is deployed."""
SETTING = re.compile(r"^\[ INFO \] {2,4}([A-Z][A-Z0-9_]*): (.*)$")
DEVICE = re.compile(r"^\[ INFO \] {2,4}([A-Z][A-Z0-9_.]*):$")
"""Of a device that hands the model to others: those that execute, and below each its own settings, indented."""
NESTED = re.compile(r"^\[ INFO \] {5,}([A-Z][A-Z0-9_]*): (.*)$")
GROUP = re.compile(rf"^\[ INFO \] (\d+)\. .*\b{MASK}: \[1,\s*(\d+)\]")
MEDIAN = re.compile(r"^\[ INFO \]\s+Median:\s+([0-9.]+) (ms|us)$")


class ToolRun(NamedTuple):
    """What a run of the tool gives."""

    times_ms: list[float]
    """Latency of every pass, in the order of the passes."""
    report: BenchmarkAppReport


class DeployedModel(OpenVinoModel):
    """A model open in a child process, timed pass by pass in there and, from the same files, by benchmark_app."""

    def time_passes(self, passes: Sequence[Pass], seed: int) -> list[float]:
        """See direct_loop.time_passes."""
        from quantcurve.engines import direct_loop

        return self._child.call(direct_loop.time_passes, passes, seed)

    def run_tool(self, passes: Sequence[Pass], seed: int, folder: Path, log: Path) -> ToolRun:
        """benchmark_app on the IR itself: passes that go on from one another, after an empty cache.

        Args:
            passes: at least two.
            seed: of the token ids.
            folder: an empty one, for the inputs and the report.
            log: for what the tool prints.

        Raises:
            BackendError: the tool failed, hung, or gave no latencies; or it ran in another configuration.
            PrerequisiteError: it is not installed.
        """
        from quantcurve.engines import direct_loop

        names = self._child.call(direct_loop.inputs)
        shapes = self._child.call(direct_loop.write_inputs, folder, in_groups(passes), seed, names)
        return self._run(passes, Feed(shapes, {}), self._path, folder, log)

    def run_tool_on_twin(self, passes: Sequence[Pass], seed: int, folder: Path, log: Path) -> ToolRun:
        """benchmark_app on the stateless twin (see stateless_twin.py), which is removed after: passes that all begin
        with an empty cache.

        Arguments and errors: see `run_tool`.
        """
        import shutil

        from quantcurve.engines import direct_loop, stateless_twin

        twin_folder = folder / "twin"
        try:
            twin = self._child.call(stateless_twin.make, twin_folder, folder)
            shapes = self._child.call(direct_loop.write_inputs, folder, in_groups(passes), seed, twin.inputs)
            shapes |= {c.name: [c.shape] for c in twin.caches}
            return self._run(passes, Feed(shapes, {c.name: c.type for c in twin.caches}), twin_folder, folder, log)
        finally:
            shutil.rmtree(twin_folder, ignore_errors=True)

    def _run(self, passes: Sequence[Pass], feed: Feed, graph: Path, folder: Path, log: Path) -> ToolRun:
        from quantcurve.engines import direct_loop

        deployed = self._child.call(direct_loop.settings)
        device = self._config.runtime.device
        properties = {device.partition(":")[0]: self._child.call(direct_loop.device_properties)}
        (folder / CONFIG).write_text(json.dumps(properties))
        (folder / REPORTS).mkdir()
        (folder / GRAPH).symlink_to(graph.absolute(), target_is_directory=True)
        command = arguments(device, feed)
        label = self._child.label
        limit_s = seconds_from_environment(LIMIT_VARIABLE, LIMIT_S)
        printed = tool.run([program(), *command], folder, log, limit_s, label)
        try:
            times_ms = latencies(printed, passes)
            settings = compiled_settings(printed, deployed)
            json_text = report(folder / REPORTS / REPORT, len(passes))
        except ValueError as error:
            raise BackendError(f"{label}: benchmark_app ended well, but {error}", log) from error
        return ToolRun(times_ms, BenchmarkAppReport(command=tuple(command), settings=settings, json_text=json_text))


class Feed(NamedTuple):
    """Inputs that lie in folders of their names."""

    shapes: dict[str, list[list[int]]]
    """Of every file."""
    types: dict[str, str]
    """OpenVINO's element types of those that could be taken for images."""


def program() -> Path:
    """benchmark_app of the OpenVINO that is installed here, wherever its scripts were put.

    Raises:
        PrerequisiteError: there is none.
    """
    scripts = Path(sysconfig.get_path("scripts"))
    places = [scripts / NAME]
    with suppress(metadata.PackageNotFoundError):  # what pip wrote down: with --user it is in none of Python's own
        places += [Path(str(f.locate())) for f in metadata.files("openvino") or () if f.name == NAME]
    found = next((p for p in places if p.is_file()), None)
    if found is None:
        raise PrerequisiteError(f"{NAME} is not in {scripts}: it comes with OpenVINO", INSTALL)
    return found.resolve()


def in_groups(passes: Sequence[Pass]) -> list[Pass]:
    """Passes as benchmark_app has to be given them, so that it runs them in their order: the last one first."""
    return [passes[-1], *passes[:-1]]


def arguments(device: str, feed: Feed) -> list[str]:
    """The tool's arguments; paths are relative to the folder that holds everything."""
    shapes = [f"{name}{''.join(map(_bracketed, found))}" for name, found in feed.shapes.items()]
    types = ["-iop", ",".join(f"{name}:{kind}" for name, kind in feed.types.items())] if feed.types else []
    return [
        *("-m", f"{GRAPH}/{MODEL}", "-d", device, "-load_config", CONFIG),
        *("-api", "async", "-nireq", "1", "-no_warmup", "-niter", "1", "-pcseq"),
        *("-data_shape", ",".join(shapes), "-i", ",".join(f"{name}:{name}" for name in feed.shapes), *types),
        *("-report_type", "no_counters", "-report_folder", REPORTS, "-json_stats"),
    ]


def _bracketed(shape: Sequence[int]) -> str:
    return f"[{','.join(map(str, shape))}]"


def latencies(printed: str, passes: Sequence[Pass]) -> list[float]:
    """Milliseconds of every pass, in the order of the passes, from what the tool printed.

    Raises:
        ValueError: the printed groups are not the passes, or a latency is missing.
    """
    groups: list[tuple[int, int, float]] = []  # number, length of the mask, milliseconds
    group: re.Match[str] | None = None
    for line in printed.splitlines():
        group = GROUP.match(line) or group
        if group and (median := MEDIAN.match(line)):
            value = float(median[1]) / (1000 if median[2] == "us" else 1)
            groups.append((int(group[1]), int(group[2]), value))
            group = None
    wanted = [(i, p.mask_tokens) for i, p in enumerate(in_groups(passes), 1)]
    if [g[:2] for g in groups] != wanted:
        raise ValueError(f"it printed latencies of {len(groups)} groups that are not the {len(wanted)} it was given")
    if bad := [g for g in groups if not g[2] > 0]:
        raise ValueError(f"it printed a latency of {bad[0][2]:g} ms for group {bad[0][0]}")
    times_ms = [g[2] for g in groups]
    return [*times_ms[1:], times_ms[0]]


def compiled_settings(printed: str, deployed: Sequence[Setting]) -> tuple[Setting, ...]:
    """Properties of the compiled model that the tool printed (step 8).

    Args:
        printed: by the tool.
        deployed: properties of the model as it is deployed.

    Raises:
        ValueError: one of `DEPLOYED` is not the deployed one.
    """
    found = tuple(_settings(printed.partition("[Step 8/11]")[2].partition("[Step 9/11]")[0]))
    values = {s.name: s.value for s in found}
    for setting in deployed:
        if setting.name.rpartition(".")[2] in DEPLOYED and values.get(setting.name) != setting.value:
            raise ValueError(
                f"it ran with {setting.name} {values.get(setting.name, 'not printed')}; deployed is {setting.value}"
            )
    return found


def _settings(printed: str) -> Iterator[Setting]:
    device = ""
    for line in printed.splitlines():
        if heading := DEVICE.match(line):
            device = heading[1]
        elif own := SETTING.match(line):
            yield Setting(name=own[1], value=own[2].strip())
        elif nested := NESTED.match(line):
            yield Setting(name=f"{device}.{nested[1]}", value=nested[2].strip())


def report(path: Path, iterations: int) -> str:
    """The tool's JSON file.

    Raises:
        ValueError: it is missing, cannot be read, or is of another number of iterations.
    """
    try:
        text = path.read_text()
        content: Any = json.loads(text)
        counted = int(content["execution_results"]["total number of iterations"])
    except OSError as error:
        raise ValueError(f"its report {path.name} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"its report {path.name} is broken: {type(error).__name__}: {error}") from error
    if counted != iterations:
        raise ValueError(f"its report {path.name} counts {counted} iterations, not {iterations}")
    return text
