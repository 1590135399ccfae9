"""Rows that do not fit into the free memory are refused before they are read."""

from pathlib import Path
from typing import Any

import pytest
import torch

from knownline.core.errors import ParamsError
from knownline.train import fitting, memory

CPU = torch.device("cpu")


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Return the files of the system that report memory; a test fills them in."""
    files: dict[str, str] = {}
    read = Path.read_text

    def read_text(path: Path, *args: Any, **more: Any) -> str:
        if not str(path).startswith(("/proc/meminfo", "/sys/fs/cgroup/")):
            return read(path, *args, **more)
        if str(path) not in files:
            raise FileNotFoundError(str(path))
        return files[str(path)]

    monkeypatch.setattr(Path, "read_text", read_text)
    return files


def test_free_memory_is_positive_and_plausible() -> None:
    free = memory.free(CPU)
    assert free is not None
    assert 0 < free < 1 << 50


@pytest.mark.parametrize(
    ("limit", "free"), [(None, 2048), ("max", 2048), ("1500", 500), ("900", 0), ("9999999", 2048)]
)
def test_free_memory_is_the_smaller_of_the_machines_and_the_containers(
    limit: str | None, free: int, system: dict[str, str]
) -> None:
    system["/proc/meminfo"] = "MemTotal: 8 kB\nMemAvailable:       2 kB\n"
    system["/sys/fs/cgroup/memory.current"] = "1000\n"
    if limit:
        system["/sys/fs/cgroup/memory.max"] = f"{limit}\n"
    assert memory.free(CPU) == free


def test_rows_that_do_not_fit_are_refused_with_the_bytes(system: dict[str, str]) -> None:
    system["/proc/meminfo"] = "MemAvailable: 1000 kB\n"
    fitting.refuse_too_many(5_120, {CPU: 200})
    with pytest.raises(ParamsError, match=r"train\.compress must be true: 5,121 rows") as refused:
        fitting.refuse_too_many(5_121, {CPU: 200})
    assert "take 1,024,200 bytes on cpu, where 1,024,000 are free (got false)" in str(refused.value)


def test_nothing_is_refused_when_the_free_memory_is_unknown(system: dict[str, str]) -> None:
    assert memory.free(CPU) is None
    fitting.refuse_too_many(10**15, {CPU: 200, torch.device("mps"): 200})
