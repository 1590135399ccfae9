"""A GPU makes the bits of the CPU. Runs where torch sees one of NVIDIA's (or of AMD's, by ROCm)."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import pytest
import torch

from knownline.core.errors import DeviceError, ParamsError
from knownline.core.history import History
from knownline.model import LINE, PLANE
from knownline.train import descent, fitting, memory
from knownline.train.descent import ResumePoint
from tests import bits
from tests.conftest import Workspace

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")

Array = npt.NDArray[np.float64]

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def drawn(seed: int, rows: int) -> tuple[list[Array], Array]:
    """Return a column of standardised x, and y, of points about a line, (rows,) each."""
    draws = np.random.default_rng(seed)
    x = draws.uniform(1.0, 99.0, rows)
    y = 20.0 * x + 5.0 + 1.5 * draws.standard_normal(rows)
    return [(x - x.mean()) / x.std()], y


def bytes_of(history: History) -> list[bytes]:
    return [history.loss.tobytes(), history.values.tobytes()]


@pytest.mark.parametrize("halving", [False, True])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("seed", range(5))
def test_a_fit_has_the_bits_of_the_cpu(halving: bool, dtype: str, seed: int) -> None:
    x, y = drawn(seed, 150_001 if halving else 3)
    one, other = (
        descent.fit(
            x, y, kind=LINE, epochs=50, learning_rate=0.2, dtype=dtype, device=d, halving=halving
        )
        for d in (CPU, CUDA)
    )
    assert bytes_of(one) == bytes_of(other)


@pytest.mark.parametrize("halving", [False, True])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_fit_of_three_columns_has_the_bits_of_the_cpu(halving: bool, dtype: str) -> None:
    """As few points stand for the rows as there are parameters, and one more."""
    columns, y = np.split(np.random.default_rng(3).normal(size=(4, 150_001 if halving else 5)), [3])
    one, other = (
        descent.fit(
            list(columns), y[0], kind=PLANE(("a", "b", "c")), epochs=50, learning_rate=0.2,
            dtype=dtype, device=device, halving=halving,
        )
        for device in (CPU, CUDA)
    )  # fmt: skip
    assert bytes_of(one) == bytes_of(other)


@pytest.mark.parametrize("halving", [False, True])
def test_the_cuda_graph_has_the_bits_of_the_steps_one_by_one(
    halving: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = drawn(7, 70_003 if halving else 3)

    def fit() -> History:
        return descent.fit(
            x, y, kind=LINE, epochs=50, learning_rate=0.2, dtype="float64", device=CUDA,
            halving=halving,
        )  # fmt: skip

    captured = fit()
    monkeypatch.setattr(descent, "_captured", lambda take_step, raw: take_step)
    assert bytes_of(fit()) == bytes_of(captured)


def test_a_fit_that_is_resumed_has_the_bits_of_one_without_a_break() -> None:
    x, y = drawn(8, 3)
    points: list[ResumePoint] = []

    def fit(start: ResumePoint | None = None) -> History:
        return descent.fit(
            x, y, kind=LINE, epochs=50, learning_rate=0.2, dtype="float64", device=CUDA,
            start=start, watch=lambda step: points.append(step.resume_point),
        )  # fmt: skip

    whole = fit()
    half = points[20]
    resumed = fit(half)
    assert bytes_of(resumed) == bytes_of(whole)


@pytest.mark.parametrize("compress", [True, False])
def test_the_stage_makes_one_hash(fresh: Workspace, compress: bool) -> None:
    bits.configure(fresh, compress=compress)
    fresh.knownline("generate")
    found = {}
    for device in ("cpu", "cuda"):
        before = "auto" if device == "cpu" else "cpu"
        fresh.replace("params.yaml", f"device: {before}\n", f"device: {device}\n")
        fresh.knownline("train")
        found[device] = bits.of(fresh)
    assert found["cpu"] == found["cuda"]


def test_killed_and_resumed_it_makes_the_hash_of_the_cpu(fresh: Workspace) -> None:
    bits.configure(fresh)
    fresh.replace("params.yaml", "device: auto", "device: cpu")
    one = bits.made(fresh, threads=2)
    fresh.replace("params.yaml", "device: cpu", "device: cuda")
    dice = random.Random(1)
    for _ in range(3):
        found, _ = bits.made_after_kills(fresh, dice, threads=2)
        assert found == one


def test_rows_that_do_not_fit_into_the_gpu_are_refused_with_their_bytes() -> None:
    each = descent.row_bytes(1, "float64", CUDA)
    free = memory.free(CUDA)
    assert free is not None
    fitting.refuse_too_many(free // each[CUDA] - 1_000_000, {CUDA: each[CUDA]})
    rows = free // each[CUDA] + 1_000_000
    with pytest.raises(
        ParamsError, match=rf"take {rows * each[CUDA]:,} bytes on cuda, where .* \(got false\)"
    ):
        fitting.refuse_too_many(rows, {CUDA: each[CUDA]})


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_rows_take_no_more_memory_than_is_asked_for(dtype: str) -> None:
    x, y = drawn(1, 10_000_000)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    descent.fit(
        x, y, kind=LINE, epochs=3, learning_rate=1e-5, dtype=dtype, device=CUDA, halving=True
    )
    assert torch.cuda.max_memory_reserved() <= len(y) * descent.row_bytes(1, dtype, CUDA)[CUDA]


def test_a_gpu_that_others_have_filled_is_one_line(fresh: Workspace) -> None:
    fresh.knownline("generate")
    with all_but(0):
        refused = fresh.knownline("train", ok=False)
    assert refused.returncode == 2, refused.stderr
    assert "train.device must have memory for the fit (got cuda" in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_a_fit_that_finds_no_memory_is_one_line() -> None:
    x, y = drawn(1, 4_000_000)
    with (
        all_but(8 << 20),
        pytest.raises(DeviceError, match=r"train\.device must have memory for the fit"),
        memory.limit_of(CUDA),
    ):
        descent.fit(
            x, y, kind=LINE, epochs=3, learning_rate=0.1, dtype="float64", device=CUDA,
            halving=True,
        )  # fmt: skip


@contextmanager
def all_but(left: int) -> Iterator[None]:
    """Take the GPU's memory, but for so many bytes."""
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info()
    taken = torch.empty(free - left - (16 << 20), dtype=torch.uint8, device=CUDA)
    try:
        yield
    finally:
        del taken
        torch.cuda.empty_cache()
