"""A checkpoint is used only if it is whole, unchanged and of this training."""

import hashlib
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from knownline.train import checkpoints
from knownline.train.checkpoints import Checkpoint, Checkpoints

FINGERPRINT = "f" * 64
PATH = Path("mlruns/checkpoints") / FINGERPRINT


@pytest.fixture(autouse=True)
def _workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def checkpoint(epochs: int = 3) -> Checkpoint:
    history = np.random.default_rng(0).normal(size=(3, epochs))
    return Checkpoint("execution", 1.5, 2.5, 0.1, -0.0, history)


@pytest.mark.parametrize("epochs", [0, 1, 1000])
def test_a_checkpoint_is_loaded_bit_for_bit(epochs: int) -> None:
    saved = checkpoint(epochs)
    Checkpoints(FINGERPRINT).save(saved)
    loaded = Checkpoints(FINGERPRINT).load()
    assert loaded is not None
    assert (loaded.w.hex(), loaded.b.hex()) == (saved.w.hex(), saved.b.hex())
    assert loaded.history.tobytes() == saved.history.tobytes()
    assert (loaded.execution, loaded.started, loaded.seconds) == ("execution", 1.5, 2.5)
    assert loaded.epochs == epochs


def test_there_is_no_checkpoint_before_the_first_and_after_the_end() -> None:
    assert Checkpoints(FINGERPRINT).load() is None
    Checkpoints(FINGERPRINT).save(checkpoint())
    Checkpoints(FINGERPRINT).clear()
    assert Checkpoints(FINGERPRINT).load() is None


def test_a_damaged_checkpoint_is_discarded_with_a_warning(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Checkpoints(FINGERPRINT).save(checkpoint())
    whole = PATH.read_bytes()
    flipped = [whole[:n] + bytes([whole[n] ^ 0x20]) + whole[n + 1 :] for n in range(len(whole))]
    _, head, history = whole.split(b"\n", 2)
    body = head.replace(b'"started"', b'"begun"') + b"\n" + history
    no_key = hashlib.sha256(body).hexdigest().encode() + b"\n" + body
    for damaged in (*flipped, *(whole[:length] for length in (0, 1, 64, 65, 200)), no_key):
        PATH.write_bytes(damaged)
        assert Checkpoints(FINGERPRINT).load() is None, damaged
        assert not PATH.exists()
        warning = capsys.readouterr().err
        assert warning.startswith("knownline: warning: mlruns/checkpoints/")
        assert warning.count("\n") == 1


def test_a_checkpoint_of_another_training_is_discarded(capsys: pytest.CaptureFixture[str]) -> None:
    Checkpoints("e" * 64).save(checkpoint())
    (Path("mlruns/checkpoints") / ("e" * 64)).rename(PATH)
    assert Checkpoints(FINGERPRINT).load() is None
    assert "another training" in capsys.readouterr().err


def test_checkpoints_take_no_more_than_their_share_of_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, sync = [100.0], os.fsync
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    store = Checkpoints(FINGERPRINT)
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
