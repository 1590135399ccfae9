"""`knownline summary` says what the files say, and claims no run that they are not of."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from knownline import summary
from knownline.core.layout import METRICS
from samerun.core.errors import DamagedError, MissingError

FOUND: dict[str, Any] = {
    "w": 20.00219,
    "b": 4.80266,
    "truth": {"w": 20.0, "b": 5.0},
    "se": {"w": 0.00633, "b": 0.35867},
    "rows": 79,
    "holdout": {"rows": 20, "rmse": 1.4139, "r2": 0.99999428},
    "gate": {"passed": True, "reasons": ["one", "another"]},
}


@pytest.fixture(autouse=True)
def _recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A workspace whose files are recorded."""
    monkeypatch.chdir(tmp_path)
    METRICS.parent.mkdir()
    METRICS.write_text(json.dumps(FOUND))
    summary.MARKER.parent.mkdir()
    write(summary.MARKER, {"fingerprint": "f"})
    write(summary.LAST, last())


def write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content))


def last(**changed: Any) -> dict[str, Any]:
    """Return what `samerun record` wrote, with some entries changed."""
    md5 = hashlib.md5(METRICS.read_bytes()).hexdigest()
    content = {
        "fingerprint": "f", "run_id": "0a1b", "name": "99 rows", "store": "sqlite:///x",
        "outs": {METRICS.as_posix(): md5, "models/model.json": "0"},
    }  # fmt: skip
    return content | changed


def shown(capsys: pytest.CaptureFixture[str]) -> str:
    assert summary.main() == 0
    return capsys.readouterr().out


def test_the_summary_is_what_the_files_say(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys)
    assert text == (
        "\n  w = 20.0022 ± 0.0063 (true 20)\n  b = 4.80 ± 0.36 (true 5)\n"
        "  Fitted on 79 rows; RMSE 1.414, R² 0.9999943 on 20 held-out rows.\n\n"
        "  gate passed\n    - one\n    - another\n\n"
        "  run recorded: 99 rows (0a1b); `make ui` shows it\n\n"
    )


@pytest.mark.parametrize(
    "change",
    [{"gate": {"passed": False, "reasons": ["w is far"]}}, {"truth": {"w": None, "b": None}}],
)
def test_parameters_are_shown_whether_it_passed_and_whether_the_truth_is_known(
    change: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    found = FOUND | change
    write(METRICS, found)
    true = [f" (true {each:g})" if each else "" for each in found["truth"].values()]
    text = shown(capsys)
    assert f"\n  w = 20.0022 ± 0.0063{true[0]}\n  b = 4.80 ± 0.36{true[1]}\n" in text
    assert ("\n  gate passed\n" in text) == found["gate"]["passed"]


CHANGES: dict[str, Callable[[], Any]] = {
    "no marker": lambda: summary.MARKER.unlink(),
    "another marker": lambda: write(summary.MARKER, {"fingerprint": "g"}),
    "a damaged marker": lambda: summary.MARKER.write_text("{"),
    "nothing recorded": lambda: summary.LAST.unlink(),
    "of an earlier version": lambda: write(summary.LAST, {"fingerprint": "f", "metrics": "0"}),
    "no mapping": lambda: write(summary.LAST, ["fingerprint"]),
    "outs are none": lambda: write(summary.LAST, last(outs=None)),
    "other metrics": lambda: write(METRICS, FOUND | {"w": 21.0}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_run_that_the_files_are_not_of_is_not_claimed(
    change: str, capsys: pytest.CaptureFixture[str]
) -> None:
    CHANGES[change]()
    assert "run not recorded: run `dvc repro`" in shown(capsys)


def test_missing_or_damaged_metrics_are_named() -> None:
    METRICS.write_text("{}")
    with pytest.raises(DamagedError, match=r"reports/metrics\.json is damaged"):
        summary.main()
    METRICS.unlink()
    with pytest.raises(MissingError, match=r"reports/metrics\.json is missing"):
        summary.main()
