"""Calls DVC for a retraining: updates tables, runs the stages, pushes the results.

Knows nothing of MLflow or of what the results mean.
"""

import hashlib
import subprocess
from pathlib import Path

from samerun import programs
from samerun.core.errors import WorkspaceError
from samerun.working_tree import COMMIT_VARIABLE


def has_remote() -> bool:
    """Return whether DVC has a default remote."""
    settings = _dvc("config", "--list").stdout.decode()
    return any(line.startswith("core.remote=") for line in settings.splitlines())


def pull() -> None:
    """Pull the files that DVC tracks; the stages recreate those that the remote lacks.

    If somebody replaced a table in data/own/, its .dvc file is updated to the new table.

    Raises: WorkspaceError if a remote does not answer or a table is missing everywhere.
    """
    pointers = sorted(Path("data/own").rglob("*.dvc"))
    replaced = [str(pointer) for pointer in pointers if _replaced_by_hand(pointer)]
    if replaced:
        _run_dvc("cannot track the tables in data/own/", "commit", "--force", "--quiet", *replaced)
    if has_remote():
        _run_dvc("cannot pull from the DVC remote", "pull", "--quiet", "--allow-missing")
    for pointer in pointers:
        if not pointer.with_suffix("").exists():
            raise WorkspaceError(
                f"{pointer.with_suffix('')} is missing: it is in neither DVC's cache nor its remote"
            )


def _replaced_by_hand(pointer: Path) -> bool:
    """Return whether the table of a .dvc file is new to DVC.

    If the table is in the cache, it is an older version, and git updated its .dvc file: then the
    .dvc file counts.
    """
    table = pointer.with_suffix("")
    if not table.is_file():
        return table.exists()
    with table.open("rb") as stream:
        md5 = hashlib.file_digest(stream, "md5").hexdigest()
    if md5 in pointer.read_text(encoding="utf-8"):
        return False
    cache = Path(_dvc("cache", "dir").stdout.decode().strip())
    return not (cache / "files" / "md5" / md5[:2] / md5[2:]).exists()


def repro(commit: str, *, force: bool = False, only: str | None = None) -> None:
    """Run the changed stages (all with `force`); show DVC's output; record `commit` with the run.

    Raises: WorkspaceError with a stage's message if it fails.
    """
    options = ["--force"] if force else []
    options += ["--single-item", only] if only else []
    process = _dvc("repro", *options, show=True, **{COMMIT_VARIABLE: commit})
    if process.returncode:
        raise WorkspaceError(programs.reason(process))


def push() -> None:
    """Push outputs and tables. Raises: WorkspaceError if the remote does not accept them."""
    _run_dvc("cannot push the results to the DVC remote", "push", "--quiet")


def _run_dvc(failure: str, *arguments: str) -> None:
    """Run a DVC command. Raises: WorkspaceError with the text `failure` if it fails."""
    process = _dvc(*arguments)
    if process.returncode:
        raise WorkspaceError(f"{failure}: dvc {arguments[0]}: {programs.reason(process)}")


def _dvc(*arguments: str, show: bool = False, **env: str) -> subprocess.CompletedProcess[bytes]:
    # Not isolated, so that the stages record in the same store as this command.
    return programs.call(*programs.dvc(*arguments), isolated=False, show=show, env=env)
