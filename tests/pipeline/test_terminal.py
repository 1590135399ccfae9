"""What is shown while the pipeline works."""

import os
import pty
import subprocess
import termios
from pathlib import Path

import pytest

from tests.conftest import Workspace

LONG = 120_000
"""Epochs that take longer than two seconds on anything that is sold today."""


@pytest.fixture
def long_training(fresh: Workspace) -> Workspace:
    fresh.replace("params.yaml", "epochs: 100", f"epochs: {LONG}")
    fresh.knownline("generate")
    return fresh


def test_a_long_training_shows_a_bar_on_a_terminal(long_training: Workspace) -> None:
    controller, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 100))
    process = subprocess.Popen(
        ["python", "src/knownline", "train"],
        cwd=long_training.path,
        env=long_training.env(TERM="xterm"),
        stdout=subprocess.DEVNULL,
        stderr=terminal,
    )
    os.close(terminal)
    shown = b""
    try:
        while part := os.read(controller, 65536):
            shown += part
    except OSError:  # Linux says so when the other end is closed
        pass
    os.close(controller)
    assert process.wait() == 0
    assert b"train:" in shown
    assert b"epochs/s" in shown


def test_nothing_is_drawn_where_there_is_no_terminal(long_training: Workspace) -> None:
    done = long_training.knownline("train")
    assert done.stderr == ""
    assert done.stdout.count("\n") == 1


def test_dvc_shows_metrics_and_plots(built: Workspace, tmp_path: Path) -> None:
    assert "gate.passed" in built.dvc("metrics", "show").stdout
    built.dvc("plots", "show", "--out", str(tmp_path / "plots"))
    assert (tmp_path / "plots" / "index.html").read_text().count("Loss by epoch")
