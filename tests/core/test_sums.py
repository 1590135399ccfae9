"""The order in which values are added: the promised one, on every machine."""

import math
import os
import subprocess
import sys
from collections.abc import Sequence
from itertools import zip_longest

import numpy as np
import numpy.typing as npt
import pytest

from knownline.core.sums import sums

Array = npt.NDArray[np.float64]

EPS = 2.0**-52


def sum_of(values: Array) -> float:
    return float(sums(values[None])[0])


def test_a_sum_of_a_million_keeps_its_digits() -> None:
    values = np.random.default_rng(3).uniform(0.0, 1.0, 1_000_000)
    assert sum_of(values) == pytest.approx(math.fsum(values.tolist()), rel=4 * EPS)


def sum_by_hand(values: Sequence[float]) -> float:
    """Return the sum in the order that `sums` promises, by Python's own floats."""
    left = list(values)
    while len(left) > 128:
        width = math.ceil(len(left) / 16)
        totals = left[:width]
        for place, value in enumerate(left[width:]):
            totals[place % width] += value
        left = totals
    while len(left) > 1:
        half = 1 << (len(left) - 1).bit_length() - 1
        left = [a + b for a, b in zip_longest(left[:half], left[half:], fillvalue=0.0)]
    return left[0]


EDGES = [*range(1, 10), 127, 128, 129, 255, 256, 257, 1000, 2048, 2049, 4096, 65_536, 65_537]


@pytest.mark.parametrize("rows", [*EDGES, 3333, 8999])
def test_values_are_added_in_the_promised_order_each_of_them_once(rows: int) -> None:
    draws = np.random.default_rng(rows)
    values = draws.standard_normal((3, rows)) * 10.0 ** draws.integers(-8, 8, (3, rows))
    before = values.copy()
    assert sums(values).tolist() == [sum_by_hand(row) for row in values.tolist()]
    assert values.tobytes() == before.tobytes()


@pytest.mark.parametrize("count", [0, 1, 2, 3, 300, 1000])
def test_a_sum_of_zeros_has_no_sign(count: int) -> None:
    assert math.copysign(1.0, sum_of(np.full(count, -0.0))) == 1.0


HEX = """
import numpy as np
from knownline.core.least_squares import LeastSquares
from knownline.core.moments import compress
from knownline.model import LINE, QUADRATIC
print(*np.show_config(mode="dicts")["SIMD Extensions"].get("found", []))
draws = np.random.default_rng(7)
chunks = []
for rows in (65_536, 65_536, 12_347, 5):
    x = 1e6 + draws.integers(0, 2**40, rows) * 2.0**-30
    chunks.append((x, 20 * x + 5 + draws.integers(-(2**20), 2**20, rows) * 2.0**-18))
for model in (LINE, QUADRATIC):
    c = compress((model.columns([x]), y) for x, y in chunks)
    fit, p = LeastSquares(model, c), c.pivot
    columns, y = fit.points(standardize=False)
    errors = fit.standard_errors(2.5)
    print(c.rows, *[float(v).hex() for v in (*p.terms, p.y, *p.slopes, *c.moments,
          *np.concatenate(columns), *y, *fit.solution.values(), *errors.values(),
          *c.mean_terms, c.mean_y, *fit.sds, c.var_y)])
"""


def computed_with(**env: str) -> tuple[list[str], list[str]]:
    """Return the SIMD extensions that numpy uses, and all results for some rows in hex."""
    done = subprocess.run(
        [sys.executable, "-c", HEX],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=True,
    )
    simd, *results = done.stdout.splitlines()
    return simd.split(), results


def test_bits_depend_neither_on_simd_nor_on_threads() -> None:
    simd, results = computed_with()
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    for threads in ("1", "3"):
        assert computed_with(**dict.fromkeys(names, threads)) == (simd, results)
    if simd:
        assert computed_with(NPY_DISABLE_CPU_FEATURES=" ".join(simd)) == ([], results)
