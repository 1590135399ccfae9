"""The pass on a GPU beside the CPU's, and as a share of what the way to it and its memory carry.

Both sides read the same files in one process, in turn; the moments must have the same bits. The way
is a copy from pinned memory, the memory a copy within the device. Without a GPU: `--device cpu`
runs the same steps, and says nothing of one.
"""

import argparse
import statistics
import tempfile
import time
from contextlib import chdir
from pathlib import Path

import torch
from benchmarks.passes import written

from knownline import accelerator, onepass
from knownline.arithmetic import Begin, OnCpu

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
            sides = {"cpu": OnCpu, "gpu": accelerator.by_torch(device)}
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


def _in_turn(sides: dict[str, Begin], times: int) -> dict[str, float]:
    """Return the median seconds of each side, which must find the same bits."""
    took: dict[str, list[float]] = {name: [] for name in sides}
    found = set()
    for repetition in range(times + 1):
        for name, arithmetic in sides.items():
            began = time.perf_counter()
            known = onepass.known(Path("data/train"), reread=True, arithmetic=arithmetic)
            if repetition:  # the first one warms up
                took[name].append(time.perf_counter() - began)
            assert known is not None
            found.add((known.rows, known.sample.tobytes()))
    assert len(found) == 1, found
    return {name: statistics.median(seconds) for name, seconds in took.items()}


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
