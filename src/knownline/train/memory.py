"""Measures how much memory is free, on this machine or on a device."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from knownline.core.errors import DeviceError

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")


@contextmanager
def limit_of(device: Any) -> Iterator[None]:
    """Raise a DeviceError if a torch device runs out of memory in the block."""
    try:
        yield
    except RuntimeError as error:  # the class depends on the version of torch
        if "out of memory" not in str(error):
            raise
        raise DeviceError(
            f"train.device must have memory for the fit (got {device}, which has none left)"
        ) from error


def free(device: Any) -> int | None:
    """Return the free bytes of a torch device, or None if they are unknown."""
    if device.type == "cuda":
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    return free_here() if device.type == "cpu" else None


def free_here() -> int | None:
    """Return the bytes that this process can still allocate, within its container's limit."""
    limits = [bytes_ for bytes_ in (_free_on_machine(), _free_in_container()) if bytes_ is not None]
    return min(limits, default=None)


def _free_on_machine() -> int | None:
    try:
        lines = _MEMINFO.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _free_in_container() -> int | None:
    try:
        limit, used = ((_CGROUP / name).read_text() for name in ("memory.max", "memory.current"))
        return max(0, int(limit) - int(used))
    except (OSError, ValueError):  # no cgroup v2, or no limit: "max"
        return None
