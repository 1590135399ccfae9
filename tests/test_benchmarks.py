"""The benchmarks run, and what they print of given figures is right. No figure decides a test."""

import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from benchmarks import peers, scale
from benchmarks.measure import Run, in_turn

from tests.conftest import ROOT

NAMES = [value for key, value in vars(scale).items() if key.isupper() and isinstance(value, str)]


def result(seconds: float, megabytes: int = 100, times: int = 5) -> Run:
    return Run(seconds, megabytes * 2**20, times)


def test_a_side_counts_by_its_median() -> None:
    runs = {"one": [result(3.0), result(1.0), result(2.0)], "two": [result(30.0, times=1)]}
    sides = {name: partial(next, iter(several)) for name, several in runs.items()}
    medians = in_turn(sides, 3, long_once=True)
    assert medians == {"one": Run(2.0, 100 * 2**20, 3), "two": Run(30.0, 100 * 2**20, 1)}


def test_the_table_has_seconds_by_rows_and_the_memory_of_the_largest() -> None:
    results = {
        peers.OURS: {10**7: result(2.0), 10**8: result(20.0)},
        peers.ARTICLE: {10**7: result(30.0), 10**8: result(300.0, 10_000, times=1)},
    }
    _, _, ours, theirs, *_ = peers.table(results, [10**7, 10**8])
    assert ours == f"| {peers.OURS} | 2 | 20 | 100 MB |"
    assert theirs == f"| {peers.ARTICLE} | 30 | 300¹ | 10,000 MB |"


@pytest.mark.parametrize(("seconds", "word"), [(0.55, "met"), (0.5501, "missed")])
def test_a_goal_is_met_or_missed(seconds: float, word: str) -> None:
    runs = {name: result(1.0) for name in NAMES} | {scale.DRAWN: result(seconds)}
    drawing = next(line for line in scale.goals(runs) if line.startswith("| drawing"))
    assert drawing.endswith(f"| at most 0.55 | {word} |")


@pytest.mark.parametrize(
    ("seconds", "megabytes", "words"),
    [(0.5, 10, ["met", "met"]), (0.501, 10, ["missed", "met"]), (0.5, 11, ["met", "missed"])],
)
def test_the_goals_of_a_plane_are_ratios_over_scikit_learn(
    seconds: float, megabytes: int, words: list[str]
) -> None:
    runs = {peers.OURS: result(seconds, megabytes), peers.SCIKIT_LEARN: result(1.0)}
    _, _, *lines = peers.goals(runs)
    assert [line.split("|")[-2].strip() for line in lines] == words


def test_other_parameters_than_ours_are_no_result() -> None:
    def runs(value: float) -> dict[str, Run]:
        ours, peer = ({"parameters": [2.0, number]} for number in (20.0, value))
        return {peers.OURS: Run(1.0, 1, answer=ours), "peer": Run(1.0, 1, answer=peer)}

    peers._check_parameters(runs(20.0 + 1e-7), 1e-8)
    with pytest.raises(AssertionError, match="peer"):
        peers._check_parameters(runs(20.0 + 3e-7), 1e-8)


def told(name: str, *arguments: str) -> str:
    """Run a benchmark and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", "--times", "1", *arguments],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_serial_steps_are_timed() -> None:
    shown = told("serial", "--rows", "10000000")
    assert "3 shards listed: " in shown
    assert "153 chunks joined: " in shown


@pytest.mark.slow
def test_numpy_writes_the_same_files_and_every_goal_is_judged() -> None:
    lines = told("scale", "--rows", "100000").splitlines()
    assert sum(line.endswith(("| met |", "| missed |")) for line in lines) == 12


@pytest.mark.slow
def test_ours_and_scikit_learn_find_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(peers, "PEERS", {"scikit-learn": "scikit_learn", "loop": "article"})
    monkeypatch.setattr(sys, "argv", ["peers", "--sizes", "1000", "--times", "1",
                                      "--picture", str(tmp_path / "scale.png")])  # fmt: skip
    peers.main()
    assert (tmp_path / "scale.png").stat().st_size


@pytest.mark.slow
def test_ours_and_every_peer_find_one_plane() -> None:
    lines = told("peers", "--inputs", "3", "--sizes", "1000").splitlines()
    assert sum(line.endswith(("| met |", "| missed |")) for line in lines) == 2


@pytest.mark.slow
def test_what_samerun_run_adds_to_a_stage_is_timed() -> None:
    lines = told("wrapper").splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        *("generate", "train", "evaluate", "report", "empty")
    ]


@pytest.mark.slow
def test_watching_is_timed() -> None:
    shown = told("watching", "--epochs", "300").splitlines()
    assert [line.partition(":")[0] for line in shown] == ["streamed", "checkpoints"]


@pytest.mark.slow
def test_a_whole_run_is_timed_beside_a_tutorials() -> None:
    shown = told("whole_run").splitlines()
    assert [line.partition(":")[0] for line in shown] == [
        "a first run, empty store",
        "nothing to do",
    ]


@pytest.mark.slow
def test_epochs_on_a_device_are_timed() -> None:
    shown = told("gpu", "--rows", "10000", "--device", "cpu")
    assert shown.count(" on the cpu: ") == 5
