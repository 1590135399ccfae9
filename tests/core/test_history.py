"""reports/history.csv keeps every digit, and is refused if it is not whole."""

import warnings
from pathlib import Path

import numpy as np
import pytest

from knownline.core import history
from samerun.core.errors import DamagedError, MissingError

COLUMNS = np.random.default_rng(1).normal(size=(3, 50)) * 10.0 ** np.arange(-25, 25)


def write(folder: Path, text: str) -> Path:
    (folder / "history.csv").write_text(text)
    return folder / "history.csv"


def test_every_number_is_read_as_it_was(tmp_path: Path) -> None:
    loss, w, b = COLUMNS.tolist()
    found = history.read(write(tmp_path, history.as_csv(loss, w, b)))
    assert np.array(found).tobytes() == COLUMNS.tobytes()


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
            history.read(path)


def test_a_missing_history_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"history\.csv must be there: run `dvc repro`"):
        history.read(tmp_path / "history.csv")
