import os
import random

import numpy as np
import pytest

from knownline.core.errors import WorkersError
from knownline.scan import torchrun


@pytest.mark.parametrize(("text", "count"), [(None, 1), ("", 1), ("1", 1), (" 2 ", 2), ("16", 16)])
def test_the_number_of_workers(
    text: str | None, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KNOWNLINE_WORKERS", raising=False)
    if text is not None:
        monkeypatch.setenv("KNOWNLINE_WORKERS", text)
    assert torchrun.wanted() == count


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5", "1e3", "1025", "9" * 40, "٢", "2 2"])
def test_what_is_no_number_of_workers_is_refused(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KNOWNLINE_WORKERS", text)
    with pytest.raises(WorkersError, match="KNOWNLINE_WORKERS must be a whole number from 1 to"):
        torchrun.wanted()


@pytest.mark.parametrize(("text", "count"), [("1", 1), ("3", 3), ("4,2", 4), ("9999", 32)])
def test_threads_are_those_of_openmp(
    text: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", text)
    assert torchrun.threads() == count


@pytest.mark.parametrize("text", ["", "0", "many", "-2"])
def test_without_a_number_of_threads_every_core_has_one(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", text)
    assert torchrun.threads() == min(torchrun.cores(), 32)
    assert 1 <= torchrun.cores() <= (os.cpu_count() or 1)


class Store:
    """A counter, as those of torch.distributed count."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def add(self, key: str, amount: int) -> int:
        self.counts[key] = self.counts.get(key, 0) + amount
        return self.counts[key]


@pytest.mark.parametrize("size", [1, 2, 3, 16])
@pytest.mark.parametrize("count", [0, 1, 5, 37])
def test_every_turn_is_one_workers_and_who_asks_gets_the_next(
    size: int, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torchrun.ProcessGroup, "told", lambda self, values: np.array([7.0]))
    store = Store()
    turns = [torchrun.ProcessGroup(rank, size, store=store).turns(count) for rank in range(size)]
    dice = random.Random(count)
    found: list[int] = []
    while turns:
        one = dice.choice(turns)
        number = next(one, None)
        if number is None:
            turns.remove(one)
        else:
            found.append(number)
    assert found == list(range(count))
