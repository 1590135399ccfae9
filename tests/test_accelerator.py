"""The pass's arithmetic by torch: numpy's bits, on the CPU here and on a GPU where there is one."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from knownline import accelerator, compression, files, onepass, shards
from knownline.accelerator import Accelerator
from knownline.compression import Pivot

Array = npt.NDArray[np.float64]

CPU = torch.device("cpu")


def drawn(seed: int, *, rows: int, offset: float = 0.0) -> tuple[Array, Array]:
    draws = np.random.default_rng(seed)
    x = offset + draws.uniform(1.0, 99.0, rows)
    return x, 20.0 * x + 5.0 + 1.5 * draws.standard_normal(rows)


@given(
    st.integers(0, 2**32),
    st.integers(1, 3000),
    st.integers(1, 4),
    st.sampled_from([0.0, 1e8, -1e300, 5e-324]),
)
@settings(max_examples=100, deadline=None)
def test_moments_have_the_bits_of_numpy(seed: int, rows: int, count: int, offset: float) -> None:
    chunks = [drawn(seed + i, rows=rows, offset=offset) for i in range(count)]
    pivot = Pivot(offset, 3.0, 19.7)
    with compression.quiet():
        expected = compression.chunk_moments(chunks, pivot)
    assert Accelerator(CPU).moments(chunks, pivot).tobytes() == expected.tobytes()


def test_memory_used_again_changes_nothing() -> None:
    worker, pivot = Accelerator(CPU), Pivot(1.0, 2.0, 20.0)
    for seed, (rows, count) in enumerate([(1000, 4), (7, 1), (1000, 4), (65_536, 2)]):
        chunks = [drawn(seed + i, rows=rows) for i in range(count)]
        expected = compression.chunk_moments(chunks, pivot)
        assert worker.moments(chunks, pivot).tobytes() == expected.tobytes()


def test_the_pass_is_the_same_whoever_takes_its_moments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    folder = Path("data/train")
    folder.mkdir(parents=True)
    x, y = drawn(5, rows=2_345, offset=1e6)
    with shards.ShardWriter(folder, 50) as writer:
        writer.append(x, y)
    files.seal(folder.parent, writer.files)
    asked: list[int] = []

    def begin() -> compression.Work:
        worker = Accelerator(CPU)

        def moments(chunks: Sequence[tuple[Array, Array]], pivot: Pivot) -> Array:
            asked.append(len(chunks))
            return worker.moments(chunks, pivot)

        return moments

    by_torch = replace(accelerator.by_torch(CPU), begin=begin)
    found = onepass.known(folder, reread=True, arithmetic=by_torch)
    plain = onepass.known(folder, reread=True)
    assert sum(asked) == 47  # every chunk
    assert max(asked) == accelerator.AT_ONCE
    assert found is not None
    assert plain is not None
    assert (found.rows, found.sample.tobytes()) == (plain.rows, plain.sample.tobytes())


@pytest.mark.parametrize("device", ["cpu", "mps", "xpu"])
def test_where_float64_is_not_promised_numpy_does_it(device: str) -> None:
    chunks, pivot = [drawn(1, rows=10)], Pivot(0.0, 0.0, 0.0)
    found = accelerator.on(device).begin()(chunks, pivot)
    assert found.tobytes() == compression.chunk_moments(chunks, pivot).tobytes()
