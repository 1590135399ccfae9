"""Problems: what makes one another, and how registered models are named."""

import re

import pytest

from knownline.params import Params
from knownline.retrain.problem import Problem, described
from tests.conftest import ROOT

TEXT = (ROOT / "params.yaml").read_text()
TABLE = [("table: null", "table: data/own/a.csv"), ("truth: {w: 20.0, b: 5.0}", "truth: null")]


def problem(*changes: tuple[str, str]) -> Problem:
    text = TEXT
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return Problem.of(Params.parse(text))


PRICES = [*TABLE, ("columns: {x: x, y: y}", "columns: {x: area, y: price}")]


@pytest.mark.parametrize(
    "same",
    [
        ("seed: 20200910", "seed: 7"),
        ("truth: {w: 20.0, b: 5.0}", "truth: {w: -3.0, b: 1.0}"),
        ("rows: 99", "rows: 1000"),
        ("columns: {x: x, y: y}", "columns: {x: area, y: price}"),  # not used while data is drawn
        ("epochs: 100", "epochs: 7"),
    ],
)
def test_other_data_and_another_training_are_the_same_problem(same: tuple[str, str]) -> None:
    assert problem(same) == problem()


def test_another_table_with_the_same_columns_is_the_same_problem() -> None:
    assert problem(*TABLE) == problem(*TABLE, ("data/own/a.csv", "data/own/b.parquet"))


def test_another_model_input_target_or_source_is_another_problem() -> None:
    quadratic = ("truth: {w: 20.0, b: 5.0}", "truth: {c: 1.0, w: 20.0, b: 5.0}")
    found = [
        problem(),
        problem(*TABLE),
        problem(*PRICES),
        problem(*TABLE, ("columns: {x: x, y: y}", "columns: {x: area, y: y}")),
        problem(*TABLE, ("columns: {x: x, y: y}", "columns: {x: x, y: price}")),
        problem(("\nmodel: line\n", "\nmodel: quadratic\n"), quadratic),
    ]
    assert len({each.to_json() for each in found}) == len(found)
    assert len({each.suffix() for each in found}) == len(found)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]+-[0-9a-f]{8}", each.suffix()) for each in found)


def test_a_problem_is_read_back_and_described() -> None:
    prices = problem(*PRICES)
    assert Problem.from_json(prices.to_json()) == prices
    assert described(prices.to_json()) == "line, price from area, a table"
    assert described(problem().to_json()) == "line, y from x, drawn data"
    assert described("by hand") == "by hand"


def test_a_name_has_no_character_that_mlflow_refuses() -> None:
    odd = Problem("line", ("a/b",), "Preis in €: netto/" + "y" * 200, "table")
    assert re.fullmatch(r"line-Preis-in-netto-y+-[0-9a-f]{8}", odd.suffix())
    assert len(odd.suffix()) < 100
