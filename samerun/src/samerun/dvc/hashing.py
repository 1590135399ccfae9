"""MD5 and stat of files and folders, without DVC; the MD5 as DVC computes it.

Importing DVC takes a quarter of a second, too long for `samerun run`. If a hash from here equals
DVC's, the bytes are the same. If it differs, DVC itself must compute it, since .dvcignore may
exclude files of a folder.
"""

import hashlib
import json
import os

_ALWAYS_IGNORED = {"__pycache__", ".git", ".dvc"}

LARGEST = 64 * 2**20
"""Bytes of the largest file that `snapshot` hashes."""


def files_below(path: str) -> list[str]:
    """Return the files below a folder, or the file itself; without bytecode, .git and .dvc."""
    if not os.path.isdir(path):
        return [path] if os.path.exists(path) else []
    files: list[str] = []
    for folder, folders, names in os.walk(path, followlinks=True):
        folders[:] = [name for name in folders if name not in _ALWAYS_IGNORED]
        files += [os.path.join(folder, name) for name in names]
    return files


def md5(path: str) -> str:
    """Return the MD5 of a file's bytes, in hex."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def digest(path: str) -> str | None:
    """Return the hash of a file or a folder as DVC writes it; None if it does not exist."""
    if not os.path.isdir(path):
        return md5(path) if os.path.exists(path) else None
    entries = [
        {"md5": md5(file), "relpath": os.path.relpath(file, path).replace(os.sep, "/")}
        for file in files_below(path)
    ]
    entries.sort(key=lambda entry: entry["relpath"])
    text = json.dumps(entries, sort_keys=True).encode()
    return f"{hashlib.md5(text, usedforsecurity=False).hexdigest()}.dir"


FileStat = tuple[int, int, int, int]
"""Size, modification and change time in nanoseconds, inode: any change of a file changes one."""


def file_stat(path: str) -> FileStat | None:
    """Return the FileStat of a file; None if the file is gone.

    The kernel sets the change time, so an edit that restores the modification time is seen too.
    """
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def snapshot(paths: list[str]) -> dict[str, tuple[FileStat | None, str]]:
    """Return the FileStat of every file below some paths, and its MD5 unless it is too large."""
    seen = {}
    for path in paths:
        for file in files_below(path):
            before = file_stat(file)
            large = before is None or before[0] > LARGEST
            seen[file] = (before, "" if large else md5(file))
    return seen


def changed(before: dict[str, tuple[FileStat | None, str]], paths: list[str]) -> list[str]:
    """Return the files that changed, are new or are gone since `snapshot`."""
    now = {file for path in paths for file in files_below(path)}
    new = [file for file in now if file not in before]
    return sorted(new + [file for file, seen in before.items() if _differs(file, *seen)])


def _differs(file: str, before: FileStat | None, sha: str) -> bool:
    after = file_stat(file)
    if after == before:
        return False
    return after is None or not sha or md5(file) != sha
