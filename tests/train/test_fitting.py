"""A training writes the same bytes whether it ran in one piece or was interrupted."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import torch

from knownline.core import parquet
from knownline.core.errors import DivergedError
from knownline.core.history import History
from knownline.core.layout import HISTORY, MODEL
from knownline.core.least_squares import LeastSquares, Scaling
from knownline.core.moments import compress
from knownline.core.summary import Summary
from knownline.model import LINE
from knownline.params import Params
from knownline.train import checkpoints, descent, fitting, live
from samerun.core.errors import DamagedError, MissingError
from support.files import tree
from tests.conftest import ROOT
from tests.file_contents import write_sums

TEXT = (
    (ROOT / "params.yaml")
    .read_text()
    .replace("epochs: 100", "epochs: 60")
    .replace("device: auto", "device: cpu")
)
ROW_BY_ROW = ("compress: true", "compress: false")
Array = npt.NDArray[np.float64]

CPU = torch.device("cpu")
TRAIN = Path("data/train")
SCRATCH = Path("scratch/checkpoint")

Train = Callable[..., dict[str, bytes | None]]


def draw(seed: int = 1, rows: int = 700) -> None:
    """Write rows as two files, and their sums."""
    TRAIN.mkdir(parents=True, exist_ok=True)
    x = np.linspace(1.0, 99.0, rows)
    y = 20.0 * x + 5.0 + np.random.default_rng(seed).standard_normal(rows)
    paths = [TRAIN / f"part-0000{number}.parquet" for number in range(2)]
    for path, u, v in zip(paths, np.split(x, [500]), np.split(y, [500]), strict=True):
        writer = parquet.Writer(path, ["x"])
        writer.write([u, v])
        writer.close()
    write_sums(TRAIN.parent, paths)


def rows_of_train() -> tuple[Array, Array]:
    """Return x and y of all training rows, as pandas reads them."""
    frame = pd.read_parquet(TRAIN)
    return frame["x"].to_numpy(copy=True), frame["y"].to_numpy(copy=True)


def summarised() -> Summary:
    """Return all training rows, compressed; the sample is not read here."""
    x, y = rows_of_train()
    return Summary(("x",), compress([([x], y)]), None, np.array([x, y]))


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Train:
    """Return what trains as under `samerun run`, and returns what was written."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(checkpoints.VARIABLE, "scratch")
    monkeypatch.delenv(live.VARIABLE, raising=False)
    trained.clear()
    draw()

    def run(*changes: tuple[str, str], stop_at: int | None = None) -> dict[str, bytes | None]:
        text = TEXT
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)

        def add(_: live.Live, epoch: int, *__: object) -> None:
            trained.append(epoch)
            if epoch == stop_at:
                raise KeyboardInterrupt

        trained.clear()
        with monkeypatch.context() as patched:
            patched.setattr(live.Live, "add", add)
            fitting.fit(Params.parse(text), summarised())
        return tree(Path("models")) | tree(Path("reports"))

    return run


trained: list[int] = []
"""The epochs of the latest training."""


@pytest.mark.parametrize("changes", [(), (ROW_BY_ROW,)])
def test_an_interrupted_training_resumes_to_the_same_bytes(
    train: Train, changes: tuple[tuple[str, str], ...]
) -> None:
    whole = train(*changes)
    assert set(whole) == {"model.json", "history.csv"}
    assert trained == list(range(60))
    Path("models/model.json").unlink()
    with pytest.raises(KeyboardInterrupt):
        train(*changes, stop_at=20)
    assert not Path("models/model.json").exists()
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
        "knownline: warning: scratch/checkpoint cannot be used (it belongs to another training):"
        " the training starts from the beginning\n"
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
        "data/train/part-00001.parquet",
        "models", "models/model.json", "reports", "reports/history.csv",
    ]  # fmt: skip


# Row by row


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("rows", [700, 70_003])
def test_row_by_row_it_is_the_articles_loop_over_all_rows_in_order(
    train: Train, standardize: bool, rows: int
) -> None:
    draw(rows=rows)
    changes = [ROW_BY_ROW]
    if not standardize:
        changes += [("standardize: true", "standardize: false"),
                    ("learning_rate: 0.25", "learning_rate: 1.0e-4")]  # fmt: skip
    train(*changes)
    x, y = rows_of_train()
    whole = LeastSquares(LINE, summarised().train)
    scaling = whole.scaling if standardize else Scaling(LINE)
    if standardize:
        assert scaling.means[0] == pytest.approx(x.mean(), rel=1e-14)
        assert scaling.sds[0] == pytest.approx(x.std(), rel=1e-14)
    expected = descent.fit(
        [(x - scaling.means[0]) / scaling.sds[0] if standardize else x],
        y,
        kind=LINE,
        epochs=60,
        learning_rate=0.25 if standardize else 1e-4,
        dtype="float64",
        device=CPU,
        scaling=scaling,
        halving=True,
    )
    found = History.read(HISTORY, LINE.names)
    assert found.loss.tobytes() == expected.loss.tobytes()
    assert found.values.tobytes() == expected.values.tobytes()


def test_row_by_row_and_by_three_points_it_takes_the_same_way(train: Train) -> None:
    found = []
    for changes in ((), (ROW_BY_ROW,)):
        train(*changes)
        found.append(History.read(HISTORY, LINE.names))
    one, other = found
    assert np.allclose(one.loss, other.loss, rtol=1e-9, atol=0)
    assert np.allclose(one.values, other.values, rtol=1e-9, atol=0)


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)


def appended(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"0")


def removed(path: Path) -> None:
    path.unlink()


def unlisted(path: Path) -> None:
    (path.parent / "part-00002.parquet").write_bytes(path.read_bytes())


@pytest.mark.parametrize(
    ("damage", "error", "match"),
    [
        (flipped, DamagedError, r"data/train/part-00001\.parquet is damaged .*SHA-256"),
        (appended, DamagedError, r"data/train/part-00001\.parquet is damaged .*SHA-256"),
        (removed, MissingError, r"data/train/part-00001\.parquet is missing"),
        (unlisted, DamagedError, r"data/train/part-00002\.parquet is not listed"),
    ],
)
def test_row_by_row_every_file_is_compared_with_its_sum_first(
    train: Train,
    damage: Callable[[Path], None],
    error: type[Exception],
    match: str,
) -> None:
    whole = summarised()
    damage(TRAIN / "part-00001.parquet")
    params = Params.parse(TEXT.replace(*ROW_BY_ROW))
    with pytest.raises(error, match=match):
        fitting.fit(params, whole)
    assert not MODEL.exists()
    assert not HISTORY.exists()
    assert trained == []
