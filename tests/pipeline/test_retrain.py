"""A scheduled retraining from end to end, and its bad days, with real git, DVC and MLflow."""

import json
import re
import shutil
import signal
import sqlite3
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from filelock import FileLock

from knownline.retrain import command as door_of_retrain
from tests.conftest import Workspace, commit
from tests.pipeline.servers import Proxy, free_port, over_sqlite, serving
from tests.pipeline.test_inputs import use

pytestmark = pytest.mark.usefixtures("warm")

DAY = "2026-11-01"


def retrain(
    workspace: Workspace, day: str = DAY, *more: str, **env: str
) -> subprocess.CompletedProcess[str]:
    return workspace.knownline("retrain", "--date", day, *more, ok=False, **env)


def expect(done: subprocess.CompletedProcess[str], status: int, *words: str) -> None:
    assert done.returncode == status, done.stdout + done.stderr
    for word in words:
        assert word in done.stdout + done.stderr, done.stdout + done.stderr
    if status == 2:
        told = [line for line in done.stderr.splitlines() if line.startswith("knownline: error")]
        assert len(told) == 1, done.stderr
        assert "Traceback" not in done.stderr


def aliases(workspace: Workspace) -> dict[str, int]:
    """Return version by alias, read from the store's own tables."""
    with sqlite3.connect(workspace.path / "mlruns/mlflow.db") as store:
        return dict(store.execute("select alias, version from registered_model_aliases"))


def versions(workspace: Workspace) -> dict[int, dict[str, str]]:
    """Return each version's tags, with its description and run."""
    with sqlite3.connect(workspace.path / "mlruns/mlflow.db") as store:
        found = {
            row[0]: {"description": row[1], "run": row[2]}
            for row in store.execute("select version, description, run_id from model_versions")
        }
        for version, key, value in store.execute(
            "select version, key, value from model_version_tags"
        ):
            found[version][key] = value
        return found


@pytest.fixture
def pushing(workspace: Workspace, tmp_path: Path) -> Workspace:
    """A workspace with a bare git remote and a DVC remote folder."""
    workspace.git(
        "init", "--quiet", "--bare", "--initial-branch=main", str(tmp_path / "origin.git")
    )
    workspace.git("remote", "add", "origin", str(tmp_path / "origin.git"))
    workspace.dvc("remote", "add", "--default", "store", str(tmp_path / "remote"))
    commit(workspace, "remotes")
    workspace.git("push", "--quiet", "origin", "main")
    return workspace


@pytest.mark.long
@pytest.mark.cold
def test_days_pass_champions_follow_and_one_is_rolled_back(
    workspace: Workspace, tmp_path: Path
) -> None:
    head = workspace.git("rev-parse", "HEAD")
    comments = [
        line
        for line in (workspace.path / "params.yaml").read_text().splitlines()
        if "seed: 20200910" not in line
    ]
    expect(retrain(workspace), 0, "promoted: version 1 is the champion", "no champion yet")
    laid = (workspace.path / "params.yaml").read_text().splitlines()
    assert [line for line in laid if line not in comments] == ["  seed: 20261101"]
    assert workspace.git("rev-parse", "HEAD") == head
    assert workspace.git("status", "--porcelain") == " M dvc.lock\n M params.yaml\n"
    assert aliases(workspace) == {"champion": 1, "challenger": 1}
    first = versions(workspace)[1]
    run = workspace.runs()[-1]
    assert (run.run_id, run.tags["git_dirty"]) == (first["run"], "false")
    assert first["git_commit"] == workspace.git("rev-parse", f"retrain/{DAY}~1").strip()
    assert workspace.git("show", f"retrain/{DAY}:dvc.lock") == (
        workspace.path / "dvc.lock"
    ).read_text().strip("\0")

    expect(retrain(workspace), 0, "nothing new", "as version 1 (promoted)")
    assert list(versions(workspace)) == [1]
    assert len(workspace.runs()) == 2

    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    done = retrain(workspace, "2026-11-02", GITHUB_STEP_SUMMARY=str(summary))
    expect(done, 0, "kept: version 1 stays, version 2 was tried", "a tie keeps the champion")
    assert aliases(workspace) == {"champion": 1, "challenger": 2}
    second = versions(workspace)[2]
    assert (second["drift"], second["gate"], second["verdict"]) == ("none", "passed", "kept")
    report = (workspace.path / "reports/retrain.md").read_text()
    assert report.startswith("# Retraining of 2026-11-02: version 1 stays, version 2 was tried")
    assert "![The fit](plots/fit.png)" in report
    card = second["description"]  # read where plots/ is not
    assert summary.read_text() == f"before\n{card}"
    assert "![" not in card
    assert set(report.splitlines()) - set(card.splitlines()) == {
        "![The fit](plots/fit.png)",
        "![Loss by epoch](plots/loss.png)",
    }
    assert len(report) <= 5000
    for heading in ("## The fit", "## Champion and challenger", "## What changed", "## The model"):
        assert heading in report
    assert "parameter generate.seed was 20261101, is 20261102" in report
    newest = workspace.runs()[-1]
    assert (newest.artifacts / "retrain.md").read_text() == report
    assert float(newest.tags["drift_p"]) > 0.001

    workspace.replace("params.yaml", "w: 20.0", "w: 20.2")
    commit(workspace, "the truth has moved")
    expect(retrain(workspace, "2026-11-03"), 0, "promoted: version 3", "the line drifted")
    assert aliases(workspace) == {"champion": 3, "challenger": 3, "previous": 1}
    assert float(versions(workspace)[3]["drift_p"]) < 1e-20

    told = workspace.knownline("champion").stdout
    third = versions(workspace)[3]
    for word in ("version 3", "2026-11-03", "drifted", third["git_commit"], third["data_sha256"]):
        assert word in told
    assert workspace.knownline("reproduce", "champion").returncode == 0

    done = workspace.knownline("rollback", "--reason", "too steep for Bob")
    assert "version 1 is the champion again, version 3 is not" in done.stdout
    assert aliases(workspace) == {"champion": 1, "challenger": 3}
    assert versions(workspace)[3]["rolled_back"] == "too steep for Bob"
    top, *_, heading = versions(workspace)[3]["description"].splitlines()[:3]
    assert re.fullmatch(
        r"\*\*Rolled back on [\d-]{10}, version 1 serves: too steep for Bob\*\*", top
    )
    assert heading.startswith("# Retraining of 2026-11-03")
    assert versions(workspace)[1]["restored"] == "too steep for Bob"
    assert "rolled back from version 3: too steep" in workspace.knownline("champion").stdout
    done = workspace.knownline("rollback", "--reason", "more", ok=False)
    expect(done, 2, "must have replaced another")
    expect(retrain(workspace, "2026-11-03"), 0, "nothing new")
    assert aliases(workspace)["champion"] == 1


def test_a_day_draws_once_unless_it_is_given_seeds(workspace: Workspace) -> None:
    """docs/schedule.md: a seed an hour, all on the day's branch; one's own branch stays."""
    head = workspace.git("rev-parse", "HEAD")
    for hour in ("04", "05"):
        done = retrain(workspace, DAY, "--seed", f"20261101{hour}")
        expect(done, 0)
        assert "nothing new" not in done.stdout
    expect(retrain(workspace, DAY, "--seed", "2026110105"), 0, "nothing new")
    assert len(versions(workspace)) == 2
    laid = workspace.git("log", "--patch", "--format=", f"retrain/{DAY}", "--", "params.yaml")
    assert re.findall(r"^\+  seed: (2026\d+)", laid, flags=re.M)[:2] == ["2026110105", "2026110104"]
    assert workspace.git("rev-parse", "HEAD") == head


def test_the_champion_answers_over_http_with_pickle_forbidden(workspace: Workspace) -> None:
    expect(retrain(workspace, "2026-11-01", "--seed", "7"), 0)
    assert "  seed: 7\n" in (workspace.path / "params.yaml").read_text()
    line = json.loads((workspace.path / "models/line.json").read_text())
    port = free_port()
    command = ["models", "serve", "-m", "models:/knownline@champion", "--env-manager", "local"]
    uri = f"sqlite:///{workspace.path}/mlruns/mlflow.db"
    with serving(workspace.path, command, port, MLFLOW_TRACKING_URI=uri):
        body = {"dataframe_split": {"columns": ["x"], "data": [[2.0], [3.5]]}}
        request = Request(
            f"http://127.0.0.1:{port}/invocations",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        answer = json.load(urlopen(request, timeout=20))
    assert answer["predictions"] == [x * line["w"] + line["b"] for x in (2.0, 3.5)]


def test_how_a_retraining_decides_runs_nothing_again(workspace: Workspace) -> None:
    before = (workspace.path / "dvc.lock").read_text()
    workspace.replace("params.yaml", "stale_after_days: 7", "stale_after_days: 8")
    assert "Running stage" not in workspace.dvc("repro").stdout
    assert (workspace.path / "dvc.lock").read_text() == before


def test_a_refused_challenger_three_days_running_leaves_the_champion(workspace: Workspace) -> None:
    expect(retrain(workspace), 0)
    workspace.replace(
        "params.yaml", "{kind: normal, scale: 1.5}", "{kind: shared-integer, scale: 1000}"
    )
    commit(workspace, "a sensor went wrong")
    for day in ("2026-11-02", "2026-11-03", "2026-11-04"):
        expect(retrain(workspace, day), 3, "refused: ", "the gate refused it: b = ")
        assert aliases(workspace)["champion"] == 1
    expect(retrain(workspace, "2026-11-04"), 0, "nothing new", "(refused)")
    assert [each["gate"] for each in versions(workspace).values()] == ["passed", *["failed"] * 3]
    assert versions(workspace)[4]["verdict"] == "refused"


def test_a_tree_that_is_not_clean_is_refused(workspace: Workspace) -> None:
    workspace.replace("src/knownline/report/pictures.py", "s=size", "s=size + 1")
    expect(retrain(workspace), 3, "the tree was not clean")
    assert "champion" not in aliases(workspace)


def test_a_table_is_taken_as_it_is_now_and_a_poisoned_row_moves_nothing(
    workspace: Workspace,
) -> None:
    table = workspace.path / "data/own/mine.csv"

    def write(rows: int, poison: str = "") -> None:
        lines = [f"{i},{3 * i + i * 7 % 5}" for i in range(rows)]
        table.write_text("a,b\n" + "\n".join([*lines, poison] if poison else lines) + "\n")

    use(workspace, "data/own/mine.csv", "a", "b")
    workspace.replace("params.yaml", "holdout: 0\n", "holdout: 0.3\n")
    commit(workspace, "my own table")
    write(40)
    expect(retrain(workspace), 0, "data/own/mine.csv as it is now", "promoted")
    assert workspace.runs()[-1].tags["git_dirty"] == "false"
    assert "mine.csv" in workspace.git("show", "--stat", f"retrain/{DAY}~1")
    expect(retrain(workspace, "2026-11-02"), 0, "nothing new", f"retrained on {DAY}")
    write(40, poison="41,lots")
    before = aliases(workspace), versions(workspace)
    expect(retrain(workspace, "2026-11-03"), 2, "mine.csv", "row 41")
    assert (aliases(workspace), versions(workspace)) == before
    write(41)
    expect(retrain(workspace, "2026-11-04"), 0, "kept")
    expect(retrain(workspace, "2026-11-04", "--force"), 0, "version 3 was tried")


def edit_silently(file: Path) -> None:
    file.write_bytes(file.read_bytes().replace(b"0x1.4", b"0x1.5", 1))


@pytest.mark.parametrize(
    ("damage", "why"),
    [(edit_silently, "not the line it was registered as"), (Path.unlink, "does not answer")],
)
def test_a_damaged_champion_is_replaced_and_cannot_come_back(
    workspace: Workspace, damage: object, why: str
) -> None:
    expect(retrain(workspace), 0)
    run = versions(workspace)[1]["run"]
    (line,) = [
        path
        for path in workspace.path.glob("mlruns/artifacts/models/*/artifacts/artifacts/line.json")
        if run in (path.parents[1] / "MLmodel").read_text()
    ]
    damage(line)  # type: ignore[operator]
    expect(retrain(workspace, "2026-11-02"), 0, "version 1, cannot serve", why, "promoted")
    assert aliases(workspace)["champion"] == 2
    done = workspace.knownline("rollback", "--reason", "nostalgia", ok=False)
    expect(done, 2, "must be whole")
    assert aliases(workspace)["champion"] == 2


def test_no_champion_is_said_and_nothing_is_rolled_back(workspace: Workspace) -> None:
    expect(workspace.knownline("champion", ok=False), 2, "must have a champion")
    expect(workspace.knownline("rollback", "--reason", "x", ok=False), 2, "must be a champion")
    expect(workspace.knownline("rollback", "--reason", " ", ok=False), 2, "--reason must say why")
    expect(workspace.knownline("rollback", ok=False), 2, "--reason")


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        (["--seed", "-1"], "--seed must be 0 or more"),
        (["--seed", "x"], "--seed"),
        (["--date", "yesterday"], "must be YYYY-MM-DD (got yesterday)"),
    ],
)
def test_what_it_does_not_take(workspace: Workspace, arguments: list[str], rule: str) -> None:
    before = (workspace.path / "params.yaml").read_bytes()
    expect(workspace.knownline("retrain", *arguments, ok=False), 2, rule)
    assert (workspace.path / "params.yaml").read_bytes() == before


def test_an_unreachable_registry_stops_it_before_anything_is_laid(workspace: Workspace) -> None:
    before = workspace.outputs(), (workspace.path / "params.yaml").read_bytes()
    uri = f"http://127.0.0.1:{free_port()}"
    expect(retrain(workspace, MLFLOW_TRACKING_URI=uri), 2, "must answer")
    assert (workspace.outputs(), (workspace.path / "params.yaml").read_bytes()) == before
    assert workspace.git("branch", "--list", "retrain/*") == ""


def test_a_server_takes_over_what_the_embedded_store_recorded(workspace: Workspace) -> None:
    expect(retrain(workspace), 0)
    port = free_port()
    command = ["server", "--backend-store-uri", f"sqlite:///{workspace.path}/elsewhere.db"]
    command += ["--artifacts-destination", str(workspace.path / "elsewhere"), "--workers", "1"]
    (workspace.path / ".git/info/exclude").write_text("/elsewhere*\n/server.log\n")
    with serving(workspace.path, command, port):
        uri = f"http://127.0.0.1:{port}"
        expect(retrain(workspace, MLFLOW_TRACKING_URI=uri), 0, "promoted: version 1")
        done = workspace.knownline("champion", MLFLOW_TRACKING_URI=uri)
        assert "version 1" in done.stdout
    assert uri in (workspace.path / "reports/retrain.md").read_text()


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Etc/GMT+12"])
def test_the_day_is_utcs_whatever_the_clocks_zone(
    zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    before = datetime.now(UTC).date()
    wish = door_of_retrain._parse([])
    assert before <= wish.day <= datetime.now(UTC).date()
    monkeypatch.undo()
    time.tzset()


@pytest.mark.cold
def test_two_at_once_make_one_retraining(workspace: Workspace) -> None:
    with FileLock(workspace.path / "mlruns/.retrain.lock"):
        expect(retrain(workspace), 2, "no other retraining or rollback must be under way")
    command = ["python", "src/knownline", "retrain", "--date", DAY]
    both = [
        subprocess.Popen(command, cwd=workspace.path, env=workspace.env(), stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    told = [process.communicate()[1] for process in both]
    codes = sorted(process.returncode for process in both)
    assert codes in ([0, 2], [0, 0]), told
    assert aliases(workspace) == {"champion": 1, "challenger": 1}
    assert list(versions(workspace)) == [1]
    assert len(workspace.runs()) == 2


def remote_file(pushing: Workspace, name: str) -> Path:
    return pushing.path.parent / name


def test_params_lock_and_data_are_pushed(pushing: Workspace, tmp_path: Path) -> None:
    expect(retrain(pushing, DAY, "--push"), 0, f"retrain/{DAY} is pushed", "promoted")
    clone = tmp_path / "other"
    pushing.git("clone", "--quiet", "--branch", f"retrain/{DAY}", str(tmp_path / "origin.git"),
                str(clone))  # fmt: skip
    other = Workspace(clone)
    assert "seed: 20261101" in (clone / "params.yaml").read_text()
    other.dvc("pull")
    assert "didn't change" in other.dvc("status").stdout or (
        "up to date" in other.dvc("status", "generate", "train", "evaluate").stdout
    )
    assert (clone / "models/line.json").read_bytes() == (
        pushing.path / "models/line.json"
    ).read_bytes()
    tip = pushing.git("rev-parse", f"retrain/{DAY}")
    expect(retrain(pushing, DAY, "--push"), 0, "nothing new")
    assert pushing.git("rev-parse", f"retrain/{DAY}") == tip
    other.git("switch", "--quiet", "main")  # another runner, the same day: the same commits
    expect(retrain(other, DAY, "--push"), 0, "nothing new")
    assert other.git("rev-parse", f"retrain/{DAY}") == tip
    expect(retrain(other, DAY, "--push", "--seed", "5"), 0, "is pushed")  # and a second seed
    assert other.git("merge-base", f"retrain/{DAY}", tip.strip()) == tip


def test_a_push_that_somebody_else_was_quicker_with_leaves_the_champion(
    pushing: Workspace, tmp_path: Path
) -> None:
    expect(retrain(pushing), 0)
    day = "2026-11-02"
    pushing.git("clone", "--quiet", str(tmp_path / "origin.git"), str(tmp_path / "bob"))
    bob = Workspace(tmp_path / "bob")
    bob.git("switch", "--quiet", "--create", f"retrain/{day}")
    commit(bob, "bob was here")
    bob.git("push", "--quiet", "origin", f"retrain/{day}")
    expect(retrain(pushing, day, "--push"), 2, f"origin must take retrain/{day}", "rejected")
    assert aliases(pushing)["champion"] == 1
    assert "verdict" not in versions(pushing)[2]
    bob.git("push", "--quiet", "--delete", "origin", f"retrain/{day}")
    expect(retrain(pushing, day, "--push"), 0, "kept: version 1 stays, version 2")
    assert len(pushing.runs()) == 3


BREAKING = """
import shutil, sys
from pathlib import Path
from knownline import pipeline, retrain
done = pipeline.repro
def repro(*arguments, **more):
    done(*arguments, **more)
    remote = Path(sys.argv[1])
    if remote.exists():
        shutil.move(remote, f"{remote}.away")
    remote.write_text("unplugged")
pipeline.repro = repro
from knownline.__main__ import main
sys.exit(main(["retrain", *sys.argv[2:]]))
"""


@pytest.mark.parametrize("kind", ["remote", "origin.git"])
def test_a_remote_that_is_away_before_or_after_training_moves_nothing(
    pushing: Workspace, kind: str
) -> None:
    expect(retrain(pushing, DAY, "--push"), 0)
    remote = remote_file(pushing, kind)
    command = ["python", "-c", BREAKING, str(remote), "--push", "--date", "2026-11-02"]
    done = pushing.run(*command, ok=False, PYTHONPATH=str(pushing.path / "src"))
    expect(done, 2, "Running stage 'train'", "must")
    assert aliases(pushing)["champion"] == 1
    before = (pushing.path / "params.yaml").read_bytes()
    cache = pushing.path / ".dvc/cache"
    shutil.move(cache, f"{cache}.away")  # DVC asks its remote only for what is not here
    expect(retrain(pushing, "2026-11-03", "--push"), 2, "must")
    shutil.rmtree(cache, ignore_errors=True)
    shutil.move(f"{cache}.away", cache)
    assert (pushing.path / "params.yaml").read_bytes() == before
    remote.unlink()
    shutil.move(f"{remote}.away", remote)
    done = retrain(pushing, "2026-11-02", "--push")
    expect(done, 0, "kept: version 1 stays, version 2 was tried")
    assert "Running stage 'train'" not in done.stdout


KILLING = """
import os, signal, sys
from knownline import registry
left = int(sys.argv[1])
def killing(name):
    call = getattr(registry.Registry, name)
    def counted(self, *arguments):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(self, *arguments)
    setattr(registry.Registry, name, counted)
for name in ("register", "tag", "tag_run", "describe", "point", "attach"):
    killing(name)
from knownline.__main__ import main
sys.exit(main(sys.argv[2:]))
"""


def killed_until_done(workspace: Workspace, *command: str) -> int:
    """Repeat a command that is killed one call later each time; return how many kills it took."""
    for calls in range(40):
        done = workspace.run(
            "python", "-c", KILLING, str(calls), *command,
            ok=False, PYTHONPATH=str(workspace.path / "src"),
        )  # fmt: skip
        if done.returncode != -signal.SIGKILL:
            assert done.returncode == 0, done.stdout + done.stderr
            return calls
        assert set(aliases(workspace).values()) <= {1, 2}
    raise AssertionError("it never ended")


@pytest.mark.long
def test_killed_between_any_two_steps_it_ends_right_when_repeated(workspace: Workspace) -> None:
    expect(retrain(workspace), 0)
    workspace.replace("params.yaml", "w: 20.0", "w: 20.2")
    commit(workspace, "the truth has moved")
    assert killed_until_done(workspace, "retrain", "--date", "2026-11-02") >= 5
    assert aliases(workspace) == {"champion": 2, "challenger": 2, "previous": 1}
    found = versions(workspace)
    assert list(found) == [1, 2]
    assert found[2]["verdict"] == "promoted"
    assert found[2]["replaces"] == "1"
    assert "drifted" in found[2]["reason"]
    assert len(workspace.runs()) == 3
    assert killed_until_done(workspace, "rollback", "--reason", "no") >= 3
    assert aliases(workspace) == {"champion": 1, "challenger": 2}


def test_a_champion_out_of_reach_is_not_taken_for_damaged(workspace: Workspace) -> None:
    expect(retrain(workspace), 0)
    with (
        over_sqlite(workspace.path.parent) as server,
        Proxy(server) as proxy,
    ):
        uri = proxy.uri
        expect(retrain(workspace, MLFLOW_TRACKING_URI=uri), 0, "promoted: version 1")
        load = (
            "import sys; from knownline import registry, tracking\n"
            "version = registry.Registry(tracking.Store()).holding('champion')\n"
            "print('ready', flush=True); sys.stdin.readline()\n"
            "registry.Model(version)\n"
        )
        for how in ("500", "cut"):
            process = subprocess.Popen(
                ["python", "-c", load],
                cwd=workspace.path,
                env=workspace.env(MLFLOW_TRACKING_URI=uri, PYTHONPATH=str(workspace.path / "src")),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
            proxy.turn(how)
            told = process.communicate("\n")[1]
            proxy.turn("")
            assert told.splitlines()[-1].startswith("knownline.core.errors.StoreError"), told
            assert "within reach" in told


def test_a_retraining_that_could_not_carry_its_store_does_so_when_repeated(
    pushing: Workspace,
) -> None:
    expect(retrain(pushing), 0, "promoted")  # and nothing pushed
    expect(retrain(pushing, DAY, "--push"), 0, "the store is carried as", "nothing new")
    assert "knownline/store" in pushing.git("ls-remote", "origin")


def test_a_table_that_came_by_git_is_followed_and_one_laid_by_hand_is_kept(
    pushing: Workspace, tmp_path: Path
) -> None:
    def write(workspace: Workspace, slope: int) -> None:
        lines = [f"{i},{slope * i + i * 7 % 5}" for i in range(40)]
        (workspace.path / "data/own/mine.csv").write_text("a,b\n" + "\n".join(lines) + "\n")

    use(pushing, "data/own/mine.csv", "a", "b")
    pushing.replace("params.yaml", "holdout: 0\n", "holdout: 0.3\n")
    write(pushing, 3)
    pushing.dvc("add", "data/own/mine.csv")
    commit(pushing, "my own table, kept by DVC")
    pushing.dvc("push", "data/own/mine.csv.dvc")
    pushing.git("push", "--quiet", "origin", "main")
    expect(retrain(pushing), 0, "promoted")
    pushing.git("checkout", "--quiet", "--", ".")
    pushing.git("clone", "--quiet", str(tmp_path / "origin.git"), str(tmp_path / "bob"))
    bob = Workspace(tmp_path / "bob")
    write(bob, 4)
    bob.dvc("add", "data/own/mine.csv")
    commit(bob, "newer rows")
    bob.dvc("push", "data/own/mine.csv.dvc")
    bob.git("push", "--quiet", "origin", "main")
    pushing.git("pull", "--quiet", "origin", "main")
    expect(retrain(pushing, "2026-11-02"), 0, "promoted: version 2", "the line drifted")
    assert round(json.loads((pushing.path / "models/line.json").read_text())["w"]) == 4
    write(pushing, 5)
    expect(retrain(pushing, "2026-11-03"), 0, "promoted: version 3")
    assert round(json.loads((pushing.path / "models/line.json").read_text())["w"]) == 5


def test_what_was_tried_before_it_was_committed_is_done_again_clean(workspace: Workspace) -> None:
    use(workspace, "data/own/forbes.csv", "boiling_point_f", "pressure_inhg")
    workspace.dvc("repro")
    assert workspace.runs()[-1].tags["git_dirty"] == "true"
    commit(workspace, "that table it is")
    expect(retrain(workspace), 0, "promoted: version 1")
    assert workspace.runs()[-1].tags["git_dirty"] == "false"


def test_files_that_git_does_not_know_stay_here_and_are_named(workspace: Workspace) -> None:
    (workspace.path / "data/own/customers.csv").write_text("name\nAda\n")
    expect(retrain(workspace), 3, "nothing will be promoted: data/own/customers.csv")
    assert "customers" not in workspace.git("ls-tree", "-r", "--name-only", f"retrain/{DAY}")


def test_a_seed_with_an_anchor_is_refused_and_nothing_written(workspace: Workspace) -> None:
    workspace.replace("params.yaml", "  seed: 20200910", "  seed: &seed 20200910")
    workspace.replace("params.yaml", "\n  seed: 0\n", "\n  seed: *seed\n")
    before = (workspace.path / "params.yaml").read_bytes()
    expect(retrain(workspace), 2, "generate.seed must be a plain number")
    assert (workspace.path / "params.yaml").read_bytes() == before


def test_a_champion_whose_run_has_lost_a_file_still_has_successors(workspace: Workspace) -> None:
    expect(retrain(workspace), 0)
    run = next(r for r in workspace.runs() if r.run_id == versions(workspace)[1]["run"])
    (run.artifacts / "identity.json").unlink()
    expect(retrain(workspace, "2026-11-02"), 0, "kept: version 1 stays")
    assert "- unknown: " in (workspace.path / "reports/retrain.md").read_text()


def test_an_edit_that_nobody_committed_is_not_promoted(workspace: Workspace) -> None:
    workspace.replace("params.yaml", "z: 4.0", "z: 400.0")
    expect(retrain(workspace), 3, "nothing will be promoted: params.yaml", "tree was not clean")
    assert "champion" not in aliases(workspace)
    commit(workspace, "so be it")
    expect(retrain(workspace), 0, "promoted")
    assert workspace.runs()[-1].tags["git_dirty"] == "false"


def test_who_was_rolled_back_before_its_day_was_settled_stays_down(workspace: Workspace) -> None:
    expect(retrain(workspace), 0)
    workspace.replace("params.yaml", "w: 20.0", "w: 20.2")
    commit(workspace, "the truth has moved")
    expect(retrain(workspace, "2026-11-02"), 0, "promoted")
    with sqlite3.connect(workspace.path / "mlruns/mlflow.db") as store:  # as a kill leaves it
        store.execute("delete from model_version_tags where key = 'settled' and version = 2")
    workspace.knownline("rollback", "--reason", "too steep for Bob")
    expect(retrain(workspace, "2026-11-02"), 3, "it served and was rolled back: too steep for Bob")
    assert aliases(workspace)["champion"] == 1


def test_the_days_branch_must_not_be_checked_out(workspace: Workspace) -> None:
    workspace.git("switch", "--quiet", "--create", f"retrain/{DAY}")
    before = (workspace.path / "params.yaml").read_bytes()
    expect(retrain(workspace), 2, f"retrain/{DAY} must not be checked out", "git switch main")
    assert (workspace.path / "params.yaml").read_bytes() == before


def test_a_table_that_nobody_would_keep_and_a_seed_for_one_are_refused(
    workspace: Workspace,
) -> None:
    use(workspace, "data/own/mine.csv", "a", "b")
    (workspace.path / "data/own/mine.csv").write_text("a,b\n1,2\n2,3\n3,5\n4,6\n")
    expect(retrain(workspace, DAY, "--seed", "7"), 2, "--seed must be left out")
    (workspace.path / ".gitignore").open("a").write("*.csv\n")
    commit(workspace, "my own table")
    expect(retrain(workspace), 2, "which git ignores", "dvc add data/own/mine.csv")
    workspace.dvc("add", "data/own/mine.csv")
    expect(retrain(workspace), 0, "promoted")
    assert "mine.csv.dvc" in workspace.git("show", "--stat", f"retrain/{DAY}~1")
