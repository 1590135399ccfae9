"""`knownline doctor` finds what was broken on purpose, one line each, and mends what it may."""

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Workspace

pytestmark = pytest.mark.usefixtures("warm")


def doctor(workspace: Workspace, *arguments: str, code: int) -> list[str]:
    done = workspace.knownline("doctor", *arguments, ok=False)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    *findings, verdict = done.stdout.splitlines()
    assert verdict.startswith("doctor: ")
    return findings


def one(workspace: Workspace) -> str:
    (line,) = doctor(workspace, code=1)
    return line


def test_a_workspace_that_ran_is_healthy_and_stays_as_it_was(workspace: Workspace) -> None:
    before = {p: p.read_bytes() for p in workspace.path.rglob("*") if p.is_file()}
    assert doctor(workspace, code=0) == []
    after = {p: p.read_bytes() for p in workspace.path.rglob("*") if p.is_file()}
    changed = {p for p in before | after if before.get(p) != after.get(p)}
    own = ("__pycache__", ".dvc/tmp", ".git/index", "mlflow.db-")
    assert not [p for p in changed if not any(part in str(p) for part in own)]


def test_uncommitted_changes(workspace: Workspace) -> None:
    (workspace.path / "notes.txt").write_text("a note\n")
    assert one(workspace).startswith(
        "git: the workspace has changes beyond its commit (notes.txt): commit"
    )


def test_a_parameter_that_is_tried_is_no_finding(workspace: Workspace) -> None:
    """A run keeps params.yaml whole, and to change it is what the pipeline is for."""
    workspace.replace("params.yaml", "epochs: 100", "epochs: 101")
    workspace.dvc("repro")
    assert doctor(workspace, code=0) == []
    workspace.replace("params.yaml", "epochs: 101", "epochs: 102")
    assert one(workspace) == "pipeline: something changed since it ran: run `dvc repro`"


def test_a_repository_without_a_commit(workspace: Workspace) -> None:
    (workspace.path / "theirs").mkdir()
    workspace.git("init", "--quiet", "theirs")
    workspace.replace("params.yaml", "learning_rate: 0.25", "learning_rate: 0.2")
    shown = workspace.dvc("repro").stdout
    assert "record: theirs/ is a git repository without a commit, so nothing of it is kept" in shown
    assert workspace.runs()[-1].status == "FINISHED"
    assert "git: theirs/ is a git repository without a commit" in one(workspace)


def test_a_parameter_that_changed_since(workspace: Workspace) -> None:
    workspace.replace("params.yaml", "epochs: 100", "epochs: 101")
    workspace.git("commit", "-qam", "more epochs")
    assert one(workspace) == "pipeline: something changed since it ran: run `dvc repro`"


def test_dvcs_lock_file_that_a_kill_cut_short(workspace: Workspace) -> None:
    path = workspace.path / ".dvc/tmp/rwlock"
    path.write_text('{"write": {"/some/where": {"pid": 1')
    assert "RWLock" in workspace.dvc("repro", ok=False).stderr
    assert one(workspace).startswith(".dvc/tmp/rwlock: a kill cut DVC's lock file short")
    assert doctor(workspace, "--repair", code=0) == [
        "mended: .dvc/tmp/rwlock: a kill cut DVC's lock file short, and DVC does nothing until it"
        " is gone"
    ]
    workspace.dvc("repro")


@pytest.mark.parametrize("kept", [0.2, 0.5, 0.9])
def test_a_dvc_lock_that_a_kill_cut_short(workspace: Workspace, kept: float) -> None:
    path = workspace.path / "dvc.lock"
    whole = path.read_text()
    path.write_text(whole[: whole.index("md5:", int(len(whole) * kept))])
    found = doctor(workspace, code=1)
    assert any(line.startswith("dvc.lock: a kill cut it short") for line in found), found
    (mended,) = doctor(workspace, "--repair", code=0)
    assert mended.startswith("mended: dvc.lock: a kill cut it short")
    assert path.read_text() == whole


@pytest.mark.parametrize(
    "name", ["data/train/part-00000.parquet", "models/line.json", "reports/metrics.json"]
)
def test_a_flipped_byte_of_an_output(workspace: Workspace, name: str) -> None:
    path = workspace.path / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    found = doctor(workspace, code=1)
    assert any(name in line for line in found), found


def test_a_flipped_byte_in_the_cache(workspace: Workspace) -> None:
    objects = sorted((workspace.path / ".dvc/cache/files/md5").glob("??/*"))
    path = next(p for p in objects if not p.name.endswith(".dir"))
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.write_bytes(content)
    found = doctor(workspace, code=1)
    assert [line for line in found if f"{path} has other bytes than its name says" in line]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("identity.json", "identity.json is not what its fingerprint says"),
        ("metrics.json", "metrics.json is not the reports/metrics.json of its dvc.lock"),
        ("history.csv", "history.csv is not the reports/history.csv of its dvc.lock"),
        ("SHA256SUMS", "SHA256SUMS is not the data/SHA256SUMS of its dvc.lock"),
    ],
)
def test_a_changed_artifact(workspace: Workspace, name: str, says: str) -> None:
    (run,) = workspace.runs()
    path = run.artifacts / name
    path.write_bytes(path.read_bytes() + b" ")
    line = one(workspace)
    assert line.startswith(f"run {run.name} ({run.run_id}): {says}: ")


@pytest.mark.parametrize("text", [None, "stages: [1, 2]\n", "stages: {train: {outs: [7]}}\n"])
def test_a_lock_that_is_gone_or_damaged(workspace: Workspace, text: str | None) -> None:
    (run,) = workspace.runs()
    path = run.artifacts / "dvc.lock"
    path.unlink() if text is None else path.write_text(text)
    assert "its dvc.lock is missing or damaged" in one(workspace)


def test_looking_makes_no_store_and_no_experiment(workspace: Workspace) -> None:
    (workspace.path / "mlruns/mlflow.db").write_bytes(b"")
    file = workspace.path / "mlruns/mlflow.db"
    assert one(workspace) == f"store: {file} is not there: run `dvc repro`"
    assert (workspace.path / "mlruns/mlflow.db").read_bytes() == b""


def test_a_model_that_is_another(workspace: Workspace) -> None:
    (line,) = workspace.path.glob("mlruns/artifacts/models/*/artifacts/artifacts/line.json")
    line.write_text(line.read_text().replace("20.0", "21.0"))
    assert "is not the models/line.json of its dvc.lock" in one(workspace)


def test_artifacts_that_are_gone(workspace: Workspace) -> None:
    (run,) = workspace.runs()
    shutil.rmtree(run.artifacts)
    assert doctor(workspace, code=1)


def test_a_run_that_is_gone_from_the_store(workspace: Workspace) -> None:
    with sqlite3.connect(workspace.path / "mlruns/mlflow.db") as store:
        store.execute("update runs set lifecycle_stage = 'deleted'")
    assert "no complete run in the store has its fingerprint" in one(workspace)


def test_a_dead_process_is_ended_by_repair_and_a_living_one_is_not(workspace: Workspace) -> None:
    name = "import sys; sys.path.insert(0, 'src'); from knownline import processes;" + (
        "print(processes.process())"
    )
    dead = workspace.run("python", "-c", name).stdout.strip()
    hold = subprocess.Popen(
        [sys.executable, "-c", f"{name}; sys.stdout.flush(); input()"],
        cwd=workspace.path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert hold.stdout
    living = hold.stdout.readline().strip()
    with sqlite3.connect(workspace.path / "mlruns/mlflow.db") as store:
        for number, process in (("1" * 32, dead), ("2" * 32, living)):
            store.execute(
                "insert into runs (run_uuid, name, status, lifecycle_stage, experiment_id,"
                " user_id, source_type, start_time, artifact_uri)"
                " select ?, 'long', 'RUNNING', 'active', experiment_id,"
                " user_id, source_type, 1, artifact_uri from runs limit 1",
                [number],
            )
            store.execute("insert into tags values ('process', ?, ?)", [process, number])
    assert one(workspace).startswith(
        f"run long ({'1' * 32}): it says RUNNING and its process is gone"
    )
    (mended,) = doctor(workspace, "--repair", code=0)
    assert mended.startswith("mended: run long")
    states = {run.run_id[0]: run.status for run in workspace.runs() if run.name == "long"}
    assert states == {"1": "KILLED", "2": "RUNNING"}
    hold.communicate("\n")


def test_a_moved_workspace_is_mended_by_repair_alone(workspace: Workspace, tmp_path: Path) -> None:
    moved = Workspace(workspace.path.rename(tmp_path / "elsewhere"))
    assert one(moved).startswith(
        f"store: its artifacts are said to be in {workspace.path.as_uri()}"
    )
    assert len(doctor(moved, "--repair", code=0)) == 1
    assert doctor(moved, code=0) == []


def test_what_a_kill_left_is_removed_when_it_is_old(workspace: Workspace) -> None:
    young, old = (workspace.path / f"models/.line.json.tmp-{name}" for name in ("young", "old"))
    for path in (young, old):
        path.write_text("half")
    os.utime(old, (1_000_000_000, 1_000_000_000))
    folder = workspace.path / "data/.train.tmp-x"
    folder.mkdir()
    (folder / "part").write_text("half")
    os.utime(folder, (1_000_000_000, 1_000_000_000))
    assert len(doctor(workspace, code=1)) == 2
    assert len(doctor(workspace, "--repair", code=0)) == 2
    assert young.exists()
    assert not old.exists()
    assert not folder.exists()


def test_a_training_that_was_not_recorded_is_named(workspace: Workspace) -> None:
    workspace.replace("params.yaml", "learning_rate: 0.25", "learning_rate: 0.3")
    workspace.dvc("repro", "train")
    workspace.replace("params.yaml", "learning_rate: 0.3", "learning_rate: 0.25")
    workspace.dvc("repro")
    assert re.fullmatch(
        r"mlruns/receipts/\w{64}\.json: a training was not recorded: lr 0\.3, 99 rows, 100 epochs:"
        r" `dvc repro` with its parameters records it; or delete it",
        one(workspace),
    )


def test_no_store_a_damaged_one_and_a_dead_server_are_findings(workspace: Workspace) -> None:
    done = workspace.knownline("doctor", ok=False, MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert done.returncode == 1
    assert "store: the MLflow store http://127.0.0.1:9 must answer" in done.stdout
    (workspace.path / "mlruns/mlflow.db").write_bytes(b"\xff" * 5000)
    assert one(workspace).startswith("store: ")
    (workspace.path / "mlruns/mlflow.db").unlink()
    assert one(workspace).endswith("mlflow.db is not there: run `dvc repro`")
    workspace.git("update-ref", "refs/remotes/origin/knownline/store", "HEAD")
    assert one(workspace).endswith("mlflow.db is not there: `knownline store pull` brings it")


def test_an_unzipped_folder_is_told_one_thing_a_line(fresh: Workspace, tmp_path: Path) -> None:
    shutil.rmtree(fresh.path / ".git")
    outside = {"GIT_CEILING_DIRECTORIES": str(tmp_path)}
    found = fresh.knownline("doctor", ok=False, **outside).stdout.splitlines()
    assert found == [
        "git: this folder is in no git repository, which a ZIP is not: `git init`",
        *(
            f"{x}/: no stage has written here: run `dvc repro`"
            for x in ("data", "models", "reports")
        ),
        f"store: {fresh.path}/mlruns/mlflow.db is not there: run `dvc repro`",
        "doctor: 5 findings",
    ]
    fresh.git("init", "--quiet")
    assert "git: no commit is checked out: commit, so that" in doctor(fresh, code=1)[0]


def test_a_machine_without_git_is_told_so(fresh: Workspace, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python").symlink_to(sys.executable)
    done = subprocess.run(
        [sys.executable, "src/knownline", "doctor"],
        cwd=fresh.path, env=fresh.env() | {"PATH": str(tmp_path / "bin")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.startswith("git: there is none here: install it\n")
    assert done.returncode == 1, done.stderr


def test_a_package_of_another_version_and_a_device_that_is_not_here(workspace: Workspace) -> None:
    lock = workspace.path / "requirements.lock"
    lines = lock.read_text().splitlines()
    lock.write_text("\n".join("pyyaml==0.1" if "pyyaml==" in x else x for x in lines))
    workspace.replace("params.yaml", "device: auto", "device: xpu")
    workspace.git("commit", "-qam", "another machine's")
    found = doctor(workspace, code=1)
    assert any(line.startswith("packages: pyyaml must be 0.1 (got ") for line in found)
    assert any("train.device must be available here" in line for line in found)


def test_a_run_of_stages_called_by_hand_is_not_blamed_for_the_lock(workspace: Workspace) -> None:
    workspace.replace("params.yaml", "learning_rate: 0.25", "learning_rate: 0.1")
    workspace.git("commit", "-qam", "slower")
    for stage in ("train", "evaluate", "record"):
        workspace.knownline(stage)
    run = workspace.runs()[-1]
    assert run.tags["by_hand"] == "true"
    assert [line for line in doctor(workspace, code=1) if run.run_id in line] == []
    assert workspace.knownline("reproduce", run.run_id).stdout.count("proven: ") == 1
