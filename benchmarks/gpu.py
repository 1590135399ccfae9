"""The speed of a fit on a GPU: epochs on three points, and on all rows.

Needs a GPU; `--device cpu` runs the same steps without one.
"""

import argparse
import statistics
import time

import numpy as np
import torch

from knownline.model import LINE
from knownline.train import descent


def main() -> None:
    """Print the seconds of epochs on the CPU and on the device."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10**8, help="the most rows one by one (10⁸)")
    parser.add_argument("--times", type=int, default=5, help="repetitions (5)")
    parser.add_argument("--device", default="cuda", help="torch's name of it (cuda)")
    given = parser.parse_args()
    device = torch.device(given.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("epochs on a GPU: there is none here")
        return
    for kind in (torch.device("cpu"), device):
        took = [_seconds(3, 1000, kind) for _ in range(given.times + 1)][1:]
        print(f"1,000 epochs on three points on the {kind}: {statistics.median(took):.3f} s")
    for rows in (given.rows // 100, given.rows // 10, given.rows):
        took = [
            (_seconds(rows, 21, device) - _seconds(rows, 1, device)) / 20
            for _ in range(given.times + 1)
        ][1:]
        print(f"{rows:,} rows one by one on the {device}: {statistics.median(took):.2e} s an epoch")


def _seconds(rows: int, epochs: int, device: torch.device) -> float:
    """Return the seconds of a fit, including the copies to the device and back."""
    x = np.linspace(-1.5, 1.5, rows)
    y = 20.0 * x + 5.0
    began = time.perf_counter()
    descent.fit(
        [x], y, kind=LINE, epochs=epochs, learning_rate=0.2, dtype="float64",
        device=device, halving=rows > 3,
    )  # fmt: skip
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
