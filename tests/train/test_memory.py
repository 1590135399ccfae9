from pathlib import Path

import pytest
import torch

from knownline.core.errors import ParamsError
from knownline.train import fitting, memory

CPU = torch.device("cpu")


def test_free_memory_is_some_and_not_more_than_there_is() -> None:
    free = memory.free(CPU)
    assert free is not None
    assert 0 < free < 1 << 50


def test_a_containers_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    whole = memory.free(CPU)
    assert whole is not None
    (tmp_path / "memory.current").write_text("1000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.free(CPU) != 500
    (tmp_path / "memory.max").write_text("1500\n")
    assert memory.free(CPU) == 500


def test_rows_that_do_not_fit_are_refused_with_the_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free", lambda place: 1_000_000)
    fitting.refuse_too_many(5_000, {CPU: 200})
    with pytest.raises(
        ParamsError, match=r"train\.compress must be true for 5,001 rows"
    ) as refused:
        fitting.refuse_too_many(5_001, {CPU: 200})
    assert "1,000,200 bytes on cpu (got false, and 1,000,000 bytes free)" in str(refused.value)


def test_where_nobody_tells_what_is_free_nothing_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "free", lambda place: None)
    fitting.refuse_too_many(10**15, {CPU: 200})
