"""An embedding model as the stages see it: each call runs in a child process (encoder_child.py)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from quantcurve.encoder_results import EncoderWorkload
from quantcurve.engines import benchmark_app, memory, tool
from quantcurve.engines.base import Floats, OpenVinoConfig
from quantcurve.engines.channel import LIMIT_VARIABLE, seconds_from_environment
from quantcurve.engines.child import Child
from quantcurve.engines.openvino_ir import MODEL
from quantcurve.errors import BackendError
from quantcurve.latency_records import BenchmarkAppReport
from quantcurve.records import OpenVinoEffective

MEDIAN = "latency (ms)"
"""Name of the median in benchmark_app's report (openvino/tools/benchmark/main.py)."""


class AppRun(NamedTuple):
    """What benchmark_app says of one model."""

    median_ms: float
    """Over all iterations."""
    report: BenchmarkAppReport


class OpenEncoder:
    """An encoder's IR open in a child process."""

    def __init__(self, path: Path, config: OpenVinoConfig, label: str, log: Path) -> None:
        """Compile the model of a folder.

        Raises:
            ModelFileError: a file is missing, cut short or not an encoder's IR.
            BackendError: the engine refused or died.
        """
        from quantcurve.engines import encoder_child as engine

        self._engine, self._path, self._config = engine, path, config
        self._child = Child(label, log)
        try:
            self._effective = self._child.call(engine.open_model, path, config)
        except BaseException:
            self._child.kill()
            raise

    @property
    def effective_config(self) -> OpenVinoEffective:
        """Configuration read back from the compiled model."""
        return self._effective

    def embed(self, texts: Sequence[str]) -> Floats:
        """See validation.Encoder."""
        return self._child.call(self._engine.embed, list(texts))

    def warm_up(self, workload: EncoderWorkload) -> None:
        """See encoder_child.warm_up."""
        self._child.call(self._engine.warm_up, workload)

    def time(self, workload: EncoderWorkload) -> list[float]:
        """See encoder_child.time_once."""
        return self._child.call(self._engine.time_once, workload)

    def time_load(self) -> float:
        """Close the model, load it again, and give the seconds that took."""
        return self._child.call(self._engine.time_load, self._path, self._config)

    def run_tool(self, workload: EncoderWorkload, folder: Path, log: Path) -> AppRun:
        """benchmark_app on the same IR with static shapes.

        Args:
            workload: what is fed; as many iterations as passes.
            folder: an empty one, for the inputs and the report.
            log: for what the tool prints.

        Raises:
            BackendError: the tool failed, hung, or left no latency.
            PrerequisiteError: it is not installed.
        """
        shapes = self._child.call(self._engine.write_workload, workload, folder)
        device = self._config.runtime.device
        properties = {device.partition(":")[0]: self._child.call(self._engine.device_properties)}
        (folder / benchmark_app.CONFIG).write_text(json.dumps(properties))
        (folder / benchmark_app.REPORTS).mkdir()
        (folder / benchmark_app.GRAPH).symlink_to(self._path.absolute(), target_is_directory=True)
        command = arguments(device, shapes, workload.passes)
        limit_s = seconds_from_environment(LIMIT_VARIABLE, benchmark_app.LIMIT_S)
        tool.run([benchmark_app.program(), *command], folder, log, limit_s, self._child.label)
        try:
            text = benchmark_app.report(folder / benchmark_app.REPORTS / benchmark_app.REPORT, workload.passes)
            median = median_of(json.loads(text))
        except ValueError as error:
            raise BackendError(f"{self._child.label}: benchmark_app ended well, but {error}", log) from error
        return AppRun(median, BenchmarkAppReport(command=tuple(command), settings=(), json_text=text))

    def resident_bytes(self) -> int:
        """Memory that the model's process holds now."""
        return self._child.call(memory.resident_bytes)

    def peak_memory_bytes(self) -> int:
        """Largest memory that the model's process has held."""
        return self._child.call(memory.peak_memory_bytes)

    def close(self) -> None:
        """Free the model and end its process."""
        self._child.close()


def arguments(device: str, shapes: dict[str, list[int]], iterations: int) -> list[str]:
    """benchmark_app's arguments; paths are relative to the folder that holds everything."""
    shaped = ",".join(f"{name}[{','.join(map(str, shape))}]" for name, shape in shapes.items())
    return [
        *("-m", f"{benchmark_app.GRAPH}/{MODEL}", "-d", device, "-load_config", benchmark_app.CONFIG),
        *("-api", "sync", "-niter", str(iterations), "-shape", shaped),
        *("-i", ",".join(f"{name}:{name}.npy" for name in shapes)),
        *("-report_type", "no_counters", "-report_folder", benchmark_app.REPORTS, "-json_stats"),
    ]


def median_of(report: Any) -> float:
    """The median latency in benchmark_app's report, in ms.

    Raises:
        ValueError: it has none, or one that is not positive.
    """
    found = report.get("execution_results", {})
    try:
        value = float(found[MEDIAN])
    except KeyError:
        raise ValueError(f"its report has no {MEDIAN!r} (it has {', '.join(found)})") from None
    if not value > 0:
        raise ValueError(f"its report has a median latency of {value:g} ms")
    return value
