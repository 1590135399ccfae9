"""CPU and GPU make one hash. Runs where torch sees a GPU of NVIDIA's (or of AMD's, by ROCm)."""

import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from knownline.core.errors import DeviceError, ParamsError
from knownline.core.moments import Pivot
from knownline.scan import dataset, torch_backend
from knownline.scan.numpy_backend import OnCpu
from knownline.train import descent, fitting, memory
from tests import bits
from tests.conftest import Workspace

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize("rows", [1, 2, 3, 1000, 65_535, 65_536])
@pytest.mark.parametrize("offset", [0.0, 1e8, -1e300])
def test_moments_have_the_bits_of_numpy(rows: int, offset: float) -> None:
    for seed in range(10):
        pieces, chunks = 1 + seed, 1 + seed % 4
        x, y = bits.drawn(seed, pieces * chunks * rows, offset).reshape(2, pieces, chunks, rows)
        pivot = Pivot(offset, 3.0, 19.7 + seed)
        found = [bits.moments_of(b, x, y, pivot) for b in (torch_backend.by_torch(CUDA), OnCpu)]
        assert [part.tobytes() for part in found[0]] == [part.tobytes() for part in found[1]]


@pytest.mark.parametrize("halving", [False, True])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("seed", range(5))
def test_a_fit_has_the_bits_of_the_cpu(halving: bool, dtype: str, seed: int) -> None:
    x, y = bits.drawn(seed, 150_001 if halving else 3)
    x = (x - x.mean()) / x.std()
    found = {
        device: descent.fit(
            x, y, epochs=50, learning_rate=0.2, dtype=dtype, device=device, halving=halving
        )
        for device in (CPU, CUDA)
    }
    for name in ("loss", "w", "b"):
        one, other = (getattr(found[device], name).tobytes() for device in (CPU, CUDA))
        assert one == other, name


@pytest.mark.parametrize("compress", [True, False])
def test_the_stage_makes_one_hash(fresh: Workspace, compress: bool) -> None:
    bits.configure(fresh, compress=compress)
    fresh.knownline("generate")
    found = {}
    for device in ("cpu", "cuda"):
        shutil.rmtree(fresh.path / "mlruns/moments", ignore_errors=True)
        before = "auto" if device == "cpu" else "cpu"
        fresh.replace("params.yaml", f"device: {before}\n", f"device: {device}\n")
        fresh.knownline("train")
        found[device] = bits.of(fresh)
    assert found["cpu"] == found["cuda"]


def test_the_pass_on_the_gpu_is_that_on_the_cpu(
    fresh: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    bits.configure(fresh)
    fresh.knownline("generate")
    monkeypatch.chdir(fresh.path)
    folder = Path("data/train")
    plain = dataset.summarize(folder, reread=True)
    found = dataset.summarize(folder, reread=True, arithmetic=torch_backend.by_torch(CUDA))
    assert plain is not None
    assert found is not None
    assert (found.rows, found.sample.tobytes()) == (plain.rows, plain.sample.tobytes())


def test_two_workers_without_a_gpu_each_work_on_the_cpu(fresh: Workspace) -> None:
    workers = torch.cuda.device_count() + 1
    bits.configure(fresh)
    found = {bits.made(fresh, workers=n, threads=1) for n in (1, workers)}
    assert len(found) == 1


def test_a_worker_with_a_gpu_of_its_own_makes_the_same_hash(fresh: Workspace) -> None:
    bits.configure(fresh)
    one = bits.made(fresh, workers=1, threads=2)
    shutil.rmtree(fresh.path / "mlruns/moments")
    torchrun = ["python", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=1"]
    done = fresh.run(*torchrun, "src/knownline", "train", NCCL_DEBUG="VERSION")
    assert "NCCL version" in done.stdout
    assert bits.of(fresh) == one


def test_killed_and_resumed_it_makes_the_hash_of_the_cpu(fresh: Workspace) -> None:
    bits.configure(fresh)
    fresh.replace("params.yaml", "device: auto", "device: cpu")
    one = bits.made(fresh, workers=1, threads=2)
    fresh.replace("params.yaml", "device: cpu", "device: cuda")
    dice = random.Random(1)
    for _ in range(3):
        found, _ = bits.made_after_kills(fresh, dice, workers=1, threads=2)
        assert found == one


def test_rows_that_do_not_fit_into_the_gpu_are_refused_with_their_bytes() -> None:
    each = descent.row_bytes("float64", CUDA)
    free = memory.free(CUDA)
    assert free is not None
    fitting.refuse_too_many(free // each[CUDA] - 1_000_000, {CUDA: each[CUDA]})
    rows = free // each[CUDA] + 1_000_000
    with pytest.raises(
        ParamsError, match=rf"take {rows * each[CUDA]:,} bytes on cuda \(got false,"
    ):
        fitting.refuse_too_many(rows, {CUDA: each[CUDA]})


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_rows_take_no_more_memory_than_is_asked_for(dtype: str) -> None:
    x, y = bits.drawn(1, 10_000_000)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    descent.fit(x, y, epochs=3, learning_rate=1e-5, dtype=dtype, device=CUDA, halving=True)
    assert torch.cuda.max_memory_reserved() <= len(x) * descent.row_bytes(dtype, CUDA)[CUDA]


def test_a_gpu_that_others_have_filled_is_one_line(fresh: Workspace) -> None:
    bits.configure(fresh)
    fresh.knownline("generate")
    with all_but(0):
        refused = fresh.knownline("train", ok=False)
    assert refused.returncode == 2, refused.stderr
    assert "train.device must have memory for the fit (got cuda" in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_a_pass_that_finds_no_memory_is_one_line() -> None:
    x, y = bits.drawn(1, 8 * 65_536).reshape(2, 1, 8, 65_536)
    rule = "train.device must have memory for the fit"
    with all_but(8 << 20), pytest.raises(DeviceError, match=rule), torch_backend.memory_of(CUDA):
        bits.moments_of(torch_backend.by_torch(CUDA), x, y, Pivot(0.0, 0.0, 0.0))


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
