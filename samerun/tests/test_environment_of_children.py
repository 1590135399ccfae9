"""What child processes inherit: neither a git hook's repository nor a user's debug settings."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from samerun import git, programs, working_tree
from samerun.core import variables
from support.repositories import in_a_hook, of, repository, run_git

SHOW = "import json, os; print(json.dumps(dict(os.environ)))"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return in_a_hook(tmp_path, monkeypatch)


def test_a_run_in_a_hook_records_the_commit_of_its_own_repository(here: Path) -> None:
    assert working_tree.commit().sha == of(here, "rev-parse", "HEAD")
    assert not working_tree.commit().dirty
    (here / "a.txt").write_text("changed\n")
    assert working_tree.commit().paths == ["a.txt"]


def test_a_real_hook_of_another_repository(tmp_path: Path) -> None:
    """Git calls the hook of a push in the bare repository, and hands down GIT_DIR=."""
    here, other = repository(tmp_path / "here"), repository(tmp_path / "other")
    bare = tmp_path / "bare.git"
    run_git(other, "init", "--quiet", "--bare", str(bare))
    hook = bare / "hooks/post-receive"
    hook.write_text(
        f"#!/bin/sh\ncd {here} && exec {sys.executable} -c '"
        "from samerun import working_tree; print(working_tree.commit().sha)"
        f"' > {tmp_path}/sha 2>&1\n"
    )
    hook.chmod(0o755)
    run_git(other, "push", "--quiet", str(bare), "HEAD:refs/heads/main")
    assert (tmp_path / "sha").read_text().strip() == of(here, "rev-parse", "HEAD")


def test_an_index_that_is_passed_is_used(here: Path, tmp_path: Path) -> None:
    index = {"GIT_INDEX_FILE": str(tmp_path / "index")}
    git.run("read-tree", "--empty", env=index)
    assert git.run("ls-files", env=index) == ""
    assert git.run("ls-files") == "a.txt"


def child(*, isolated: bool) -> dict[str, str]:
    done = programs.call(sys.executable, "-c", SHOW, isolated=isolated)
    assert done.returncode == 0, done.stderr
    environment: dict[str, str] = json.loads(done.stdout)
    return environment


NEVER = [
    "GIT_DIR", "GIT_WORK_TREE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR", "GIT_CONFIG_COUNT",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_NAMESPACE", "GIT_LITERAL_PATHSPECS", "GIT_TRACE",
    "GIT_EXTERNAL_DIFF", "GIT_PAGER", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID",
    "MLFLOW_ENABLE_ASYNC_LOGGING", "_MLFLOW_ACTIVE_MODEL_ID", "MLFLOW_SOMETHING_NEW",
    "DVC_SHOW_TRACEBACK", "DVC_SOMETHING_NEW", "PYTHONINSPECT", "PYTHONSTARTUP", "PYTHONOPTIMIZE",
]  # fmt: skip
SAME_PLACE = [
    "DVC_ROOT", "DVC_STAGE", "DVC_EXP_NAME", "DVC_STUDIO_TOKEN", "MLFLOW_TRACKING_URI",
    "MLFLOW_TRACKING_TOKEN", "MLFLOW_S3_ENDPOINT_URL", "MLFLOW_HTTP_REQUEST_TIMEOUT", "PYTHONPATH",
]  # fmt: skip
ALWAYS = [
    "GIT_SSH_COMMAND", "GIT_ASKPASS", "GIT_CONFIG_GLOBAL", "GIT_AUTHOR_NAME", "GIT_SSL_CAINFO",
    "GIT_CEILING_DIRECTORIES", "DVC_SITE_CACHE_DIR", "DVC_GLOBAL_CONFIG_DIR", "PYTHONUTF8",
    "PYTHONUNBUFFERED", "MLFLOW_DISABLE_TELEMETRY", "KNOWNLINE_ANYTHING", "GITHUB_TOKEN",
    "AWS_SECRET_ACCESS_KEY", "https_proxy", "LD_LIBRARY_PATH",
]  # fmt: skip


def test_children_inherit_what_is_on_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*NEVER, *SAME_PLACE, *ALWAYS):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("PYTHONPATH", str(Path(programs.__file__).parents[1]))
    for isolated in (True, False):
        inherited = child(isolated=isolated)
        assert [name for name in NEVER if name in inherited] == []
        assert [name for name in ALWAYS if name not in inherited] == []
        expected = [] if isolated else SAME_PLACE
        assert [name for name in SAME_PLACE if name in inherited] == expected
        assert inherited["DVC_NO_ANALYTICS"] == "1"


def test_git_itself_says_which_variables_name_a_repository() -> None:
    """A later git may have more such variables; none may be on the list."""
    names = run_git(Path.cwd(), "rev-parse", "--local-env-vars").split()
    assert "GIT_DIR" in names
    assert variables.inherited(dict.fromkeys(names, "1"), isolated=False) == {}


@pytest.mark.parametrize(
    ("stderr", "reason"),
    [
        ("other: error: a\nlast", "a"),
        ("samerun: error: b\nERROR: dvc", "b"),
        ("my-tool: error: c", "c"),
        ("ERROR: dvc\nhint", "dvc"),
        ("first: error\nlast", "last"),
        ("dvc.yaml: error: no program's\nlast", "last"),
        ("", "exit 3"),
    ],
)
def test_the_reason_is_the_error_of_the_program(stderr: str, reason: str) -> None:
    process = subprocess.CompletedProcess([], 3, b"", stderr.encode())
    assert programs.reason(process) == reason
