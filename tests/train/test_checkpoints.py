"""A checkpoint is used only if it is whole, unchanged and of this training."""

import hashlib
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from knownline.train import checkpoints
from knownline.train.checkpoints import VARIABLE, Checkpoint, Checkpoints

DIGEST = "f" * 64
STATE: dict[str, npt.NDArray[Any]] = {
    "raw": np.array([0.1, -0.0, 5e-324, 1e300]),
    "step": np.array(3.0, dtype=np.float32),
    "structure": np.frombuffer(b'{"dict": []}', dtype=np.uint8),
    "count": np.array([], dtype=np.int64),
}
PATH = Path("scratch/checkpoint")


@pytest.fixture(autouse=True)
def _scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(VARIABLE, "scratch")
    PATH.parent.mkdir()


def checkpoint(epochs: int = 3) -> Checkpoint:
    return Checkpoint(STATE, np.random.default_rng(0).normal(size=(5, epochs)))


@pytest.mark.parametrize("epochs", [0, 1, 1000])
def test_a_checkpoint_is_loaded_bit_for_bit(epochs: int) -> None:
    saved = checkpoint(epochs)
    Checkpoints(DIGEST).save(saved)
    loaded = Checkpoints(DIGEST).load()
    assert loaded is not None
    assert set(loaded.state) == set(STATE)
    for name, values in STATE.items():
        found = loaded.state[name]
        assert (found.dtype, found.shape) == (values.dtype, values.shape)
        assert found.tobytes() == values.tobytes()
    assert loaded.history.tobytes() == saved.history.tobytes()
    assert loaded.epochs == epochs


def test_there_is_no_checkpoint_before_the_first_and_after_it_was_removed() -> None:
    assert Checkpoints(DIGEST).load() is None
    Checkpoints(DIGEST).clear()
    Checkpoints(DIGEST).save(checkpoint())
    Checkpoints(DIGEST).clear()
    assert Checkpoints(DIGEST).load() is None
    assert list(PATH.parent.iterdir()) == []


@pytest.mark.parametrize("value", [None, ""])
def test_by_hand_there_are_no_checkpoints_and_no_error(
    monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    monkeypatch.delenv(VARIABLE) if value is None else monkeypatch.setenv(VARIABLE, value)
    monkeypatch.setattr(time, "monotonic", lambda: 1e9)
    by_hand = Checkpoints(DIGEST)
    assert not by_hand.due
    by_hand.save(checkpoint())
    assert by_hand.load() is None
    by_hand.clear()
    assert list(Path().iterdir()) == [PATH.parent]


def test_a_damaged_checkpoint_is_discarded_with_a_warning(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Checkpoints(DIGEST).save(checkpoint())
    whole = PATH.read_bytes()
    flipped = [whole[:n] + bytes([whole[n] ^ 0x20]) + whole[n + 1 :] for n in range(len(whole))]
    _, body = whole.split(b"\n", 1)
    header = int.from_bytes(body[:8], "little")
    # With the right sum, but nothing that was ever written: only safetensors can refuse these.
    forged = [
        hashlib.sha256(content).hexdigest().encode() + b"\n" + content
        for content in (
            body.replace(b'"history"', b'"histori"'),
            body.replace(b'"__metadata__"', b'"__metedata__"'),
            body.replace(b'"F64"', b'"F99"'),
            body[:-1],
            body[: 8 + header],
            (2**63).to_bytes(8, "little") + body[8:],
            b"",
        )
    ]
    for damaged in (*flipped, *(whole[:length] for length in (0, 1, 64, 65, 200)), *forged):
        PATH.write_bytes(damaged)
        assert Checkpoints(DIGEST).load() is None, damaged
        assert not PATH.exists()
        warning = capsys.readouterr().err
        assert warning.startswith("knownline: warning: scratch/checkpoint cannot be used (")
        assert warning.count("\n") == 1


def test_a_checkpoint_of_another_training_is_discarded(capsys: pytest.CaptureFixture[str]) -> None:
    Checkpoints("e" * 64).save(checkpoint())
    assert Checkpoints(DIGEST).load() is None
    assert "another training" in capsys.readouterr().err


def test_checkpoints_take_no_more_than_their_share_of_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, sync = [100.0], os.fsync
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    store = Checkpoints(DIGEST)
    assert not store.due
    now[0] += checkpoints.FIRST_AFTER
    assert store.due

    def slow(handle: Any) -> None:  # a disk that needs half a second
        now[0] += 0.5
        sync(handle)

    monkeypatch.setattr(os, "fsync", slow)
    before = now[0]
    store.save(checkpoint())
    took = now[0] - before
    assert took >= 0.5
    now[0] += took / checkpoints.SHARE - 1
    assert not store.due
    now[0] += 1
    assert store.due
