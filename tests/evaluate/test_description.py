"""reports/verdict.md says in words what metrics.json has as numbers."""

from typing import Any

import numpy as np
import pytest

from knownline.core.kinds import Linear, Parameters
from knownline.core.least_squares import LeastSquares
from knownline.core.moments import compress
from knownline.evaluate.gate import as_metrics, judge
from knownline.evaluate.statistics import assess
from knownline.evaluate.verdict import description
from knownline.params import Evaluate

LINE = Linear(("x",), {"w": lambda x: x, "b": lambda x: 1.0})
TRUTH = {"w": 20.0, "b": 5.0}


def metrics(
    *, truth: Parameters | None = TRUTH, holdout: bool = True, shift: float = 0.0
) -> dict[str, Any]:
    """Return the metrics.json of least squares on a few points, with another intercept."""
    x = np.arange(1.0, 80.0)
    y = 20 * x + 5 + 1.5 * np.random.default_rng(1).standard_normal(79)
    rows, few = (LeastSquares(LINE, compress([([x[:n]], y[:n])])) for n in (79, 20))
    ols = rows.solution
    found = assess(
        {"w": ols["w"], "b": ols["b"] + shift},
        train=rows,
        holdout=few if holdout else None,
        truth=truth,
        last_loss=2.0,
    )
    return as_metrics(found, judge(found, Evaluate(z=4.0, optimiser_tolerance=1e-9)))


def cells(row: str) -> list[str]:
    assert row.startswith("|")
    assert row.endswith("|")
    return [cell.strip() for cell in row[1:-1].split("|")]


def table(text: str) -> list[list[str]]:
    """Return the cells of the one Markdown table in a text."""
    lines = text.splitlines()
    rows = [n for n, line in enumerate(lines) if line.startswith("|")]
    # A table is one block between empty lines: GitHub Flavored Markdown, 4.10.
    assert rows == list(range(rows[0], rows[0] + 4))
    assert lines[rows[0] - 1] == lines[rows[-1] + 1] == ""
    return [cells(lines[n]) for n in rows]


@pytest.mark.parametrize("truth", [TRUTH, None])
@pytest.mark.parametrize("holdout", [True, False])
@pytest.mark.parametrize("shift", [0.0, 9.0])
def test_the_description_has_one_markdown_table_without_an_empty_cell(
    truth: Parameters | None, holdout: bool, shift: float
) -> None:
    found = metrics(truth=truth, holdout=holdout, shift=shift)
    heads, rules, *rows = table(description(found))
    assert heads == ["", "fitted", "± standard error", "true", "distance in standard errors"]
    assert all(set(rule) <= set("-:") and "---" in rule for rule in rules)
    assert {len(row) for row in (heads, rules, *rows)} == {5}
    assert [row[0] for row in rows] == ["w", "b"]
    assert all(cell for row in rows for cell in row)


def test_the_description_has_the_numbers_of_the_metrics() -> None:
    found = metrics()
    text = description(found)
    for name, *row in table(text)[2:]:
        numbers = [found[name], found["se"][name], found["truth"][name], found["z"][name]]
        # The fitted number has two digits of its error.
        fitted = 0.05 * found["se"][name] / abs(found[name])
        assert [float(cell) for cell in row] == [
            pytest.approx(number, rel=rel)
            for number, rel in zip(numbers, (fitted, 0.06, 1e-15, 0.06), strict=True)
        ]
    rmse = f"{found['holdout']['rmse']:.4g}"
    assert f"Fitted on 79 rows; RMSE {rmse}, R² 0.9999" in text
    assert " on 20 held-out rows. Optimiser error " in text


def test_the_description_begins_with_the_verdict_and_its_reasons() -> None:
    failed = metrics(shift=9.0)
    assert description(metrics()).startswith("**Gate passed**\n\n- ")
    text = description(failed)
    assert text.startswith("**Gate failed**\n\n- ")
    assert all(f"\n- {reason}\n" in text for reason in failed["gate"]["reasons"])


def test_what_is_unknown_is_a_dash_in_the_description() -> None:
    text = description(metrics(truth=None, holdout=False))
    assert [row[3:] for row in table(text)[2:]] == [["–", "–"], ["–", "–"]]
    assert "Fitted on 79 rows; 0 rows held out." in text
    assert "None" not in text


def test_the_description_ends_with_a_line_end() -> None:
    assert description(metrics()).endswith(".\n")
