"""The benchmarks run, and what they print of given figures is right. No figure decides a test."""

import subprocess
import sys

import pytest
from benchmarks.passes import Result, goals, table

from tests.conftest import ROOT


def result(seconds: float, megabytes: int = 100, times: int = 5) -> Result:
    return Result(seconds, megabytes * 2**20, times, None)


def test_the_table_has_the_slope_and_the_memory_of_the_largest() -> None:
    found = {
        "one_pass": {10**n: result(2.0 * 10 ** (n - 7)) for n in (5, 6, 7, 8)},
        "article": {10**n: result(1.0, 10 ** (n - 4), times=1) for n in (5, 6, 7, 8)},
    }
    _, _, ours, theirs, *_ = table(found, [10**5, 10**6, 10**7, 10**8])
    assert ours == "| knownline, the pass | 0.02 | 0.2 | 2 | 20 | 1.00 | 100 MB |"
    assert theirs == ("| the article's loop, 100 epochs | 1¹ | 1¹ | 1¹ | 1¹ | 0.00 | 10,000 MB |")


@pytest.mark.parametrize(("seconds", "word"), [(1.0, "met"), (1.0001, "missed")])
def test_a_goal_is_met_or_missed(seconds: float, word: str) -> None:
    found = {"one_pass": {1000: result(seconds)}, "duckdb": {1000: result(1.0)}}
    assert goals(found, 1000)[-1].endswith(f"(at most 1, {word})")


def told(name: str, *arguments: str) -> str:
    """Run a benchmark and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", "--times", "1", *arguments],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_ours_and_a_peer_find_one_line() -> None:
    sides = ["bare_read", "one_pass", "scikit_learn", "our_epochs", "our_stage", "article"]
    assert told("passes", "--sizes", "1000", "--sides", *sides).count("\n| ") == len(sides)


def test_chunks_are_merged() -> None:
    assert "1,000 chunks, 0 MB of moments" in told("merging", "--chunks", "1000")


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
def test_workers_are_timed_side_by_side() -> None:
    shown = told("workers", "--rows", "1000")
    assert shown.startswith("1 workers: ")
    assert shown.count(" times as fast\n") == 2


@pytest.mark.slow
def test_the_pass_by_torch_is_timed_beside_numpys() -> None:
    shown = told("gpu", "--rows", "100000", "--device", "cpu")
    assert shown.startswith("100,000 rows, one hash on the CPU and on the cpu, no GPU\n")
    assert shown.count("\n") == 9
