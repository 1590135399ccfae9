"""The pass on a GPU beside the CPU's, as a share of what its bus and memory carry; its epochs.

Both sides read the same files in one process, in turn; the moments must have the same bits. The way
is a copy from pinned memory, the memory a copy within the device. Epochs are those of the three
points, and of rows one by one. Without a GPU: `--device cpu` runs the same steps, and says nothing
of one.
"""

import argparse
import statistics
import tempfile
import time
from contextlib import chdir
from pathlib import Path

import numpy as np
import torch
from benchmarks.passes import written

from knownline.scan import dataset, torch_backend
from knownline.scan.numpy_backend import Begin, OnCpu
from knownline.train import descent

COLUMNS = 16
"""Bytes of a row: x and y."""


def main() -> None:
    """Print seconds of both passes, and the shares."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10**8, help="rows (10⁸)")
    parser.add_argument("--times", type=int, default=5, help="repetitions (5)")
    parser.add_argument("--device", default="cuda", help="torch's name of it (cuda)")
    given = parser.parse_args()
    device = torch.device(given.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("the pass on a GPU: there is none here")
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = written(Path(scratch) / "work", given.rows)
        with chdir(folder.parent.parent):
            sides = {"cpu": OnCpu, "gpu": torch_backend.by_torch(device)}
            took = _in_turn(sides, given.times)
    size = given.rows * COLUMNS
    way, memory = (
        _copying(device, size, given.times, pinned=True),
        _copying(device, size, given.times, pinned=False),
    )
    cpu, gpu = took["cpu"], took["gpu"]
    print(f"{given.rows:,} rows, one hash on the CPU and on {_name(device)}")
    print(f"pass on the CPU {cpu:.3f} s, on the device {gpu:.3f} s, {gpu / cpu:.2f} of it")
    print(f"of the way to it, {size / way / 1e9:.1f} GB/s: {way / gpu:.0%}")
    print(f"of its memory, {size / memory / 1e9:.0f} GB/s: {memory / gpu:.1%}")
    for kind in (torch.device("cpu"), device):
        print(f"1,000 epochs on the {kind} {_epochs(kind, given.times):.3f} s")
    for rows in (given.rows // 100, given.rows // 10, given.rows):
        print(f"{rows:,} rows one by one on the {device}: an epoch {_epoch_of(rows, device):.2e} s")


def _in_turn(sides: dict[str, Begin], times: int) -> dict[str, float]:
    """Return the median seconds of each side, which must find the same bits."""
    took: dict[str, list[float]] = {name: [] for name in sides}
    found = set()
    for repetition in range(times + 1):
        for name, arithmetic in sides.items():
            began = time.perf_counter()
            known = dataset.summarize(Path("data/train"), reread=True, arithmetic=arithmetic)
            if repetition:  # the first one warms up
                took[name].append(time.perf_counter() - began)
            assert known is not None
            found.add((known.rows, known.sample.tobytes()))
    assert len(found) == 1, found
    return {name: statistics.median(seconds) for name, seconds in took.items()}


def _epochs(device: torch.device, times: int) -> float:
    """Return the seconds of 1,000 epochs on three points, their copies to and fro included."""
    x, y = np.array([0.0, -1.5, 1.5]), np.array([1.0, 2.0, 3.0])
    took = []
    for _ in range(times + 1):
        began = time.perf_counter()
        descent.fit(x, y, epochs=1000, learning_rate=0.2, dtype="float64", device=device)
        took.append(time.perf_counter() - began)
    return statistics.median(took[1:])


def _epoch_of(rows: int, device: torch.device) -> float:
    """Return the seconds of an epoch on so many rows: those of 21 less those of one, by 20."""
    x = np.random.default_rng(1).standard_normal(rows)
    y = 20.0 * x + 5.0
    took = []
    for epochs in (1, 1, 21):
        began = time.perf_counter()
        descent.fit(
            x, y, epochs=epochs, learning_rate=0.2, dtype="float64", device=device, halving=True
        )
        took.append(time.perf_counter() - began)
    return (took[2] - took[1]) / 20


def _copying(device: torch.device, size: int, times: int, *, pinned: bool) -> float:
    """Return the seconds that a copy of `size` bytes takes: from pinned memory, or within."""
    part = min(size, 1 << 28)
    there = torch.empty(part, dtype=torch.uint8, device=device)
    pin = device.type == "cuda"
    here = torch.empty(part, dtype=torch.uint8, pin_memory=pin) if pinned else there.clone()
    took = []
    for _ in range(times + 1):
        _wait(device)
        began = time.perf_counter()
        for _ in range(-(-size // part)):
            there.copy_(here, non_blocking=True)
        _wait(device)
        took.append((time.perf_counter() - began) * size / (-(-size // part) * part))
    return statistics.median(took[1:])


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"the {device}, no GPU"


if __name__ == "__main__":
    main()
