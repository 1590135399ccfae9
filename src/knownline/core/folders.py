"""Folders that are replaced completely or not at all."""

import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from samerun.core import files


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Yield an empty folder that replaces `path` if the block succeeds.

    If the block raises, `path` stays as it was. The block must sync the files that it writes.
    Another process, such as an abandoned Dask worker, may still be writing to the folder when the
    block ends; its temporary files are removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not by tempfile.mkdtemp, which ignores the umask.
    new = path.parent / f".{path.name}.tmp-{secrets.token_hex(4)}"
    new.mkdir()
    try:
        yield new
        files.sync(new)
        _replace(new, path)
        files.sync(path.parent)
    except BaseException:
        _remove(new)
        raise
    # Only now: once the folder is renamed, no process can add another one under its old name.
    for leftover in path.glob(".*.tmp-*"):
        leftover.unlink(missing_ok=True)


def _remove(folder: Path) -> None:
    """Remove a folder, even if another process is still creating files in it."""
    with suppress(OSError):
        folder = folder.rename(folder.with_name(f"{folder.name}-"))
    shutil.rmtree(folder, ignore_errors=True)


def _replace(new: Path, path: Path) -> None:
    """Rename the folder `new` to `path`; if that fails, restore what was there."""
    if not (path.is_symlink() or path.exists()):
        new.rename(path)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{path.name}.tmp-", dir=path.parent))
    try:
        path.rename(old / path.name)
        try:
            new.rename(path)
        except BaseException:
            (old / path.name).rename(path)
            raise
    finally:
        shutil.rmtree(old, ignore_errors=True)
