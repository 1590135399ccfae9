"""`samerun run` as a process: what it passes on, what it returns, and what it refuses."""

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from projects.counting import FILES, STEPS, Counting, wait_for
from projects.toy import project
from samerun.execution.scratch import RunningError, Scratch

RUN = ("samerun", "run", "--")

PLAIN = """
stages:
  plain:
    cmd: samerun run -- sh -c "$TOY_COMMAND"
    deps: [code/count.py]
    outs: [out.txt]
  record:
    cmd: samerun record
    deps: [code/count.py, out.txt]
    outs: [mlruns/recorded.json: {cache: false, persist: true}]
"""


@pytest.fixture(scope="module")
def _plain(tmp_path_factory: pytest.TempPathFactory) -> Counting:
    path = tmp_path_factory.mktemp("plain") / "work"
    return Counting(project(path, {**FILES, "dvc.yaml": PLAIN}).path)


@pytest.fixture
def plain(_plain: Counting) -> Counting:
    """A project without a record stage, whose only stage a test calls as DVC would."""
    for receipt in (_plain.path / ".dvc/tmp/samerun").glob("receipts/*"):
        receipt.unlink()
    return _plain


def run(
    plain: Counting, *command: str, given: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command as the stage `plain`, in a process group of its own."""
    env = plain.env(DVC_STAGE="plain", DVC_ROOT=str(plain.path), SAMERUN_LIVE_AFTER="inf")
    return subprocess.run(
        [*RUN, *command],
        cwd=plain.path, env=env, capture_output=True, text=True, check=False,
        start_new_session=True, input=given,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("command", "status"),
    [("exit 0", 0), ("exit 7", 7), ("exit 200", 200), ("kill -9 $$", 137), ("kill -TERM $$", 143)],
)
def test_the_exit_status_is_the_commands(plain: Counting, command: str, status: int) -> None:
    done = run(plain, "sh", "-c", command)
    assert (done.returncode, done.stdout, done.stderr) == (status, "", "")
    assert len(plain.receipts()) == (status == 0)
    assert plain.scratch() == []


def test_a_command_that_is_not_there_is_one_line(plain: Counting) -> None:
    for name, reason in (("nope", "No such file"), ("./code/count.py", "Permission denied")):
        done = run(plain, name, "argument")
        assert done.returncode == 2
        assert done.stderr.startswith(f"samerun: error: cannot run {name}: ")
        assert reason in done.stderr
        assert done.stderr.count("\n") == 1
    assert plain.scratch() == []


def test_process_group_standard_input_and_signals_are_those_without_it(plain: Counting) -> None:
    words = (sys.executable, "-c", "import os; print(os.getpgrp() == os.getppid(), input())")
    assert run(plain, *words, given="read\n").stdout == "True read\n"
    done = run(plain, "sh", "-c", "yes | head -n 1")  # python ignores SIGPIPE, but not for others
    assert (done.stdout, done.stderr) == ("y\n", "")
    ignored = run(plain, "sh", "-c", "grep SigIgn /proc/self/status").stdout.split()[1]
    assert int(ignored, 16) & 0x7FFFFFFF == 0  # not 32 and 33, which are glibc's own


def test_by_hand_it_only_runs_the_command(plain: Counting) -> None:
    done = plain.samerun("run", "--", "sh", "-c", "env | grep -c SAMERUN_; exit 3", ok=False)
    assert done.returncode == 3
    assert done.stdout == "1\n"  # SAMERUN_LIVE_AFTER, of the tests
    assert plain.samerun("run", "--", "sh", "-c", "yes | head -n 1").stderr == ""
    missing = plain.samerun("run", "--", "nope", ok=False)
    assert missing.returncode == 2
    assert missing.stderr == "samerun: error: cannot run nope: No such file or directory\n"
    assert plain.receipts() == []


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams(plain: Counting, closed: str) -> None:
    command = f'exec "$@" {closed}'
    env = plain.env(DVC_STAGE="plain", DVC_ROOT=str(plain.path), SAMERUN_LIVE_AFTER="inf")
    words = ["sh", "-c", command, "sh", *RUN, "sh", "-c", "echo; echo >&2; exit 0"]
    done = subprocess.run(words, cwd=plain.path, env=env, check=False, capture_output=True)
    assert done.returncode == 0
    (receipt,) = plain.receipts()
    assert receipt["outs"] == {"out.txt": "none"}


def test_wrong_settings_are_refused_before_anything_runs(plain: Counting) -> None:
    env = {"DVC_STAGE": "plain", "DVC_ROOT": str(plain.path)}
    for name, value, says in (
        ("SAMERUN_LIVE_AFTER", "soon", "SAMERUN_LIVE_AFTER must be seconds, 0 or more (got soon)"),
        ("MLFLOW_TRACKING_URI", "nowhere", "MLFLOW_TRACKING_URI must be http:// or https://"),
    ):
        done = plain.run(*RUN, "touch", "ran", ok=False, **env, **{name: value})
        assert done.returncode == 2
        assert done.stderr.startswith(f"samerun: error: {says}")
        assert done.stderr.count("\n") == 1
    assert not (plain.path / "ran").exists()


def test_a_zombie_does_not_run(tmp_path: Path) -> None:
    first = Scratch(str(tmp_path), "fit", [1])
    (Path(first.folder) / "checkpoint").write_text("7")
    ended = os.posix_spawn("/bin/true", ["true"], {})
    first.begin(ended)
    with contextlib.suppress(ChildProcessError):
        os.waitid(os.P_PID, ended, os.WEXITED | os.WNOWAIT)  # it has ended, and is not reaped
    os.close(first._lock)
    again = Scratch(str(tmp_path), "fit", [1])
    assert again.execution == first.execution
    os.waitpid(ended, 0)


def test_a_living_child_is_waited_for_in_its_folder_and_not_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Scratch(str(tmp_path), "fit", [1])
    first.begin(os.getpid())
    os.close(first._lock)  # its wrapper was killed
    with pytest.raises(RunningError, match=f"process {os.getpid()} already runs this stage here"):
        Scratch(str(tmp_path), "fit", [1])
    assert Scratch(str(tmp_path), "fit", [2]).folder != first.folder
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    twin = Scratch(str(tmp_path), "fit", [1])
    assert twin.folder != first.folder
    assert twin.execution != first.execution


def test_a_twin_that_was_killed_leaves_its_checkpoints_to_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Scratch(str(tmp_path), "fit", [1])
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    twin = Scratch(str(tmp_path), "fit", [1])
    (Path(twin.folder) / "checkpoint").write_text("7")
    twin.begin(0)
    os.close(twin._lock)
    first.empty()
    os.close(first._lock)
    again = Scratch(str(tmp_path), "fit", [1])
    assert (Path(again.folder) / "checkpoint").read_text() == "7"
    assert again.execution == twin.execution


def test_an_execution_lasts_as_long_as_its_attempts(tmp_path: Path) -> None:
    first = Scratch(str(tmp_path), "fit", [1])
    first._attempt -= 100
    first.started -= 100
    first.begin(0)
    checkpoint = Path(first.folder) / "checkpoint"
    checkpoint.write_text("7")
    os.utime(checkpoint, (time.time() - 60, time.time() - 60))  # it was killed at some time later
    os.close(first._lock)
    again = Scratch(str(tmp_path), "fit", [1])
    assert again.started == first.started
    assert 39 < again.seconds < 45


def test_an_execution_lasts_no_less_than_nothing_if_the_clock_is_set_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise its receipt would not count, and with it all that the program reported."""
    running, now = Scratch(str(tmp_path), "fit", [1]), time.time()
    monkeypatch.setattr(time, "time", lambda: now - 3600)
    assert 0 <= running.seconds < 60


@pytest.mark.parametrize("what", ["command", "environment"])
def test_checkpoints_belong_to_a_command_and_its_environment(counting: Counting, what: str) -> None:
    counting.replace(
        "dvc.yaml", "    outs: [mlruns", "    meta: {samerun: {env: [TOY_SEED]}}\n    outs: [mlruns"
    )
    for seed in ("1", "2" if what == "environment" else "1"):
        counting.allow(3)
        env = {"DVC_STAGE": "count", "DVC_ROOT": str(counting.path), "TOY_SEED": seed}
        words = ["python", "-IS", "code/count.py", "count", "100", str(STEPS)]
        if counting.starts() and what == "command":
            words[4] = "200"
        process = subprocess.Popen(
            [*RUN, *words], cwd=counting.path, env=counting.env(**env, SAMERUN_LIVE_AFTER="inf")
        )
        wait_for(lambda: len(list((counting.path / "out").glob("count.csv"))) or None, "a start")
        time.sleep(0.3)
        process.terminate()
        assert process.wait() == 143
    assert counting.starts() == ["count:0", "count:0"]
    assert len(counting.scratch()) == 2


@pytest.fixture
def counting(tmp_path: Path) -> Counting:
    """A project in which nothing ran yet."""
    return Counting(project(tmp_path / "work", FILES).path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a file system")
@pytest.mark.parametrize("free", [0, 8_192])
def test_a_full_disk_for_its_own_files_is_one_line(counting: Counting, free: int) -> None:
    folder = counting.path / ".dvc/tmp/samerun"
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    words = (*RUN, "sh", "-c", "mkdir out; echo 1 > out/count.json; echo 1 > out/count.csv")

    def run_stage(*, ok: bool) -> subprocess.CompletedProcess[str]:
        return counting.run(
            *words, ok=ok, DVC_STAGE="count", DVC_ROOT=str(counting.path), SAMERUN_LIVE_AFTER="inf"
        )

    try:
        _fill(folder, free)
        done = run_stage(ok=False)
        assert done.returncode == 2, done.stderr
        assert done.stderr.startswith("samerun: error: ")
        assert os.strerror(errno.ENOSPC) in done.stderr
        assert done.stderr.count("\n") == 1
        (folder / "ballast").unlink()
        counting.run("rm", "-rf", "out")
        run_stage(ok=True)
        assert len(counting.receipts()) == 1
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _fill(folder: Path, free: int) -> None:
    """Fill a file system except for some bytes."""
    with (folder / "ballast").open("wb", buffering=0) as stream:
        with contextlib.suppress(OSError):
            while True:
                stream.write(b"\0" * 4096)
        stream.truncate(max(0, stream.tell() - free))


def test_what_a_receipt_says_is_what_dvc_lock_says(counting: Counting) -> None:
    counting.allow(STEPS)
    counting.dvc("repro", "count", SAMERUN_LIVE_AFTER="inf")
    (receipt,) = counting.receipts()
    shown = counting.run("python", "-c", "import yaml, json; print(json.dumps(yaml.safe_load("
                         "open('dvc.lock'))['stages']['count']['outs']))").stdout  # fmt: skip
    assert receipt["outs"] == {out["path"]: out["md5"] for out in json.loads(shown)}
    assert receipt["stage"] == "dvc.yaml:count"
    assert receipt["tags"] == {"device": "abacus", "mood": "done"}
    assert 0 < receipt["seconds"] < 60
    assert abs(receipt["started"] - time.time()) < 60


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_it_starts_ends_it_without_a_trace(
    plain: Counting, sent: signal.Signals
) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
    env = plain.env(DVC_STAGE="plain", DVC_ROOT=str(plain.path), SAMERUN_LIVE_AFTER="inf")
    for delay in (0.02, 0.04, 0.06, 0.1):
        process = subprocess.Popen(
            [*RUN, "sleep", "5"],
            cwd=plain.path, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip
        time.sleep(delay)
        os.killpg(process.pid, sent)
        _, errors = process.communicate(timeout=20)
        assert process.returncode in (130, 143, -2, -15), errors
        assert plain.processes(lambda words: words[0] == b"sleep") == []
    assert plain.receipts() == []
