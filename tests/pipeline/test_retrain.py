"""A scheduled retraining from end to end: what it promotes, keeps, refuses and puts back."""

import json
import re
import sqlite3
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pandas
import pytest
from filelock import FileLock

from support.servers import Proxy, free_port, over_sqlite
from support.workspace import commit
from tests.conftest import Workspace
from tests.pipeline.retraining import (
    BAD_SENSOR,
    DAY,
    DRIFT,
    aliases,
    change_params,
    expect,
    retrain,
    versions,
)
from tests.pipeline.test_inputs import use

pytestmark = pytest.mark.usefixtures("warm")


def test_the_first_retraining_promotes_and_leaves_the_users_branch(
    built: Workspace, promoted: Workspace
) -> None:
    assert promoted.git("rev-parse", "HEAD") == built.git("rev-parse", "HEAD")
    assert promoted.git("status", "--porcelain") == " M dvc.lock\n M params.yaml\n"
    before, after = (
        (each.path / "params.yaml").read_text().splitlines() for each in (built, promoted)
    )
    changed = [(a, b) for a, b in zip(before, after, strict=True) if a != b]
    assert changed == [("  seed: 20200910", "  seed: 20261101")]
    assert aliases(promoted) == {"champion": 1, "challenger": 1}
    first, run = versions(promoted)[1], promoted.runs()[-1]
    assert (run.run_id, run.tags["git_dirty"]) == (first["run"], "false")
    assert first["git_commit"] == promoted.git("rev-parse", f"retrain/{DAY}~1").strip()
    assert (
        promoted.git("show", f"retrain/{DAY}:dvc.lock") == (promoted.path / "dvc.lock").read_text()
    )

    expect(retrain(promoted), 0, "nothing new", "as version 1 (promoted)")
    assert list(versions(promoted)) == [1]
    assert len(promoted.runs()) == 2


def test_a_tie_keeps_the_champion_and_is_reported(promoted: Workspace, tmp_path: Path) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    done = retrain(promoted, "2026-11-02", GITHUB_STEP_SUMMARY=str(summary))
    expect(done, 0, "kept: version 1 stays, version 2 was tried", "a tie keeps the champion")
    assert aliases(promoted) == {"champion": 1, "challenger": 2}
    second = versions(promoted)[2]
    assert (second["drift"], second["gate"], second["verdict"]) == ("none", "passed", "kept")
    report = (promoted.path / "reports/retrain.md").read_text()
    assert report.startswith("# Retraining of 2026-11-02: version 1 stays, version 2 was tried")
    assert len(report) <= 5000
    for heading in ("## The fit", "## Champion and challenger", "## What changed", "## The model"):
        assert heading in report
    assert "parameter generate.seed changed from 20261101 to 20261102" in report
    card = second["description"]  # shown in MLflow and on GitHub, where plots/ is not
    assert summary.read_text() == f"before\n{card}"
    assert set(report.splitlines()) - set(card.splitlines()) == {
        "![The fit](plots/fit.png)",
        "![Loss by epoch](plots/loss.png)",
    }
    newest = promoted.runs()[-1]
    assert (newest.artifacts / "reports/retrain.md").read_text() == report
    assert float(newest.tags["drift_p"]) > 0.001


def test_days_pass_champions_follow_and_one_is_rolled_back(promoted: Workspace) -> None:
    day = "2026-11-02"
    change_params(promoted, *DRIFT)
    expect(retrain(promoted, day), 0, "promoted: version 2", "the line drifted")
    assert aliases(promoted) == {"champion": 2, "challenger": 2, "previous": 1}
    second = versions(promoted)[2]
    assert float(promoted.runs()[-1].tags["drift_p"]) < 1e-20
    data = json.loads(second["registration"])["data_sha256"]
    shown = promoted.knownline("champion").stdout
    for word in ("version 2", day, "drifted", second["git_commit"], data):
        assert word in shown
    assert promoted.samerun("reproduce", "champion").returncode == 0

    done = promoted.knownline("rollback", "--reason", "too steep for Bob")
    assert "version 1 is the champion again, in place of version 2" in done.stdout
    assert aliases(promoted) == {"champion": 1, "challenger": 2}
    first, second = versions(promoted).values()
    assert (first["restored"], second["rolled_back"]) == ("too steep for Bob",) * 2
    top, *_, heading = second["description"].splitlines()[:3]
    assert re.fullmatch(r"\*\*Rolled back to version 1 on [\d-]{10}: too steep for Bob\*\*", top)
    assert heading.startswith(f"# Retraining of {day}")
    assert "rolled back from version 2: too steep" in promoted.knownline("champion").stdout
    done = promoted.knownline("rollback", "--reason", "more", ok=False)
    expect(done, 2, "is the first champion of knownline")

    expect(retrain(promoted, day), 0, "nothing new")
    with sqlite3.connect(promoted.path / "mlruns/mlflow.db") as store:  # as a kill leaves it
        store.execute("delete from model_version_tags where key = 'settled' and version = 2")
    expect(retrain(promoted, day), 3, "it was the champion and was rolled back: too steep for Bob")
    assert aliases(promoted)["champion"] == 1


def test_a_champion_that_must_be_beaten_outlasts_its_days(promoted: Workspace) -> None:
    change_params(promoted, "beats_champion: false", "beats_champion: true")
    why = (
        "the champion is stale: 8 days",
        "but evaluate.beats_champion requires a better challenger",
    )
    expect(retrain(promoted, "2026-11-09"), 0, "kept: version 1 stays", *why)
    assert aliases(promoted) == {"champion": 1, "challenger": 2}
    assert versions(promoted)[2]["gate"] == "passed"


def test_how_a_retraining_decides_runs_nothing_again(workspace: Workspace) -> None:
    before = (workspace.path / "dvc.lock").read_text()
    workspace.replace("params.yaml", "stale_after_days: 7", "stale_after_days: 8")
    assert "Running stage" not in workspace.dvc("repro").stdout
    assert (workspace.path / "dvc.lock").read_text() == before


def test_a_refused_challenger_leaves_the_champion(promoted: Workspace) -> None:
    change_params(promoted, *BAD_SENSOR)
    expect(retrain(promoted, "2026-11-02"), 3, "refused: ", "the gate failed: b = ")
    assert aliases(promoted)["champion"] == 1
    expect(retrain(promoted, "2026-11-02"), 0, "nothing new", "(refused)")
    first, second = versions(promoted).values()
    assert (first["gate"], second["gate"], second["verdict"]) == ("passed", "failed", "refused")


def edit(file: str, old: str, new: str) -> Callable[[Workspace], None]:
    return lambda workspace: workspace.replace(file, old, new)


def add_module(workspace: Workspace) -> None:
    (workspace.path / "src/knownline/train/extra.py").write_text("# Not committed.\n")


SERVE = "src/knownline/serve.py"


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("params.yaml", edit("params.yaml", "z: 4.0", "z: 400.0")),
        pytest.param(SERVE, edit(SERVE, "y.ndim else", "y.ndim  else"), marks=pytest.mark.slow),
        pytest.param(
            "dvc.yaml", edit("dvc.yaml", "fit the model", "fit a model"), marks=pytest.mark.slow
        ),
        pytest.param("src/knownline/train/extra.py", add_module, marks=pytest.mark.slow),
    ],
)
def test_a_tree_that_is_not_clean_is_refused(
    workspace: Workspace, file: str, change: Callable[[Workspace], None]
) -> None:
    change(workspace)
    expect(retrain(workspace), 3, f"nothing will be promoted: {file}", "uncommitted changes")
    assert "champion" not in aliases(workspace)
    committed = workspace.git("diff", "--name-only", "HEAD", f"retrain/{DAY}").split()
    assert file not in committed


@pytest.mark.slow
@pytest.mark.parametrize("refused_before", [False, True])
def test_what_was_run_before_it_was_committed_is_run_again_from_a_clean_tree(
    workspace: Workspace, refused_before: bool
) -> None:
    use(workspace, "data/own/forbes.csv", "boiling_point_f", "pressure_inhg")
    if refused_before:
        expect(retrain(workspace), 3, "uncommitted changes")
    else:
        workspace.dvc("repro")
    assert workspace.runs()[-1].tags["git_dirty"] == "true"
    commit(workspace, "that table it is")
    expect(retrain(workspace), 0, "promoted: version ")
    assert workspace.runs()[-1].tags["git_dirty"] == "false"


@pytest.mark.slow
def test_a_table_is_taken_as_it_is_now_and_a_bad_row_changes_nothing(workspace: Workspace) -> None:
    table = workspace.path / "data/own/mine.csv"

    def write(rows: int, last: str = "") -> None:
        table.write_text(
            "a,b\n" + "".join(f"{i},{3 * i + i * 7 % 5}\n" for i in range(rows)) + last
        )

    use(workspace, "data/own/mine.csv", "a", "b")
    workspace.replace("params.yaml", "holdout: 0\n", "holdout: 0.3\n")
    write(30)
    commit(workspace, "my own table")
    write(40)
    expect(retrain(workspace), 0, "data/own/mine.csv as it is now", "promoted")
    assert workspace.runs()[-1].tags["git_dirty"] == "false"
    assert "mine.csv" in workspace.git("show", "--stat", f"retrain/{DAY}~1")
    expect(retrain(workspace, "2026-11-02"), 0, "nothing new", f"retrained on {DAY}")
    before = aliases(workspace), versions(workspace)
    write(40, "41,lots\n")
    expect(retrain(workspace, "2026-11-03"), 2, "mine.csv", "row 41")
    assert (aliases(workspace), versions(workspace)) == before
    trained_on = rows_of(workspace, "train")
    write(60)
    grown = retrain(workspace, "2026-11-04")
    expect(grown, 0, "kept")
    assert "may have been trained on" not in grown.stdout
    assert not trained_on & rows_of(workspace, "holdout")
    expect(retrain(workspace, "2026-11-04", "--force"), 0, "version 3 was tried")
    table.write_text(table.read_text().replace("a,b\n0,0\n1,5\n2,10\n", "a,b\n"))
    expect(retrain(workspace, "2026-11-05"), 0, "version 1 may have been trained on")
    assert trained_on & rows_of(workspace, "holdout")


def rows_of(workspace: Workspace, folder: str) -> set[tuple[float, ...]]:
    """Return the rows of data/train or data/holdout."""
    return set(pandas.read_parquet(workspace.path / "data" / folder).itertuples(index=False))


def test_a_table_that_neither_git_nor_dvc_keeps_and_a_seed_for_one_are_refused(
    workspace: Workspace,
) -> None:
    use(workspace, "data/own/mine.csv", "a", "b")
    (workspace.path / "data/own/mine.csv").write_text("a,b\n1,2\n2,3\n3,5\n4,6\n")
    expect(retrain(workspace, DAY, "--seed", "7"), 2, "--seed must not be given")
    with (workspace.path / ".gitignore").open("a") as ignored:
        ignored.write("*.csv\n")
    expect(retrain(workspace), 2, "which is tracked by neither", "dvc add data/own/mine.csv")


def change_line(file: Path) -> None:
    file.write_bytes(file.read_bytes().replace(b"0x1.4", b"0x1.5", 1))


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (change_line, "does not predict what it did"),
        pytest.param(Path.unlink, "cannot predict", marks=pytest.mark.slow),
    ],
)
def test_a_damaged_champion_is_replaced_and_cannot_come_back(
    promoted: Workspace, damage: Callable[[Path], None], why: str
) -> None:
    run = versions(promoted)[1]["run"]
    (line,) = [
        path
        for path in promoted.path.glob(
            "mlruns/artifacts/models/*/artifacts/artifacts/models/model.json"
        )
        if run in (path.parents[2] / "MLmodel").read_text()
    ]
    damage(line)
    expect(retrain(promoted, "2026-11-02"), 0, "version 1, cannot serve", why, "promoted")
    assert aliases(promoted)["champion"] == 2
    done = promoted.knownline("rollback", "--reason", "nostalgia", ok=False)
    expect(done, 2, "cannot be restored")
    assert aliases(promoted)["champion"] == 2


@pytest.mark.slow
def test_a_champion_whose_run_has_lost_a_file_still_has_successors(promoted: Workspace) -> None:
    (promoted.runs()[-1].artifacts / "identity.json").unlink()
    expect(retrain(promoted, "2026-11-02"), 0, "kept: version 1 stays")
    assert "- unknown: " in (promoted.path / "reports/retrain.md").read_text()


def test_without_a_champion_nothing_is_shown_or_rolled_back(workspace: Workspace) -> None:
    expect(workspace.knownline("champion", ok=False), 2, "has no champion in")
    expect(workspace.knownline("rollback", "--reason", "x", ok=False), 2, "has no champion yet")
    expect(workspace.knownline("rollback", "--reason", " ", ok=False), 2, "must not be empty")
    expect(workspace.knownline("rollback", ok=False), 2, "--reason")


@pytest.mark.cold  # a zone is read when a process starts
@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Etc/GMT+12"])
def test_a_branch_that_is_checked_out_is_not_moved_and_the_day_is_utcs(
    workspace: Workspace, zone: str
) -> None:
    before = (workspace.path / "params.yaml").read_bytes()
    day = datetime.now(UTC).date()
    workspace.git("switch", "--quiet", "--create", f"retrain/{day}")
    done = workspace.knownline("retrain", ok=False, TZ=zone)
    if datetime.now(UTC).date() != day:
        pytest.skip("midnight passed")
    expect(done, 2, f"branch retrain/{day} is checked out", "git switch main")
    assert (workspace.path / "params.yaml").read_bytes() == before


def test_whatever_stops_it_early_changes_no_file(workspace: Workspace) -> None:
    """A wrong argument, a registry out of reach, another retraining, a seed that YAML shares."""
    before = workspace.outputs(), (workspace.path / "params.yaml").read_bytes()
    for arguments, rule in (
        (["--seed", "-1"], "--seed: "),
        (["--seed", "x"], "--seed: "),
        (["--date", "yesterday"], "must be YYYY-MM-DD (got yesterday)"),
    ):
        expect(workspace.knownline("retrain", *arguments, ok=False), 2, rule)
    uri = f"http://127.0.0.1:{free_port()}"
    expect(retrain(workspace, MLFLOW_TRACKING_URI=uri), 2, "must answer")
    with FileLock(workspace.path / ".dvc/tmp/samerun/exclusive.lock"):
        expect(retrain(workspace), 2, "another command that pulls, pushes or changes the champion")
    assert (workspace.outputs(), (workspace.path / "params.yaml").read_bytes()) == before
    assert workspace.git("branch", "--list", "retrain/*") == ""

    workspace.replace("params.yaml", "  seed: 20200910", "  seed: &seed 20200910")
    workspace.replace("params.yaml", "\n  seed: 0\n", "\n  seed: *seed\n")
    anchored = (workspace.path / "params.yaml").read_bytes()
    expect(retrain(workspace), 2, "generate.seed must be a plain number")
    assert (workspace.path / "params.yaml").read_bytes() == anchored


LOAD = """
import sys
from knownline.params import Params
from knownline.retrain.problem import Problem
from knownline.retrain.registry import Registry
from knownline.retrain.served import Model
from samerun import config
from samerun.mlflow.tracking import Store
version = Registry(Store(config.here()), Problem.of(Params.read())).by_alias("champion")
print("ready", flush=True)
sys.stdin.readline()
Model(version)
"""


@pytest.mark.slow
def test_a_server_takes_over_and_its_champion_out_of_reach_is_not_taken_for_damaged(
    promoted: Workspace,
) -> None:
    with over_sqlite(promoted.path.parent) as server, Proxy(server) as proxy:
        uri = proxy.uri
        expect(retrain(promoted, MLFLOW_TRACKING_URI=uri), 0, "promoted: version 1")
        assert "version 1" in promoted.knownline("champion", MLFLOW_TRACKING_URI=uri).stdout
        assert uri in (promoted.path / "reports/retrain.md").read_text()
        for how in ("500", "cut"):
            process = subprocess.Popen(
                ["python", "-c", LOAD],
                cwd=promoted.path,
                env=promoted.env(MLFLOW_TRACKING_URI=uri, PYTHONPATH=str(promoted.path / "src")),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
            proxy.turn(how)
            errors = process.communicate("\n")[1]
            proxy.turn("")
            assert "StoreError" in errors.splitlines()[-1], errors
            assert "within reach" in errors


@pytest.mark.slow
@pytest.mark.cold
def test_two_at_once_make_one_retraining(workspace: Workspace) -> None:
    command = ["python", "src/knownline", "retrain", "--date", DAY]
    both = [
        subprocess.Popen(command, cwd=workspace.path, env=workspace.env(), stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    errors = [process.communicate()[1] for process in both]
    codes = sorted(process.returncode for process in both)
    assert codes in ([0, 2], [0, 0]), errors
    assert aliases(workspace) == {"champion": 1, "challenger": 1}
    assert list(versions(workspace)) == [1]
    assert len(workspace.runs()) == 2


WRITTEN = ("registered_model_aliases", "model_versions", "model_version_tags")


def let_writes_fail_after(workspace: Workspace, writes: int) -> None:
    """Let the registry's tables take so many rows more, and then none."""
    with sqlite3.connect(workspace.path / "mlruns/mlflow.db") as store:
        store.execute("create table if not exists writes (remaining integer)")
        store.execute("delete from writes")
        store.execute("insert into writes values (?)", [writes])
        for table in WRITTEN:
            for action in ("insert", "update", "delete"):
                store.execute(
                    f"create trigger if not exists {action}_{table} before {action} on {table}"
                    " begin select raise(abort, 'the disk is full') from writes"
                    " where remaining <= 0; update writes set remaining = remaining - 1; end"
                )


def repeated_until_done(workspace: Workspace, *command: str) -> int:
    """Repeat a command whose store fails a little later each time; return the failures."""
    for attempt in range(40):
        let_writes_fail_after(workspace, attempt * 2)
        done = workspace.knownline(*command, ok=False)
        assert set(aliases(workspace).values()) <= {1, 2}
        if done.returncode == 0:
            return attempt
        expect(done, 2)
    raise AssertionError("it never ended")


@pytest.mark.slow
@pytest.mark.long
def test_interrupted_between_any_two_steps_it_ends_right_when_repeated(promoted: Workspace) -> None:
    change_params(promoted, *DRIFT)
    assert repeated_until_done(promoted, "retrain", "--date", "2026-11-02") >= 5
    assert aliases(promoted) == {"champion": 2, "challenger": 2, "previous": 1}
    found = versions(promoted)
    assert list(found) == [1, 2]
    assert (found[2]["verdict"], found[2]["replaces"]) == ("promoted", "1")
    assert "drifted" in found[2]["champion_why"]
    assert len(promoted.runs()) == 3
    assert repeated_until_done(promoted, "rollback", "--reason", "no") >= 2
    assert aliases(promoted) == {"champion": 1, "challenger": 2}
