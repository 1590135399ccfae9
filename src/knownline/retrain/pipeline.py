"""Calls DVC for a retraining: brings tables up to date, runs the stages, pushes the results.

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
    """Bring the files that DVC tracks up to date; the stages recreate those the remote lacks.

    If somebody replaced a table in data/own/, its .dvc file is updated to the new table.

    Raises: WorkspaceError if a remote does not answer or a table is missing everywhere.
    """
    pointers = sorted(Path("data/own").rglob("*.dvc"))
    replaced = [str(pointer) for pointer in pointers if _replaced_by_hand(pointer)]
    if replaced:
        _run_dvc(
            "the tables in data/own/ must be readable", "commit", "--force", "--quiet", *replaced
        )
    if has_remote():
        _run_dvc("DVC must bring its files up to date", "pull", "--quiet", "--allow-missing")
    for pointer in pointers:
        if not pointer.with_suffix("").exists():
            raise WorkspaceError(
                f"{pointer.with_suffix('')} must be in DVC's cache or remote (got it in neither)"
            )


def _replaced_by_hand(pointer: Path) -> bool:
    """Return whether the table of a .dvc file is new to DVC.

    A table in the cache is an older version, and a .dvc file with another hash came from git: then
    the .dvc file counts.
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
    """Run the changed stages (all with `force`), recording `commit` as theirs; show DVC's output.

    Raises: WorkspaceError with a stage's message if it fails.
    """
    options = ["--force"] if force else []
    options += ["--single-item", only] if only else []
    process = _dvc("repro", *options, show=True, **{COMMIT_VARIABLE: commit})
    if process.returncode:
        raise WorkspaceError(programs.reason(process))


def push() -> None:
    """Push outputs and tables. Raises: WorkspaceError if the remote does not accept them."""
    _run_dvc("the DVC remote must take the results", "push", "--quiet")


def _run_dvc(rule: str, *arguments: str) -> None:
    """Run a DVC command. Raises: WorkspaceError with the broken `rule` if it fails."""
    process = _dvc(*arguments)
    if process.returncode:
        raise WorkspaceError(f"{rule} (dvc {arguments[0]} says: {programs.reason(process)})")


def _dvc(*arguments: str, show: bool = False, **env: str) -> subprocess.CompletedProcess[bytes]:
    # Not isolated, so that the stages record in the same store as this command.
    return programs.call(*programs.dvc(*arguments), isolated=False, show=show, env=env)
