"""The three projects of users: `samerun reproduce`, `samerun run`, and a store on PostgreSQL."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from projects import sklearn_churn
from projects.counting import wait_for
from projects.test_reproduce import differs, exact
from projects.test_users import check
from projects.toy import project
from projects.users import CASES, Case, User, begun, each_project, initialised
from support.servers import Server, over_postgresql
from support.warm import Warm
from support.workspace import Run, commit, copied

pytestmark = pytest.mark.usefixtures("warm")


def inside(user: User, case: Case) -> User:
    """Return the folder of the pipeline that is worked on."""
    return User(user.path / case.folder)


@each_project
def test_a_run_is_exact_and_so_is_one_with_uncommitted_changes(case: Case, user: User) -> None:
    first = user.runs()
    name, value, other, _ = case.parameter
    key = f"  {name.rpartition('.')[2]}: "
    user.replace(case.params_file, f"{key}{value}\n", f"{key}{other}\n")
    user.append(case.code, "# a comment\n")
    user.repro(*case.targets)
    run = user.new_run(first)
    assert run.tags["git_dirty"] == "true"
    user.git("checkout", "--", ".")
    for one in (case.own(first), run):
        database = user.runs()
        exact(inside(user, case), one.run_id)
        assert len(user.runs()) == len(database)


def test_the_first_run_in_which_dvclive_writes_into_dvc_yaml(tmp_path: Path) -> None:
    case = CASES["mlp"]
    user = begun("mlp", tmp_path)
    initialised(case, user)
    assert user.repro() == [*case.pipeline.stages, "record"]
    (run,) = user.runs()
    check(case, user, run, ".")
    assert run.tags["git_dirty"] == "true"
    assert "+- dvclive/metrics.json" in (run.artifacts / "changes.patch").read_text()
    exact(user, run.run_id)
    commit(user, "as DVCLive has it")
    assert user.repro() == []


@pytest.mark.parametrize("_user_project", ["mlp"], indirect=True, scope="session")
def test_a_time_that_dvclive_logs_differs_first_in_its_table(user: User) -> None:
    first = user.runs()
    user.replace("src/train.py", "loss.item())", "loss.item(), timestamp=True)")
    user.repro()
    table = "dvclive/plots/metrics/train/loss.tsv"
    differs(user, f"stage train: {table}: row 1, column timestamp was ", user.new_run(first))


@pytest.mark.parametrize("_user_project", ["monorepo"], indirect=True, scope="session")
def test_a_clock_in_a_script_of_the_shell_differs_first_in_its_stage(user: User) -> None:
    first = user.runs()
    user.append("words/count.sh", 'if [ "$2" = exact ]; then date +%s%N; fi\n')
    user.repro("words/dvc.yaml")
    words = User(user.path / "words")
    done = words.samerun("reproduce", user.new_run(first).run_id, ok=False)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "\ndiffers: stage count@harbour-exact: counts/harbour-exact.tsv: " in done.stdout


HOME = """
import os
import sys

HOME = os.environ["CHURN_HOME"]
sys.path.insert(0, HOME)
"""
"""Folders in which a careless user has files that DVC does not track."""

CARELESS = {
    "code/common.py": HOME + sklearn_churn.COMMON.replace('"params.yaml"', 'f"{HOME}/params.yaml"'),
    "code/split.py": sklearn_churn.SPLIT.replace(
        'open("data/customers.csv"', 'open(f"{HOME}/customers.csv"'
    ).replace("import params", "import HOME, params"),
    "code/train.py": sklearn_churn.TRAIN.replace(
        'params("train")["C"]', 'strength(params("train"))'
    ).replace("import params, read", "import params, read\nfrom rules import strength"),
}

ELSEWHERE = {
    "customers.csv": sklearn_churn.TRACKED["data/customers.csv"],
    "params.yaml": sklearn_churn.PARAMS,
    "rules.py": 'def strength(params):\n    return params["C"]\n',
}


@pytest.fixture(scope="session")
def careless(_warm: Warm | None, tmp_path_factory: pytest.TempPathFactory) -> User:
    folder = tmp_path_factory.mktemp("careless")
    (folder / "home").mkdir()
    for name, text in ELSEWHERE.items():
        (folder / "home" / name).write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        if _warm:
            patch.setenv("TESTS_WARM", str(_warm.bin / "python"))
        patch.setenv("CHURN_HOME", str(folder / "home"))
        files = sklearn_churn.FILES | sklearn_churn.TRACKED | CARELESS
        user = User(project(folder / "sklearn", files).path)
        initialised(CASES["sklearn"], user)
        assert user.repro() == [*CASES["sklearn"].pipeline.stages, "record"]
    return user


@pytest.mark.parametrize(
    ("file", "old", "new", "first"),
    [
        ("customers.csv", "\n61,31,32,", "\n61,31,33,", "stage split: data/parts/"),
        ("params.yaml", "seed: 7", "seed: 8", "stage split: data/parts/"),
        ("rules.py", 'params["C"]', 'params["C"] / 2', "stage train: model.json: coefficients"),
        ("params.yaml", "threshold: 0.5", "threshold: 0.25", "stage evaluate: metrics.json: "),
    ],
    ids=["data", "seed", "code", "parameter"],
)
def test_what_changed_where_dvc_does_not_look_is_found(
    careless: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    file: str, old: str, new: str, first: str,
) -> None:  # fmt: skip
    user = copied(careless, tmp_path / "sklearn")
    home = tmp_path / "home"
    home.mkdir()
    for name, text in ELSEWHERE.items():
        (home / name).write_text(text)
    monkeypatch.setenv("CHURN_HOME", str(home))
    text = (home / file).read_text()
    assert text.count(old) == 1
    (home / file).write_text(text.replace(old, new))
    differs(user, first, user.runs()[0])


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with over_postgresql(tmp_path_factory.mktemp("server")) as started:
        yield started


@each_project
def test_a_server_over_postgresql_takes_the_run(case: Case, user: User, server: Server) -> None:
    local = case.own(user.runs())
    (user.path / case.marker).unlink()
    assert user.repro(*case.targets[:1], MLFLOW_TRACKING_URI=server.uri) == [case.record]
    (run,) = (one for one in server.runs() if one.tags["fingerprint"] == local.tags["fingerprint"])
    assert run.status == "FINISHED"
    assert (run.params, run.last, run.steps) == (local.params, local.last, local.steps)
    exact(inside(user, case), run.run_id, MLFLOW_TRACKING_URI=server.uri)


@each_project
def test_wrapped_stages_leave_receipts_and_each_execution_is_a_run(case: Case, user: User) -> None:
    first = user.runs()
    initialised(case, user, "--wrap")
    assert user.repro(*case.targets[:1]) == [*case.pipeline.stages, case.record]
    run = user.new_run(first)
    assert not {"executed", "backfilled"} & run.tags.keys()
    took = user.rows("select end_time - start_time from runs where run_uuid = ?", run.run_id)
    assert took[0][0] > 0
    assert run.tags["git_dirty"] == "false"
    both = user.runs()
    assert user.repro("--force", *case.targets[:1]) == [*case.pipeline.stages, case.record]
    again = user.new_run(both)
    assert again.tags["fingerprint"] == run.tags["fingerprint"]
    assert "executed" not in again.tags


@pytest.mark.parametrize("_user_project", ["mlp"], indirect=True, scope="session")
def test_what_dvclive_writes_is_seen_while_it_trains(user: User, tmp_path: Path) -> None:
    first, halt = user.runs(), tmp_path / "halt"
    halt.touch()
    pause = f"while epoch == 1 and os.path.exists('{halt}'):\n            pass"
    user.replace("src/train.py", "live.next_step()", f"live.next_step()\n        {pause}")
    user.replace("src/train.py", "import dvc.api", "import os\n\nimport dvc.api")
    commit(user, "halts")
    initialised(CASES["mlp"], user, "--wrap")
    command = subprocess.Popen(
        ["dvc", "repro", "--quiet"], cwd=user.path, env=user.env(SAMERUN_LIVE_AFTER="0")
    )

    def shown() -> Run | None:
        assert command.poll() is None
        running = [run for run in user.runs() if run.status == "RUNNING"]
        return next((run for run in running if len(run.steps.get("train.loss", [])) == 2), None)

    try:
        live = wait_for(shown, "two steps of a run under way")
    finally:
        halt.unlink()
    assert command.wait(120) == 0
    run = user.new_run(first)
    assert run.run_id == live.run_id
    assert set(live.steps) == {"train.loss", "train.accuracy"} <= set(run.steps)
    check(CASES["mlp"], user, run, ".")
