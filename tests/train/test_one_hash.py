"""Data, summary, history and line have one hash: whatever the threads, the SIMD, and the kills."""

import random
from itertools import product
from pathlib import Path

import pytest

from knownline.generate.shards import SHARD_ROWS
from tests import bits
from tests.conftest import Workspace, checkout

ROWS = 5_500_000
"""Two shards of training rows."""


def files(workspace: Workspace) -> int:
    return len(list((workspace.path / "data/train").glob("*.parquet")))


def test_threads_and_simd_make_one_hash(fresh: Workspace) -> None:
    assert SHARD_ROWS < 0.8 * ROWS <= 2 * SHARD_ROWS
    bits.configure(fresh, rows=ROWS)
    widths = list(bits.simd().values())
    one = bits.made(fresh, threads=1, **widths[0])
    assert files(fresh) == 2
    assert bits.made(fresh, threads=3, **widths[-1]) == one


@pytest.fixture(scope="module", params=[True, False], ids=["compressed", "row by row"])
def configured(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Workspace:
    """A checkout whose data are several shards, or are fitted row by row."""
    workspace = checkout(Path(tmp_path_factory.mktemp("one-hash")) / "work")
    bits.configure(workspace, compress=request.param)
    return workspace


expected: dict[Path, str] = {}
"""The hash that the first case made in a workspace."""


@pytest.mark.slow
@pytest.mark.parametrize(("width", "threads"), list(product(bits.simd(), (1, 2, 3, 4, 8))), ids=str)
def test_every_number_of_threads_and_width_of_simd_make_one_hash_though_they_are_killed(
    configured: Workspace, width: str, threads: int
) -> None:
    env = bits.simd()[width]
    one = bits.made(configured, threads=threads, **env)
    assert one == expected.setdefault(configured.path, one)
    dice = random.Random(f"{width} {threads}")
    found, _ = bits.made_after_kills(configured, dice, threads=threads, **env)
    assert found == one


@pytest.mark.slow
def test_kills_find_something_to_kill(fresh: Workspace) -> None:
    bits.configure(fresh)
    one = bits.made(fresh, threads=2)
    kills = 0
    for seed in range(6):
        found, more = bits.made_after_kills(fresh, random.Random(seed), threads=2)
        assert found == one
        kills += more
    assert kills
