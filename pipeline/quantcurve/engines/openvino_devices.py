"""Devices by the names that OpenVINO gives them, and whether those that a recipe names are on this machine."""

from __future__ import annotations

from collections.abc import Sequence

ALWAYS = "CPU"
"""Comes with OpenVINO."""
CHOOSING = ("AUTO", "MULTI", "HETERO", "BATCH")
"""Devices that hand a model to others, which may be named after a colon."""


def available() -> list[str]:
    """Devices that OpenVINO finds here; runs in a child."""
    import openvino as ov

    return [str(device) for device in ov.Core().available_devices]


def refusal(device: str, found: Sequence[str]) -> str | None:
    """Why a model cannot run on a device, or None.

    Args:
        device: as a recipe names it; `AUTO:GPU,CPU` names two, `AUTO` takes what there is.
        found: devices that OpenVINO finds.
    """
    absent = [name for name in _working(device) if not any(_same(name, there) for there in found)]
    if not absent:
        return None
    which = f"device {device}" if absent == [device] else f"device {device}: {' and '.join(absent)}"
    are = "is" if len(absent) == 1 else "are"
    return f"{which} {are} not on this machine; OpenVINO finds {', '.join(found) or 'none'}"


def _working(device: str) -> tuple[str, ...]:
    """Those that compute."""
    first, _, others = device.partition(":")
    return tuple(name for name in (first, *others.split(",")) if name and name not in CHOOSING)


def _same(name: str, there: str) -> bool:
    """OpenVINO numbers the devices of a kind only if there are several: GPU is GPU.0 then, and GPU.0 is GPU."""
    return name == there or there.startswith(f"{name}.") or name == f"{there}.0"
