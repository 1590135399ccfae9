"""DVC as a retraining calls it: tables up to date, the stages run, the results pushed.

Knows nothing of MLflow or of what the results mean.
"""

import hashlib
import subprocess
from pathlib import Path

from samerun import programs
from samerun.core.errors import WorkspaceError
from samerun.working_tree import BASE


def has_remote() -> bool:
    """Return whether DVC has a remote that it pulls from and pushes to by default."""
    listed = _dvc("config", "--list").stdout.decode()
    return any(line.startswith("core.remote=") for line in listed.splitlines())


def pull() -> None:
    """Bring what DVC keeps up to date; what the remote does not have is made anew by the stages.

    A table that was replaced in data/own/ is taken as it is now: its pointer follows it.

    Raises: WorkspaceError where a remote does not answer or a table is nowhere.
    """
    pointers = sorted(Path("data/own").rglob("*.dvc"))
    there = [str(pointer) for pointer in pointers if _replaced_by_hand(pointer)]
    if there:
        _must("the tables in data/own/ must be readable", "commit", "--force", "--quiet", *there)
    if has_remote():
        _must("DVC must bring its files up to date", "pull", "--quiet", "--allow-missing")
    for pointer in pointers:
        if not pointer.with_suffix("").exists():
            raise WorkspaceError(
                f"{pointer.with_suffix('')} must be in DVC's cache or remote (got it in neither)"
            )


def _replaced_by_hand(pointer: Path) -> bool:
    """Return whether what lies beside a pointer is new to DVC.

    Where it is in the cache it was kept before, and a pointer that says otherwise came by git: the
    pointer is followed.
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
    """Run what changed (all with `force`), recording it as of `commit`; DVC's output is shown.

    Raises: WorkspaceError with what the stage said, where one fails.
    """
    arguments = ["--force"] if force else []
    arguments += ["--single-item", only] if only else []
    done = _dvc("repro", *arguments, show=True, **{BASE: commit})
    if done.returncode:
        raise WorkspaceError(programs.reason(done))


def push() -> None:
    """Push outputs and tables. Raises: WorkspaceError where the remote does not take them."""
    _must("the DVC remote must take the results", "push", "--quiet")


def _must(rule: str, *arguments: str) -> None:
    done = _dvc(*arguments)
    if done.returncode:
        raise WorkspaceError(f"{rule} (dvc {arguments[0]} says: {programs.reason(done)})")


def _dvc(*arguments: str, show: bool = False, **more: str) -> subprocess.CompletedProcess[bytes]:
    # Not isolated: the stages are to record where this command would.
    return programs.call(*programs.dvc(*arguments), isolated=False, show=show, env=more)
