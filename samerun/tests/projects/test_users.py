"""Three projects as their users have them, from `samerun init` on: what is recorded, and when.

Without `samerun run` there are no receipts, so one fingerprint with the same results is one run.
"""

import json
from pathlib import Path

import pytest
import yaml

from projects.users import CASES, Case, User, history, initialised, loaded, numbers, table
from projects.users import written as written_by_user
from support.warm import Warm
from support.workspace import Run, commit, copied

pytestmark = pytest.mark.usefixtures("warm")


@pytest.fixture(scope="session")
def _built(
    _warm: Warm | None, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> tuple[str, User]:
    """A project that `samerun init` was called in, and that was recorded and committed then."""
    name = request.param
    with pytest.MonkeyPatch.context() as patch:
        if _warm:
            patch.setenv("TESTS_WARM", str(_warm.bin / "python"))
        user = written_by_user(name, tmp_path_factory.mktemp(name))
        initialised(name, user)
        recorders = [Case.recorder(folder) for folder in CASES[name].pipelines]
        assert user.repro(*CASES[name].targets) == recorders
        commit(user, "recorded")
    return name, user


@pytest.fixture
def case(_built: tuple[str, User]) -> Case:
    return CASES[_built[0]]


@pytest.fixture
def user(_built: tuple[str, User], tmp_path: Path) -> User:
    return copied(_built[1], tmp_path / _built[0])


each_project = pytest.mark.parametrize("_built", CASES, indirect=True, scope="session")


def check(case: Case, user: User, run: Run, folder: str) -> None:
    """Compare all that a run shows with the files of its pipeline."""
    pipeline = case.pipelines[folder]
    assert run.status == "FINISHED"
    assert user.experiments()[run.run_id] == pipeline.experiment
    params = [loaded(user.path / file) for file in pipeline.params]
    assert run.params == {
        name: value if isinstance(value, str) else json.dumps(value)
        for values in params
        for name, value in values.items()
    }
    expected = [numbers(user.path / file) for file in pipeline.metrics]
    assert run.last == {name: value for values in expected for name, value in values.items()}
    rows = user.rows("select key, step, value from metrics where run_uuid = ? order by step",
                     run.run_id)  # fmt: skip
    assert history(run, rows) == {
        name: table(user.path / file) for name, file in pipeline.steps.items()
    }
    kept = [*pipeline.params, *pipeline.metrics, *pipeline.steps.values(), *pipeline.kept]
    for file in [*(Path(name).relative_to(folder) for name in kept), Path("dvc.yaml")]:
        assert (run.artifacts / file).read_bytes() == (user.path / folder / file).read_bytes()
    datasets = user.rows(
        "select d.name, d.digest from datasets d join inputs i on i.source_id = d.dataset_uuid"
        " where i.destination_id = ?",
        run.run_id,
    )
    pointers = {name: (user.path / file).read_text() for name, file in pipeline.data.items()}
    assert dict(datasets) == {
        name: yaml.safe_load(text)["outs"][0]["md5"] for name, text in pointers.items()
    }


@each_project
def test_init_adds_few_lines_and_the_next_repro_is_one_complete_run(case: Case, user: User) -> None:
    changed = [line.split("\t") for line in
               user.git("diff", "--numstat", "HEAD~2", "HEAD~1").splitlines()]  # fmt: skip
    assert {name for _, _, name in changed} <= {
        *(Path(folder, "dvc.yaml").as_posix() for folder in case.pipelines),
        *(Path(folder, "mlruns/.gitignore").as_posix() for folder in (".", *case.pipelines)),
        ".dvcignore",
    }
    for added, removed, name in changed:
        assert int(removed) == 0
        assert int(added) <= 14, name
    for folder in case.pipelines:
        shown = user.run("sh", "-c", 'cd "$0" && samerun init', folder).stdout
        assert "nothing to do" in shown
    assert user.git("status", "--short") == ""

    runs = {user.experiments()[run.run_id]: run for run in user.runs()}
    assert len(runs) == len(user.runs()) == len(case.pipelines)
    for folder, pipeline in case.pipelines.items():
        run = runs[pipeline.experiment]
        check(case, user, run, folder)
        assert run.tags["executed"] == "unseen"
        assert run.tags["git_dirty"] == "false"
        assert run.tags["git_commit"] == user.git("rev-parse", "HEAD~1").strip()
        assert run.tags["fingerprint"] == user.marker(f"{folder}/mlruns/recorded.json")


@each_project
def test_which_executions_become_runs(case: Case, user: User) -> None:
    """Without `samerun run`, a fingerprint that has other results would be another run."""
    name, value, other, _ = case.parameter
    key = f"  {name.rpartition('.')[2]}: "
    first = user.runs()
    marker = user.marker(case.marker)

    def set_to(old: str, new: str) -> None:
        user.replace(case.params_file, f"{key}{old}\n", f"{key}{new}\n")

    assert user.repro(*case.targets) == []
    assert user.git("status", "--short") == ""

    set_to(value, other)
    assert user.repro(*case.targets) == [*case.after_parameter, case.record]
    changed = user.new_run(first)
    check(case, user, changed, case.folder)
    assert changed.params[name] == other
    assert changed.tags["git_dirty"] == "true"
    assert f"+{key}{other}" in (changed.artifacts / "changes.patch").read_text()
    assert user.marker(case.marker) == changed.tags["fingerprint"] != marker

    late, at_first, then = case.late
    late_key = f"  {late.rpartition('.')[2]}: "
    set_to(other, value)
    user.replace(case.params_file, f"{late_key}{at_first}\n", f"{late_key}{then}\n")
    both = user.runs()  # what comes before the last stage is restored, and recorded all the same
    assert user.repro(*case.targets) == [*case.after_late, case.record]
    cached = user.new_run(both)
    check(case, user, cached, case.folder)
    assert (cached.params[name], cached.params[late]) == (value, then)

    user.git("checkout", "--", case.params_file)
    three = user.runs()
    assert user.repro(*case.targets) == [case.record]  # all comes from the run cache
    assert user.runs() == three
    assert user.marker(case.marker) == marker
    assert user.git("status", "--short") == ""

    user.append(case.code, "# a comment\n")
    assert user.repro(*case.targets) == [*case.after_code, case.record]
    commented = user.new_run(three)
    check(case, user, commented, case.folder)
    before = next(run for run in first if run.tags["fingerprint"] == marker)
    assert commented.tags["fingerprint"] != marker
    assert commented.tags["results"] == before.tags["results"]
    assert "+# a comment" in (commented.artifacts / "changes.patch").read_text()
