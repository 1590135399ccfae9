"""Sums over rows have one order, so threads, SIMD and devices change no bit of a fit."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from knownline.train import summation
from tests.conftest import ROOT
from tests.train.test_descent import fitted, standardised

SCRIPT = """
import hashlib
import numpy as np, torch
from knownline.core.least_squares import LeastSquares
from knownline.core.moments import compress
from knownline.model import LINE
from knownline.train.descent import fit
generator = np.random.default_rng(5)
x = generator.standard_normal(150_001)
y = 20 * x + 5 + generator.standard_normal(len(x))
points = LeastSquares(LINE, compress([([x], y)])).points(standardize=True)
raw = LeastSquares(LINE, compress([([50 + 28 * x], y)])).points(standardize=False)
for dtype in ("float64", "float32"):
    for (a, b), epochs, rate, halving in (
        (points, 100, 0.25, False), (raw, 100, 1e-4, False), (([x], y), 5, 0.25, True)
    ):
        history = fit(a, b, kind=LINE, epochs=epochs, learning_rate=rate, dtype=dtype,
                      device=torch.device("cpu"), halving=halving)
        columns = np.vstack([history.loss, history.values])
        print(hashlib.sha256(columns.tobytes()).hexdigest())
"""


def test_threads_and_simd_change_no_bit_of_a_fit_on_three_points_or_on_rows() -> None:
    def output(**env: str) -> str:
        return subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env={**os.environ, "PYTHONPATH": str(ROOT / "src"), **env},
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    reference = output(OMP_NUM_THREADS="2")
    assert len(set(reference.splitlines())) == 6
    assert output(OMP_NUM_THREADS="1", ATEN_CPU_CAPABILITY="default") == reference
    assert output(OMP_NUM_THREADS="3", ATEN_CPU_CAPABILITY="avx2") == reference


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 8, 9, 1000])
def test_halving_changes_no_more_than_rounding(rows: int) -> None:
    x, y = standardised(1, rows=rows)
    halved = fitted(x, y, epochs=30, rate=0.25, halving=True)
    plain = fitted(x, y, epochs=30, rate=0.25)
    assert np.allclose(halved.loss, plain.loss, rtol=1e-9, atol=1e-12)
    assert np.allclose(halved.values, plain.values, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", [torch.float64, torch.float32])
def test_three_points_are_added_in_the_order_of_torch_on_the_cpu(kind: torch.dtype) -> None:
    """An accelerator adds them so; each step is elementwise, so the device does not matter."""
    for seed in range(40):
        x, y = (torch.as_tensor(v).to(kind) for v in standardised(seed, rows=3, noise=40.0))
        sums = summation.InOrder(x)
        steps: list[list[float]] = []
        for shared, mean in ((sums.shared, sums.mean), summation.sums_for(x, halving=False)):
            w, b = (torch.tensor(v, dtype=kind, requires_grad=True) for v in (0.1 * seed, 2.3))
            loss = mean((x * shared(w) + shared(b) - y) ** 2)
            loss.backward()  # type: ignore[no-untyped-call]
            assert w.grad is not None
            assert b.grad is not None
            steps.append([loss.item(), w.grad.item(), b.grad.item()])
        assert steps[0] == steps[1]
