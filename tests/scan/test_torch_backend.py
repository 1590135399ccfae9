"""The pass's arithmetic by torch: numpy's bits, on the CPU here and on a GPU where there is one."""

import os
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from knownline.core import moments, parquet
from knownline.core.errors import DeviceError
from knownline.core.moments import Pivot
from knownline.scan import dataset, pool, torch_backend
from knownline.scan.numpy_backend import OnCpu
from knownline.scan.torch_backend import Accelerator
from tests.bits import Array, drawn, moments_of
from tests.file_contents import write_sums

CPU = torch.device("cpu")


@given(
    st.integers(0, 2**32),
    st.integers(1, 3000),
    st.integers(1, 4),
    st.integers(1, 11),
    st.sampled_from([0.0, 1e8, -1e300, 5e-324]),
)
@settings(max_examples=100, deadline=None)
def test_moments_have_the_bits_of_numpy(
    seed: int, rows: int, chunks: int, pieces: int, offset: float
) -> None:
    x, y = drawn(seed, pieces * chunks * rows, offset).reshape(2, pieces, chunks, rows)
    pivot = Pivot(offset, 3.0, 19.7)
    with moments.ignoring_overflow():
        expected = [moments.chunk_moments(*piece, pivot) for piece in zip(x, y, strict=True)]
    for begin in (OnCpu, torch_backend.by_torch(CPU)):
        found = moments_of(begin, x, y, pivot)
        assert [part.tobytes() for part in found] == [part.tobytes() for part in expected]


@pytest.mark.parametrize(
    "rows", [(7, 7), (7,), (7, 7, 7), (7, 6), (8, 8)], ids=lambda rows: "-".join(map(str, rows))
)
def test_a_piece_of_another_form_is_done_where_it_is_read(rows: tuple[int, ...]) -> None:
    pivot = Pivot(1.0, 2.0, 20.0)
    worker = Accelerator(CPU, pivot, chunks=2, rows=7, hands=2)
    chunks = [drawn(seed, count) for seed, count in enumerate(rows)]
    expected = [moments.chunk_moments(x[None], y[None], pivot) for x, y in chunks]
    told = worker.read(((x, y) for x, y in chunks), rows, hand=1)
    assert isinstance(told, int) == (rows == (7, 7))
    worker.take(3, told)
    found = worker.moments()
    assert list(found) == [3]
    assert found[3].tobytes() == np.concatenate(expected).tobytes()


@pytest.mark.parametrize("hashed", [True, False])
@pytest.mark.parametrize("threads", ["1", "3"])
def test_the_pass_is_the_same_whoever_takes_its_moments(
    hashed: bool, threads: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    monkeypatch.setattr(parquet, "SHARD_CHUNKS", 20)
    folder = Path("data/train")
    folder.mkdir(parents=True)
    with parquet.ShardWriter(folder, 50) as writer:
        writer.append(*drawn(5, 2_345, 1e6))
    write_sums(folder.parent, writer.files)
    if hashed:
        dataset.summarize(folder)
    taken: list[object] = []

    class Watched(Accelerator):
        def take(self, piece: int, told: Array | int) -> None:
            taken.append(told)
            super().take(piece, told)

    found = dataset.summarize(
        folder,
        reread=True,
        arithmetic=partial(Watched, CPU),
    )
    plain = dataset.summarize(folder, reread=True)
    assert found is not None
    assert plain is not None
    assert (found.rows, found.sample.tobytes()) == (plain.rows, plain.sample.tobytes())
    if hashed:  # 20, 20 and 7 chunks: pieces of 8, 8, 4; 8, 8, 4; 7
        assert sum(isinstance(told, int) for told in taken) == 4
        assert len(taken) == 7


@pytest.mark.parametrize("device", ["cpu", "mps", "xpu"])
def test_where_float64_is_not_promised_numpy_does_it(device: str) -> None:
    assert torch_backend.on(device) is OnCpu


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 33 MiB"),
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronous"),
    ],
)
def test_a_device_without_memory_is_one_line(error: RuntimeError) -> None:
    rule = r"^train\.device must have memory for the fit \(got cpu, which has none left\)$"
    with pytest.raises(DeviceError, match=rule), torch_backend.memory_of(CPU):
        raise error


def test_another_error_of_a_device_is_ours() -> None:
    with pytest.raises(RuntimeError, match="illegal"), torch_backend.memory_of(CPU):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")


@pytest.mark.skipif(not pool.FORKS, reason="this system's processes do not fork")
def test_forked_processes_do_not_touch_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CUDA context does not survive a fork: torch refuses to use it there."""
    callers: list[int] = []
    from_numpy = torch.from_numpy

    def watched(array: Array) -> torch.Tensor:
        if os.getpid() != this_process:
            raise RuntimeError("Cannot re-initialize CUDA in forked subprocess")
        callers.append(os.getpid())
        return from_numpy(array)

    this_process = os.getpid()
    monkeypatch.setattr(torch, "from_numpy", watched)
    worker = Accelerator(CPU, Pivot(0.0, 0.0, 1.0), chunks=2, rows=5, hands=3)

    def work(piece: int, hand: int) -> Array | int:
        return worker.read(zip(*np.full((2, 2, 5), float(piece)), strict=True), (5, 5), hand)

    for piece, slot in pool.over(work, range(40), 3):
        worker.take(piece, slot)
    means = worker.moments()
    assert [means[piece][0, 1] for piece in range(40)] == list(map(float, range(40)))
    assert callers
