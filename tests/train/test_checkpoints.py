"""A checkpoint is used only if it is whole, unchanged and of this training."""

import hashlib
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from knownline.train import checkpoints
from knownline.train.checkpoints import VARIABLE, Checkpoint, Checkpoints

DIGEST = "f" * 64
RAW = (0.1, -0.0, 5e-324, 1e300)
PATH = Path("scratch/checkpoint")


@pytest.fixture(autouse=True)
def _scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(VARIABLE, "scratch")
    PATH.parent.mkdir()


def checkpoint(epochs: int = 3) -> Checkpoint:
    return Checkpoint(RAW, np.random.default_rng(0).normal(size=(1 + len(RAW), epochs)))


@pytest.mark.parametrize("epochs", [0, 1, 1000])
def test_a_checkpoint_is_loaded_bit_for_bit(epochs: int) -> None:
    saved = checkpoint(epochs)
    Checkpoints(DIGEST).save(saved)
    loaded = Checkpoints(DIGEST).load()
    assert loaded is not None
    assert [value.hex() for value in loaded.raw] == [value.hex() for value in RAW]
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
    _, head, history = whole.split(b"\n", 2)
    body = head.replace(b'"raw"', b'"row"') + b"\n" + history
    no_key = hashlib.sha256(body).hexdigest().encode() + b"\n" + body
    for damaged in (*flipped, *(whole[:length] for length in (0, 1, 64, 65, 200)), no_key):
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
