"""`knownline doctor` names what is wrong, one finding a line, and repairs what loses nothing."""

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Run, Workspace

pytestmark = pytest.mark.usefixtures("warm")

NAME = (
    "import sys; sys.path.insert(0, 'src'); from samerun.execution import processes;"
    "print(processes.this_process(), flush=True)"
)


def doctor(workspace: Workspace, *arguments: str, code: int = 1) -> list[str]:
    """Return the findings, without the verdict that follows them."""
    done = workspace.knownline("doctor", *arguments, ok=False)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    *findings, verdict = done.stdout.splitlines()
    assert verdict.startswith("doctor: ")
    return findings


def one(workspace: Workspace) -> str:
    """Return the only finding."""
    (line,) = doctor(workspace)
    return line


def flip(path: Path, place: float) -> None:
    """Flip a bit of a file, so far into it."""
    content = bytearray(path.read_bytes())
    content[int(len(content) * place)] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)


def test_a_workspace_that_ran_is_healthy_and_stays_as_it_was(workspace: Workspace) -> None:
    before = {p: p.read_bytes() for p in workspace.path.rglob("*") if p.is_file()}
    assert doctor(workspace, code=0) == []
    after = {p: p.read_bytes() for p in workspace.path.rglob("*") if p.is_file()}
    changed = {p for p in before | after if before.get(p) != after.get(p)}
    own = ("__pycache__", ".dvc/tmp", ".git/index", "mlflow.db-")
    assert not [p for p in changed if not any(part in str(p) for part in own)]


def test_uncommitted_files_are_a_finding_and_changed_parameters_are_none(
    trained: Workspace,
) -> None:
    """A run keeps params.yaml whole, and to change it is what the pipeline is for."""
    trained.dvc("repro")
    assert doctor(trained, code=0) == []
    trained.replace("params.yaml", "epochs: 60", "epochs: 102")
    assert one(trained) == "pipeline: something changed since it ran: run `dvc repro`"
    trained.git("checkout", "--", "params.yaml", "dvc.lock")
    (trained.path / "notes.txt").write_text("a note\n")
    text = "git: the workspace has changes beyond its commit (notes.txt): commit"
    assert doctor(trained)[0].startswith(text)


def test_a_nested_repository_without_a_commit(trained: Workspace) -> None:
    (trained.path / "theirs").mkdir()
    trained.git("init", "--quiet", "theirs")
    shown = trained.dvc("repro").stdout
    assert "record: theirs/ is a git repository without a commit, so nothing of it is kept" in shown
    assert trained.runs()[-1].status == "FINISHED"
    assert "git: theirs/ is a git repository without a commit" in one(trained)


def test_a_lock_file_of_dvc_that_a_kill_cut_short_is_repaired(workspace: Workspace) -> None:
    path = workspace.path / ".dvc/tmp/rwlock"
    path.write_text('{"write": {"/some/where": {"pid": 1')
    assert "RWLock" in workspace.dvc("repro", ok=False).stderr
    assert one(workspace).startswith(".dvc/tmp/rwlock: a kill cut DVC's lock file short")
    assert doctor(workspace, "--repair", code=0) == [
        "mended: .dvc/tmp/rwlock: a kill cut DVC's lock file short, and DVC does nothing until it"
        " is gone"
    ]
    workspace.dvc("repro")


@pytest.mark.parametrize(
    "kept", [0.5, *(pytest.param(kept, marks=pytest.mark.slow) for kept in (0.2, 0.9))]
)
def test_a_dvc_lock_that_a_kill_cut_short_is_repaired(workspace: Workspace, kept: float) -> None:
    path = workspace.path / "dvc.lock"
    whole = path.read_text()
    path.write_text(whole[: whole.index("md5:", int(len(whole) * kept))])
    found = doctor(workspace)
    assert any(line.startswith("dvc.lock: a kill cut it short") for line in found), found
    (mended,) = doctor(workspace, "--repair", code=0)
    assert mended.startswith("mended: dvc.lock: a kill cut it short")
    assert path.read_text() == whole


def test_flipped_bytes_of_outputs_and_of_the_cache(workspace: Workspace) -> None:
    objects = sorted((workspace.path / ".dvc/cache/files/md5").glob("??/*"))
    cached = next(path for path in objects if not path.name.endswith(".dir"))
    flip(cached, 0.0)
    outputs = ["data/train/part-00000.parquet", "models/line.json", "reports/metrics.json"]
    for name in outputs:
        flip(workspace.path / name, 0.5)
    found = doctor(workspace)
    for name in outputs:
        assert any(name in line for line in found), found
    assert [line for line in found if f"{cached} has other bytes than its name says" in line]


def append_to(name: str) -> Callable[[Workspace, Run], object]:
    def damage(_: Workspace, run: Run) -> None:
        (run.artifacts / name).write_bytes((run.artifacts / name).read_bytes() + b" ")

    return damage


def lock_becomes(text: str) -> Callable[[Workspace, Run], object]:
    return lambda _, run: (run.artifacts / "dvc.lock").write_text(text)


def remove_lock(_: Workspace, run: Run) -> None:
    (run.artifacts / "dvc.lock").unlink()


def remove_artifacts(_: Workspace, run: Run) -> None:
    shutil.rmtree(run.artifacts)


def change_model(workspace: Workspace, _: Run) -> None:
    (line,) = workspace.path.glob("mlruns/artifacts/models/*/artifacts/artifacts/line.json")
    line.write_text(line.read_text().replace("20.0", "21.0"))


def delete_run(workspace: Workspace, _: Run) -> None:
    with sqlite3.connect(workspace.path / "mlruns/mlflow.db") as store:
        store.execute("update runs set lifecycle_stage = 'deleted'")


@pytest.mark.parametrize(
    ("damage", "finding"),
    [
        (append_to("identity.json"), "identity.json is not what its fingerprint says"),
        (append_to("metrics.json"), "metrics.json is not the reports/metrics.json of its dvc.lock"),
        (append_to("history.csv"), "history.csv is not the reports/history.csv of its dvc.lock"),
        (append_to("SHA256SUMS"), "SHA256SUMS is not the data/SHA256SUMS of its dvc.lock"),
        (lock_becomes("stages: [1, 2]\n"), "its dvc.lock is missing or damaged"),
        (lock_becomes("stages: {train: {outs: [7]}}\n"), "its dvc.lock is missing or damaged"),
        (remove_lock, "its dvc.lock is missing or damaged"),
        (change_model, "is not the models/line.json of its dvc.lock"),
        (remove_artifacts, ""),
        (delete_run, "no complete run in the store has its fingerprint"),
    ],
)
def test_a_damaged_run(
    workspace: Workspace, damage: Callable[[Workspace, Run], object], finding: str
) -> None:
    (run,) = workspace.runs()
    damage(workspace, run)
    line = doctor(workspace)[0]
    assert finding in line
    assert damage is delete_run or line.startswith(f"run {run.name} ({run.run_id}): ")


def test_repair_closes_the_run_of_a_dead_process_and_leaves_that_of_a_living_one(
    workspace: Workspace,
) -> None:
    dead = workspace.run("python", "-c", NAME).stdout.strip()
    alive = subprocess.Popen(
        [sys.executable, "-c", f"{NAME}; input()"],
        cwd=workspace.path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert alive.stdout
    living = alive.stdout.readline().strip()
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
    text = f"run long ({'1' * 32}): it says RUNNING and its process is gone"
    assert one(workspace).startswith(text)
    (mended,) = doctor(workspace, "--repair", code=0)
    assert mended.startswith("mended: run long")
    states = {run.run_id[0]: run.status for run in workspace.runs() if run.name == "long"}
    assert states == {"1": "KILLED", "2": "RUNNING"}
    alive.communicate("\n")


def test_a_moved_workspace_is_repaired_on_request_alone(
    workspace: Workspace, tmp_path: Path
) -> None:
    moved = Workspace(workspace.path.rename(tmp_path / "elsewhere"))
    text = f"store: its artifacts are said to be in {workspace.path.as_uri()}"
    assert one(moved).startswith(text)
    assert len(doctor(moved, "--repair", code=0)) == 1
    assert doctor(moved, code=0) == []


def test_old_leftovers_of_a_kill_are_removed_by_repair(workspace: Workspace) -> None:
    young, old = (workspace.path / f"models/.line.json.tmp-{name}" for name in ("young", "old"))
    for path in (young, old):
        path.write_text("half")
    folder = workspace.path / "data/.train.tmp-x"
    folder.mkdir()
    (folder / "part").write_text("half")
    for path in (old, folder):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    assert len(doctor(workspace)) == 2
    assert len(doctor(workspace, "--repair", code=0)) == 2
    assert young.exists()
    assert not old.exists()
    assert not folder.exists()


def test_a_training_that_was_not_recorded_is_named(trained: Workspace) -> None:
    trained.git("checkout", "--", "params.yaml", "dvc.lock")
    trained.dvc("checkout")
    finding = (
        r"mlruns/receipts/\w{64}\.json: a training was not recorded: 60 epochs, .*: `dvc repro`"
        r" with its parameters records it; or delete it"
    )
    found = doctor(trained)
    assert any(re.fullmatch(finding, line) for line in found), found


def test_a_store_that_is_absent_damaged_or_unreachable_is_a_finding(workspace: Workspace) -> None:
    done = workspace.knownline("doctor", ok=False, MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert done.returncode == 1
    assert "store: the MLflow store http://127.0.0.1:9 must answer" in done.stdout
    database = workspace.path / "mlruns/mlflow.db"
    database.write_bytes(b"\xff" * 5000)
    assert one(workspace).startswith("store: ")
    database.write_bytes(b"")
    assert one(workspace) == f"store: {database} is not there: run `dvc repro`"
    assert database.read_bytes() == b""  # to look makes no store
    database.unlink()
    workspace.git("update-ref", "refs/remotes/origin/knownline/store", "HEAD")
    assert one(workspace).endswith("mlflow.db is not there: `knownline store pull` brings it")
    assert not database.exists()


def test_a_folder_without_git_or_without_a_commit(fresh: Workspace, tmp_path: Path) -> None:
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
    assert "git: no commit is checked out: commit, so that" in doctor(fresh)[0]


def test_a_machine_without_git(fresh: Workspace, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python").symlink_to(sys.executable)
    done = subprocess.run(
        [sys.executable, "src/knownline", "doctor"],
        cwd=fresh.path, env=fresh.env() | {"PATH": str(tmp_path / "bin")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.startswith("git: there is none here: install it\n")
    assert done.returncode == 1, done.stderr


def test_a_package_of_another_version_and_a_device_that_is_absent(workspace: Workspace) -> None:
    lock = workspace.path / "requirements.lock"
    lines = lock.read_text().splitlines()
    lock.write_text("\n".join("pyyaml==0.1" if "pyyaml==" in x else x for x in lines))
    workspace.replace("params.yaml", "device: auto", "device: xpu")
    workspace.git("commit", "-qam", "another machine's")
    found = doctor(workspace)
    assert any(line.startswith("packages: pyyaml must be 0.1 (got ") for line in found)
    assert any("train.device must be available here" in line for line in found)
    assert "pipeline: something changed since it ran: run `dvc repro`" in found


def test_a_run_of_stages_run_by_hand_does_not_claim_the_lock(workspace: Workspace) -> None:
    workspace.replace("params.yaml", "learning_rate: 0.25", "learning_rate: 0.1")
    workspace.git("commit", "-qam", "slower")
    for stage in ("train", "evaluate", "report", "record"):
        workspace.knownline(stage)
    run = workspace.runs()[-1]
    assert run.tags["by_hand"] == "true"
    assert [line for line in doctor(workspace) if run.run_id in line] == []
    assert workspace.knownline("reproduce", run.run_id).stdout.count("proven: ") == 1
