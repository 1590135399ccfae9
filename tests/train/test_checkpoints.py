"""A checkpoint is whole, the one that was written, and of this training, or it is not used."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from knownline.train import checkpoints
from knownline.train.checkpoints import Checkpoint, Checkpoints

FINGERPRINT = "f" * 64


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def checkpoint(epochs: int = 3) -> Checkpoint:
    history = np.random.default_rng(0).normal(size=(3, epochs))
    return Checkpoint("execution", 1.5, 2.5, 0.1, -0.0, history)


def kept() -> Path:
    return Path("mlruns/checkpoints") / FINGERPRINT


@pytest.mark.parametrize("epochs", [0, 1, 1000])
def test_it_comes_back_to_the_bit(epochs: int) -> None:
    saved = checkpoint(epochs)
    Checkpoints(FINGERPRINT).save(saved)
    loaded = Checkpoints(FINGERPRINT).load()
    assert loaded is not None
    assert (loaded.w.hex(), loaded.b.hex()) == (saved.w.hex(), saved.b.hex())
    assert loaded.history.tobytes() == saved.history.tobytes()
    assert (loaded.execution, loaded.started, loaded.seconds) == ("execution", 1.5, 2.5)
    assert loaded.epochs == epochs


def test_there_is_none_before_the_first_and_after_the_end() -> None:
    assert Checkpoints(FINGERPRINT).load() is None
    Checkpoints(FINGERPRINT).save(checkpoint())
    Checkpoints(FINGERPRINT).clear()
    assert Checkpoints(FINGERPRINT).load() is None


def test_every_flipped_byte_is_thrown_away_with_a_warning(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Checkpoints(FINGERPRINT).save(checkpoint())
    whole = kept().read_bytes()
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 0x20
        kept().write_bytes(damaged)
        assert Checkpoints(FINGERPRINT).load() is None, place
        assert not kept().exists()
        told = capsys.readouterr().err
        assert told.startswith("knownline: warning: mlruns/checkpoints/")
        assert told.count("\n") == 1


@pytest.mark.parametrize("length", [0, 1, 64, 65, 200])
def test_half_a_file_is_thrown_away(length: int) -> None:
    Checkpoints(FINGERPRINT).save(checkpoint())
    kept().write_bytes(kept().read_bytes()[:length])
    assert Checkpoints(FINGERPRINT).load() is None


def test_one_of_another_training_is_thrown_away(capsys: pytest.CaptureFixture[str]) -> None:
    Checkpoints("e" * 64).save(checkpoint())
    (Path("mlruns/checkpoints") / ("e" * 64)).rename(kept())
    assert Checkpoints(FINGERPRINT).load() is None
    assert "it is of another training" in capsys.readouterr().err


def test_the_next_one_waits_until_this_one_was_cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("knownline.train.checkpoints.time.monotonic", lambda: now[0])
    store = Checkpoints(FINGERPRINT)
    assert not store.due
    now[0] += checkpoints.FIRST_AFTER
    assert store.due

    def slow(path: Path, content: bytes) -> None:
        now[0] += 0.5

    monkeypatch.setattr("samerun.core.files.write_bytes", slow)
    store.save(checkpoint())
    now[0] += 0.5 / checkpoints.SHARE - 1
    assert not store.due
    now[0] += 1
    assert store.due


def test_one_whose_header_lacks_a_word_is_thrown_away(capsys: pytest.CaptureFixture[str]) -> None:
    Checkpoints(FINGERPRINT).save(checkpoint())
    _, head, history = kept().read_bytes().split(b"\n", 2)
    body = head.replace(b'"started"', b'"begun"') + b"\n" + history
    kept().write_bytes(hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
    assert Checkpoints(FINGERPRINT).load() is None
    assert "cannot be used" in capsys.readouterr().err
