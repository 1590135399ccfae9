"""A training writes the same bytes whether it ran in one piece or was interrupted."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from knownline.core import parquet
from knownline.core.errors import DivergedError
from knownline.core.moments import compress
from knownline.params import Params
from knownline.train import checkpoints, fitting, live
from tests.conftest import ROOT
from tests.file_contents import tree, write_sums

TEXT = (ROOT / "params.yaml").read_text().replace("epochs: 100", "epochs: 60")
CPU = torch.device("cpu")
TRAIN = Path("data/train")
SCRATCH = Path("scratch/checkpoint")

Train = Callable[..., dict[str, bytes | None]]


def draw(seed: int = 1) -> None:
    TRAIN.mkdir(parents=True, exist_ok=True)
    x = np.linspace(1.0, 99.0, 700)
    y = 20.0 * x + 5.0 + np.random.default_rng(seed).standard_normal(700)
    with parquet.ShardWriter(TRAIN, 65_536) as writer:
        writer.append(x, y)
    write_sums(TRAIN.parent, writer.files)


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Train:
    """Return what trains as under `samerun run`, and returns what was written."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(checkpoints.VARIABLE, "scratch")
    monkeypatch.delenv(live.VARIABLE, raising=False)
    draw()

    def run(*changes: tuple[str, str], stop_at: int | None = None) -> dict[str, bytes | None]:
        text = TEXT
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)

        def add(_: live.Live, epoch: int, *numbers: float) -> None:
            trained.append(epoch)
            if epoch == stop_at:
                raise KeyboardInterrupt

        trained.clear()
        with monkeypatch.context() as patched:
            patched.setattr(live.Live, "add", add)
            rows = compress(parquet.read(TRAIN))
            fitting.fit(Params.parse(text), rows, TRAIN, CPU)
        return tree(Path("models")) | tree(Path("reports"))

    return run


trained: list[int] = []
"""The epochs of the latest training."""


@pytest.mark.parametrize("changes", [(), (("compress: true", "compress: false"),)])
def test_an_interrupted_training_resumes_to_the_same_bytes(
    train: Train, changes: tuple[tuple[str, str], ...]
) -> None:
    whole = train(*changes)
    assert set(whole) == {"line.json", "history.csv"}
    assert trained == list(range(60))
    Path("models/line.json").unlink()
    with pytest.raises(KeyboardInterrupt):
        train(*changes, stop_at=20)
    assert not Path("models/line.json").exists()
    with pytest.raises(KeyboardInterrupt):
        train(*changes, stop_at=40)
    assert trained[0] == 21
    assert train(*changes) == whole
    assert trained == list(range(41, 60))


def test_a_checkpoint_is_written_while_it_trains(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a success it stays: `samerun run` empties the folder."""
    monkeypatch.setattr(checkpoints, "FIRST_AFTER", 0.0)
    monkeypatch.setattr(checkpoints, "SHARE", 1.0)
    assert not SCRATCH.exists()
    train()
    assert SCRATCH.exists()


@pytest.mark.parametrize("what", ["parameter", "data"])
def test_a_checkpoint_of_another_training_is_not_used(
    train: Train, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(stop_at=20)
    if what == "data":
        draw(seed=2)
    train(*([("learning_rate: 0.25", "learning_rate: 0.2")] if what == "parameter" else []))
    assert trained == list(range(60))
    assert capsys.readouterr().err == (
        "knownline: warning: scratch/checkpoint cannot be used (it is of another training):"
        " training begins anew\n"
    )
    assert not SCRATCH.exists()


def test_a_parameter_of_another_stage_does_not_matter(train: Train) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(stop_at=20)
    train(("z: 4.0", "z: 5.0"))
    assert trained[0] == 21


def test_a_training_that_diverges_leaves_no_checkpoint(train: Train) -> None:
    changes = (("learning_rate: 0.25", "learning_rate: 1.5"), ("epochs: 60", "epochs: 9000"))
    with pytest.raises(KeyboardInterrupt):
        train(*changes, stop_at=20)
    assert SCRATCH.exists()
    with pytest.raises(DivergedError):
        train(*changes)
    assert not SCRATCH.exists()


def test_without_scratch_nothing_is_kept_and_nothing_fails(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(checkpoints.VARIABLE)
    with pytest.raises(KeyboardInterrupt):
        train(stop_at=20)
    train()
    assert trained == list(range(60))
    assert sorted(tree(Path())) == [
        "data", "data/SHA256SUMS", "data/train", "data/train/part-00000.parquet",
        "models", "models/line.json", "reports", "reports/history.csv",
    ]  # fmt: skip
