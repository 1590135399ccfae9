"""reports/history.csv keeps every digit, and is refused if it is not whole."""

import warnings
from pathlib import Path

import numpy as np
import pytest

from knownline.core.history import History
from samerun.core.errors import DamagedError, MissingError

COLUMNS = np.random.default_rng(1).normal(size=(4, 50)) * 10.0 ** np.arange(-25, 25)
NAMES = ("w", "b")


def write(folder: Path, text: str) -> Path:
    (folder / "history.csv").write_text(text)
    return folder / "history.csv"


@pytest.mark.parametrize("names", [("w",), NAMES, ("c", "w", "b")])
def test_every_number_is_read_as_it_was(tmp_path: Path, names: tuple[str, ...]) -> None:
    loss, *values = COLUMNS[: 1 + len(names)]
    written = History(names, loss, np.array(values))
    path = write(tmp_path, written.to_csv())
    assert path.read_text().splitlines()[0] == f"epoch,loss,{','.join(names)}"
    found = History.read(path, names)
    assert (found.names, found.epochs) == (names, 50)
    assert found.loss.tobytes() == loss.tobytes()
    assert found.values.tobytes() == written.values.tobytes()


def test_a_history_has_the_parameters_by_epoch_and_by_name() -> None:
    history = History(("w", "b"), np.array([9.0, 4.0]), np.array([[1.0, 2.0], [3.0, 4.0]]))
    assert history.parameters() == {"w": 2.0, "b": 4.0}
    assert history.parameters(0) == {"w": 1.0, "b": 3.0}
    assert history.of("b").tolist() == [3.0, 4.0]


HEAD = "epoch,loss,w,b\n"


@pytest.mark.parametrize(
    "text",
    [
        "", "x", HEAD, "epoch,loss,w\n0,1,2\n", "epoch,w,loss,b\n0,1,2,3\n", f"{HEAD}0,1,2\n",
        f"{HEAD}0,1,2,3,4\n", f"{HEAD}0,1,2,x\n", f"{HEAD}1,1,2,3\n", f"{HEAD}0,1,2,3\n2,1,2,3\n",
        f"{HEAD}0,1,2,3\n0,1,2,3\n",
    ],
)  # fmt: skip
def test_a_damaged_history_is_refused_by_name_without_a_warning(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, text)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DamagedError, match=f"^{path} must "):
            History.read(path, NAMES)


def test_a_missing_history_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"history\.csv is missing: run `dvc repro`"):
        History.read(tmp_path / "history.csv", NAMES)
