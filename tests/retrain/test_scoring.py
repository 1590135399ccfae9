"""Whether a champion may have been fitted to rows that are held out now."""

from pathlib import Path

import pytest

from knownline.params import Params
from knownline.retrain.scoring import holdout_digest
from tests.generate.running import generate, split

ROWS = [(i, 3 * i + i * 7 % 5) for i in range(200)]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data/own").mkdir(parents=True)
    Path("dvc.yaml").write_text("stages: {}\n")


def held_out(rows: list[tuple[int, int]], first: int | None = None) -> str:
    """Return the digest of the rows of a table that are held out."""
    Path("data/own/own.csv").write_text("x,y\n" + "".join(f"{x},{y}\n" for x, y in rows))
    generate(generate__table="data/own/own.csv", truth=None)
    return holdout_digest(Params.read(), first)


@pytest.mark.parametrize("added", [0, 1, 3, 70])
def test_of_a_table_that_grew_the_first_held_out_rows_stay(added: int) -> None:
    before = held_out(ROWS[:100])
    trained_on = set(split()[0].itertuples(index=False, name=None))
    rows, _, digest = before.partition(" ")
    assert int(rows) in (19, 20, 21)
    assert len(digest) == 64
    assert held_out(ROWS[: 100 + added], int(rows)) == before
    assert not trained_on & set(split()[1].itertuples(index=False, name=None))


@pytest.mark.parametrize(
    "changed",
    [ROWS[1:130], [*ROWS[:50], *ROWS[51:130]], ROWS[100:], ROWS[:20]],
    ids=["first row gone", "a row gone", "other rows", "shorter"],
)
def test_of_a_table_that_changed_otherwise_they_do_not(changed: list[tuple[int, int]]) -> None:
    before = held_out(ROWS[:100])
    assert held_out(changed, int(before.partition(" ")[0])) != before
