"""`samerun doctor` names what is wrong with any DVC project, and repairs what loses nothing."""

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from projects.toy import FILES, PIPELINE, Toy, project
from support.workspace import Run, commit

pytestmark = pytest.mark.usefixtures("warm")

NAME = "from samerun.execution import processes; print(processes.this_process(), flush=True)"


def doctor(
    toy: Toy,
    *arguments: str,
    code: int = 1,
    folder: str = ".",
    env: Mapping[str, str] | None = None,
) -> list[str]:
    """Return the findings, without the verdict that follows them."""
    inside = ("sh", "-c", 'cd "$0" && exec samerun doctor "$@"', folder)
    done = toy.run(*inside, *arguments, ok=False, **(env or {}))
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    *findings, verdict = done.stdout.splitlines()
    assert verdict.startswith("doctor: ")
    return findings


def one(toy: Toy, **env: str) -> str:
    """Return the only finding."""
    (line,) = doctor(toy, env=env)
    return line


def flip(path: Path) -> None:
    """Change a byte of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.unlink()
    path.write_bytes(content)


def test_a_project_that_ran_is_healthy_and_stays_as_it_was(toy: Toy) -> None:
    before = {p: p.read_bytes() for p in toy.path.rglob("*") if p.is_file()}
    assert doctor(toy, code=0) == []
    after = {p: p.read_bytes() for p in toy.path.rglob("*") if p.is_file()}
    changed = {p for p in before | after if before.get(p) != after.get(p)}
    own = ("__pycache__", ".dvc/tmp", ".git/index", "mlflow.db-")
    assert not [p for p in changed if not any(part in str(p) for part in own)]


def test_only_uncommitted_inputs_are_a_finding(toy: Toy) -> None:
    (toy.path / "notes.txt").write_text("no part of the pipeline\n")
    assert doctor(toy, code=0) == []
    toy.append("code/fit/step.sh", "# a comment\n")
    toy.repro()
    text = "git: the pipeline reads files with uncommitted changes (code/fit/step.sh): commit"
    assert one(toy).startswith(text)


def test_a_changed_parameter_waits_for_a_repro_and_is_no_change_of_code(toy: Toy) -> None:
    toy.set("fit.rate", 0.25)
    text = "stage fit: fit.rate in params.yaml differs from dvc.lock: run `dvc repro`"
    assert one(toy) == text
    toy.repro()
    assert doctor(toy, code=0) == []


def test_a_changed_color_is_seen_though_it_belongs_to_no_identity(toy: Toy) -> None:
    toy.set("draw.color", "blue")
    assert one(toy).startswith("stage draw: draw.color in params.yaml differs from dvc.lock")


def test_a_project_in_which_nothing_ran(new: Toy) -> None:
    store = new.path / "mlruns/mlflow.db"
    assert doctor(new) == [
        *(
            f"stage {name}: it has not run here: run `dvc repro`"
            for name in ("prepare", "fit", "judge", "draw")
        ),
        f"store: {store} does not exist: run `dvc repro`",
    ]
    assert not store.exists()  # to look makes no store


def test_a_clone_has_no_outputs_yet(toy: Toy) -> None:
    found = doctor(toy.clone())
    text = "stage prepare: data/table.csv is missing: run `dvc repro`, or `dvc pull`"
    assert text in found


def test_flipped_bytes_of_outputs_and_of_the_cache(toy: Toy) -> None:
    objects = sorted((toy.path / ".dvc/cache/files/md5").glob("??/*"))
    flip(objects[0])
    outputs = ["data/table.csv", "models/fit.json", "reports/metrics.json"]
    for name in outputs:
        flip(toy.path / name)
    found = doctor(toy)
    for name in outputs:
        assert any(f"{name} differs from its hash in dvc.lock" in line for line in found), found
    assert [line for line in found if f"{objects[0]} is damaged: its MD5 is " in line]
    assert objects[0].exists()


def test_a_lock_file_of_dvc_that_a_kill_cut_short_is_repaired(toy: Toy) -> None:
    path = toy.path / ".dvc/tmp/rwlock"
    path.write_text('{"write": {"/some/where": {"pid": 1')
    assert one(toy).startswith(".dvc/tmp/rwlock: a kill truncated DVC's lock file")
    (mended,) = doctor(toy, "--repair", code=0)
    assert mended.startswith("repaired: .dvc/tmp/rwlock: ")
    assert toy.repro() == []


def test_a_folder_of_the_run_cache_that_a_kill_left_empty_is_repaired(toy: Toy) -> None:
    """DVC makes the folder first and then moves a file into it."""
    toy.replace("params.yaml", "rate: 0.5", "rate: 0.25")
    toy.repro("fit")
    (toy.path / "dvc.lock").write_text(toy.git("show", "HEAD:dvc.lock"))
    for path in (toy.path / ".dvc/cache/runs").glob("??/*/*"):
        path.unlink()
    assert (
        "join() argument" in toy.dvc("repro", "fit", ok=False).stderr
    )  # if not, DVC has mended it
    found = [line for line in doctor(toy) if "a kill left this folder" in line]
    mended = [line for line in doctor(toy, "--repair") if line.startswith("repaired: ")]
    assert len(found) == len(mended) > 0
    assert "fit" in toy.repro("fit")


@pytest.mark.parametrize(
    "cut", [0.5, *(pytest.param(cut, marks=pytest.mark.slow) for cut in (0, 0.1, 0.9))]
)
def test_a_dvc_lock_that_a_kill_cut_short_is_repaired(toy: Toy, cut: float) -> None:
    path = toy.path / "dvc.lock"
    whole = path.read_text()
    path.write_text(whole[: whole.index("md5:", int(len(whole) * cut)) if cut else 0])
    assert one(toy).startswith("dvc.lock: a kill truncated it, and no DVC command works until")
    (mended,) = doctor(toy, "--repair", code=0)
    assert mended.startswith("repaired: dvc.lock: a kill truncated it")
    assert path.read_text() == whole
    assert toy.repro() == []


def add_space(name: str) -> Callable[[Toy, Run], object]:
    def damage(_: Toy, run: Run) -> None:
        (run.artifacts / name).write_bytes((run.artifacts / name).read_bytes() + b" ")

    return damage


def lock_becomes(text: str) -> Callable[[Toy, Run], object]:
    return lambda _, run: (run.artifacts / "dvc.lock").write_text(text)


def cut_lock(_: Toy, run: Run) -> None:
    """As a store leaves it that loses the end of a file: what remains can be read."""
    whole = (run.artifacts / "dvc.lock").read_text()
    (run.artifacts / "dvc.lock").write_text(whole[: whole.index("  judge:")])


def remove(name: str) -> Callable[[Toy, Run], object]:
    return lambda _, run: (run.artifacts / name).unlink()


def remove_artifacts(_: Toy, run: Run) -> None:
    shutil.rmtree(run.artifacts)


def change_model(toy: Toy, _: Run) -> None:
    (model,) = toy.path.glob("mlruns/artifacts/models/*/artifacts/artifacts/fit.json")
    model.write_text('{"slope": 1}')


def change_code_of_model(toy: Toy, _: Run) -> None:
    (code,) = toy.path.glob("mlruns/artifacts/models/*/artifacts/artifacts/serve.py")
    code.write_text("")


def delete_run(toy: Toy, _: Run) -> None:
    with sqlite3.connect(toy.path / "mlruns/mlflow.db") as store:
        store.execute("update runs set lifecycle_stage = 'deleted'")


@pytest.mark.parametrize(
    ("damage", "finding"),
    [
        (add_space("identity.json"), "identity.json does not match the run's fingerprint"),
        (remove("identity.json"), "identity.json is missing"),
        (
            add_space("reports/metrics.json"),
            "reports/metrics.json differs from its hash in the run's dvc.lock",
        ),
        (add_space("reports/history.csv"), "reports/history.csv differs from its hash in"),
        (remove("reports/metrics.json"), "reports/metrics.json is missing"),
        (lock_becomes("stages: [1, 2]\n"), "its dvc.lock is missing or damaged"),
        (lock_becomes("stages: {fit: {outs: [7]}}\n"), "its dvc.lock is missing or damaged"),
        (remove("dvc.lock"), "its dvc.lock is missing or damaged"),
        (lock_becomes("stages: {}\n"), "its dvc.lock lacks the outputs of the stage fit"),
        (cut_lock, "its dvc.lock lacks the outputs of the stage judge"),
        (remove("dvc.yaml"), "dvc.yaml is missing or damaged"),
        (remove("environment.json"), "environment.json is missing or damaged"),
        (change_model, "model/fit.json differs from models/fit.json, from which it was made"),
        (change_code_of_model, "model/serve.py differs from code/serve.py, from which it was made"),
        (remove_artifacts, ""),
        (delete_run, "no complete run in the store has its fingerprint"),
    ],
)
def test_a_damaged_run(toy: Toy, damage: Callable[[Toy, Run], object], finding: str) -> None:
    (run,) = toy.runs()
    damage(toy, run)
    line = doctor(toy)[0]
    assert finding in line
    assert damage is delete_run or line.startswith(f"run {run.name} ({run.run_id}): ")


def test_the_run_of_a_dead_process_is_closed_by_repair_and_that_of_a_living_one_is_left(
    toy: Toy,
) -> None:
    dead = toy.run("python", "-c", NAME).stdout.strip()
    alive = subprocess.Popen(
        [sys.executable, "-c", f"{NAME}; input()"],
        cwd=toy.path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert alive.stdout
    living = alive.stdout.readline().strip()
    with sqlite3.connect(toy.path / "mlruns/mlflow.db") as store:
        for number, process in (("1" * 32, dead), ("2" * 32, living)):
            store.execute(
                "insert into runs (run_uuid, name, status, lifecycle_stage, experiment_id,"
                " user_id, source_type, start_time, artifact_uri)"
                " select ?, 'long', 'RUNNING', 'active', experiment_id,"
                " user_id, source_type, 1, artifact_uri from runs limit 1",
                [number],
            )
            store.execute("insert into tags values ('process', ?, ?)", [process, number])
    text = f"run long ({'1' * 32}): its status is RUNNING but its process is gone"
    assert one(toy).startswith(text)
    (mended,) = doctor(toy, "--repair", code=0)
    assert mended.startswith("repaired: run long")
    states = {run.run_id[0]: run.status for run in toy.runs() if run.name == "long"}
    assert states == {"1": "KILLED", "2": "RUNNING"}
    alive.communicate("\n")


def test_a_moved_project_is_repaired_on_request_alone(toy: Toy, tmp_path: Path) -> None:
    moved = Toy(toy.path.rename(tmp_path / "elsewhere"))
    assert one(moved).startswith(f"store: its artifact paths begin with {toy.path.as_uri()}")
    assert len(doctor(moved, "--repair", code=0)) == 1
    assert doctor(moved, code=0) == []


def test_old_leftovers_of_a_kill_are_removed_by_repair(toy: Toy) -> None:
    young, old = (toy.path / f"models/.fit.json.tmp-{name}" for name in ("young", "old"))
    for path in (young, old):
        path.write_text("half")
    folder = toy.path / "data/.table.csv.tmp-x"
    folder.mkdir()
    (folder / "part").write_text("half")
    for path in (old, folder):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    assert len(doctor(toy)) == 2
    assert len(doctor(toy, "--repair", code=0)) == 2
    assert young.exists()
    assert not old.exists()
    assert not folder.exists()


def test_an_execution_that_was_cut_short_is_named_and_its_checkpoints_are_kept(toy: Toy) -> None:
    homes = [toy.path / ".dvc/tmp/samerun/scratch" / name for name in ("empty", "useful")]
    for home in homes:
        (home / "files").mkdir(parents=True)
        (home / "lock").touch()
        (home / "state.json").write_text(json.dumps({"stage": "dvc.yaml:fit"}))
    (homes[1] / "files/checkpoint").write_text("7")
    text = "an execution of dvc.yaml:fit was killed and left"
    assert [line for line in doctor(toy) if text in line] == [
        f".dvc/tmp/samerun/scratch/empty: {text} no checkpoints: delete it",
        f".dvc/tmp/samerun/scratch/useful: {text} its checkpoints: `dvc repro` with the same"
        " inputs resumes from them; or delete this folder",
    ]
    assert len(doctor(toy, "--repair")) == 2
    assert [home.exists() for home in homes] == [False, True]


def test_an_execution_that_was_not_recorded_is_named(toy: Toy) -> None:
    toy.set("fit.rate", 0.25)
    toy.repro("judge")
    toy.git("checkout", "--", "params.yaml", "dvc.lock")
    toy.dvc("checkout")
    found = doctor(toy)
    for stage, params in (("fit", r" \(fit\.rate: 0\.25\)"), ("judge", "")):
        pattern = (
            rf"\.dvc/tmp/samerun/receipts/\S+: stage {stage} was executed at [-0-9: ]{{16}}{params}"
            r" but the execution was never recorded: run `dvc repro` with the same inputs to record"
            r" it, or delete this file"
        )
        assert [line for line in found if re.fullmatch(pattern, line)], found
    toy.set("fit.rate", 0.25)
    toy.repro()
    assert doctor(toy, code=0) == []


def test_a_store_that_is_absent_damaged_or_unreachable(toy: Toy) -> None:
    line = one(toy, MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert line.startswith("store: the MLflow store http://127.0.0.1:9 must answer")
    database = toy.path / "mlruns/mlflow.db"
    database.write_bytes(b"\xff" * 5000)
    assert one(toy).startswith("store: ")
    database.write_bytes(b"")
    assert one(toy) == f"store: {database} does not exist: run `dvc repro`"
    assert database.read_bytes() == b""  # to look makes no store
    database.unlink()
    toy.git("update-ref", "refs/remotes/origin/samerun/store", "HEAD")
    assert one(toy).endswith("mlflow.db does not exist: run `samerun store pull`")
    assert not database.exists()


def test_a_folder_without_git_or_without_a_commit(toy: Toy, tmp_path: Path) -> None:
    shutil.rmtree(toy.path / ".git")
    outside = {"GIT_CEILING_DIRECTORIES": str(tmp_path)}
    text = "git: this folder is not in a git repository (a ZIP has none): run `git init`"
    assert one(toy, **outside) == text
    toy.dvc("config", "core.no_scm", "true")
    assert doctor(toy, env=outside)[0] == text
    toy.dvc("config", "--unset", "core.no_scm")
    toy.git("init", "--quiet")
    assert "git: no commit is checked out: commit, so that" in doctor(toy)[0]


def test_a_machine_without_git(toy: Toy, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "samerun", "doctor"],
        cwd=toy.path, env=toy.env() | {"PATH": str(tmp_path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.startswith("git: it is not installed: install it\n")
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr


def test_a_package_of_another_version(toy: Toy) -> None:
    (toy.path / "requirements.lock").write_text("pyyaml==0.1\n# a comment\n")
    line = one(toy)
    assert line.startswith("packages: pyyaml must be 0.1 (got ")
    assert line.endswith("): pip install -r requirements.lock")


def test_an_input_that_neither_git_nor_dvc_keeps(toy: Toy) -> None:
    (toy.path / ".gitignore").write_text("/data/raw.csv\n")
    toy.git("rm", "--quiet", "--cached", "data/raw.csv")
    commit(toy, "raw data is ignored")
    assert one(toy) == (
        "stage prepare: it reads data/raw.csv, which neither git nor DVC tracks, so no run can be"
        " reproduced on another machine: `dvc add` it, or take it out of .gitignore"
    )
    (toy.path / ".gitignore").unlink()
    toy.dvc("add", "--quiet", "data/raw.csv")
    commit(toy, "raw data is tracked by DVC")
    assert toy.repro() == []
    assert doctor(toy, code=0) == []


def test_an_ignored_file_in_a_folder_of_code_and_one_outside_the_repository(
    toy: Toy, tmp_path: Path
) -> None:
    (toy.path / ".gitignore").write_text("/code/fit/secret.sh\n")
    toy.append("code/fit/secret.sh", "key=1\n")
    (tmp_path / "outside.csv").write_text("1,1\n")
    toy.replace("dvc.yaml", "[code/common.sh, code/judge,", "[../outside.csv, code/judge,")
    toy.replace("dvc.yaml", "      - code/judge\n", "      - code/judge\n      - ../outside.csv\n")
    commit(toy, "more inputs")
    toy.repro()
    fit, judge = doctor(toy)
    assert fit.startswith(
        "stage fit: it reads code/fit/secret.sh, which neither git nor DVC tracks"
    )
    assert judge.startswith(
        "stage judge: it reads ../outside.csv, which neither git nor DVC tracks"
    )


def test_a_record_stage_that_lacks_a_dependency_or_may_be_restored(toy: Toy) -> None:
    toy.replace("dvc.yaml", "      - code/judge\n", "")
    toy.replace("dvc.yaml", "params: [prepare, fit, judge]", "params: [prepare, fit]")
    toy.replace("dvc.yaml", "{cache: false, persist: true}", "{cache: false}")
    commit(toy, "a careless record stage")
    toy.repro()
    text = "so a change of it may not be recorded: add it to the stage in dvc.yaml"
    assert doctor(toy) == [
        f"stage record: it does not depend on code/judge, {text}",
        f"stage record: it does not depend on the parameter judge of params.yaml, {text}",
        "stage record: DVC may restore its output from a cache instead of running it: its only"
        " output must be the marker, as in mlruns/recorded.json: {cache: false, persist: true}",
    ]


def test_a_configuration_that_is_wrong(toy: Toy) -> None:
    toy.replace("dvc.yaml", "not_identity: [draw]", "not_identities: [draw]")
    line = doctor(toy)[0]
    assert line.startswith(
        "dvc.yaml: meta.samerun of dvc.yaml:record has no key not_identities; its keys are "
    )


def test_a_dvc_yaml_that_dvc_cannot_read(toy: Toy) -> None:
    toy.append("dvc.yaml", "stages: [\n")
    (line,) = doctor(toy)
    assert line.startswith("DVC: DVC cannot read its files: ")


def test_a_project_that_does_not_record_yet(tmp_path: Path) -> None:
    plain = PIPELINE[: PIPELINE.index("  record:")] + PIPELINE[PIPELINE.index("artifacts:") :]
    files = {**FILES, "dvc.yaml": plain.replace("samerun run -- ", "")}
    toy = project(tmp_path / "plain", files)
    toy.repro()
    commit(toy, "results")
    assert one(toy) == (
        "dvc.yaml: no stage runs `samerun record`: `samerun init` adds one: until that is"
        " corrected, no run is recorded from here"
    )


def test_a_folder_of_a_larger_repository(tmp_path: Path) -> None:
    files = {f"team/pipe/{name}": text for name, text in FILES.items() if name != ".dvcignore"}
    toy = project(tmp_path / "mono", {**files, "README": "of all teams\n"})
    assert toy.repro(folder="team/pipe")[-1].endswith("record")
    commit(toy, "results")
    assert doctor(toy, folder="team/pipe", code=0) == []
    (toy.path / "README").write_text("changed\n")
    assert doctor(toy, folder="team/pipe", code=0) == []
    flip(toy.path / "team/pipe/models/fit.json")
    (line,) = doctor(toy, folder="team/pipe")
    assert "models/fit.json differs from its hash in dvc.lock" in line
    assert doctor(toy)[0].startswith(
        "dvc.yaml: no stage in this folder runs `samerun record`, but one in team/pipe does: run"
        " `samerun doctor` there"
    )


def test_a_folder_without_dvc_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = Toy(tmp_path / "empty").samerun("doctor", ok=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(
        "samerun: error: " + f"{tmp_path / 'empty'} is not in a DVC project"
    )
    assert done.stderr.count("\n") == 1


def test_a_name_whose_parameter_no_stage_has(toy: Toy) -> None:
    toy.replace(
        "dvc.yaml",
        "experiment: toy",
        "experiment: toy\n        name: ['rate {fit.rat}', '{fit.rate}']",
    )
    done = toy.samerun("doctor", ok=False)
    assert "name must use parameters of the stages (got {fit.rat})" in done.stdout
    assert "(got {fit.rate})" not in done.stdout


def test_a_misspelt_name_of_a_tolerance(toy: Toy) -> None:
    tolerance = "tolerance: {los: 1.0e-9, loss: 1.0e-9, 'reports/metrics.json:slop': 1.0e-9}"
    toy.replace("dvc.yaml", "experiment: toy", f"experiment: toy\n        {tolerance}")
    commit(toy, "tolerances")
    place = "stage record: meta.samerun: tolerance must name files, keys or columns that a stage"
    assert doctor(toy) == [
        f"{place} makes (got {name}): correct it in dvc.yaml"
        for name in ("los", "reports/metrics.json:slop")
    ]
    (toy.path / "reports/metrics.json").unlink()  # then what its keys are is not known
    assert not [line for line in doctor(toy) if "tolerance" in line]
