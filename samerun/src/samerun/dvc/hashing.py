"""MD5 of files and folders as DVC computes it, and what a folder's files look like, without DVC.

Importing DVC takes a quarter of a second, which `samerun run` must not cost. A hash from here that
equals DVC's proves that the bytes are the same; one that differs proves nothing (.dvcignore may
leave out a file of a folder), and then DVC itself is asked.
"""

import hashlib
import json
import os

_ALWAYS_IGNORED = {"__pycache__", ".git", ".dvc"}

LARGEST = 64 * 2**20
"""Bytes of the largest file whose content is hashed when it is only watched for changes."""


def files_below(path: str) -> list[str]:
    """Return the files of a folder, or the file itself; without bytecode and repositories."""
    if not os.path.isdir(path):
        return [path] if os.path.exists(path) else []
    found: list[str] = []
    for folder, folders, names in os.walk(path, followlinks=True):
        folders[:] = [name for name in folders if name not in _ALWAYS_IGNORED]
        found += [os.path.join(folder, name) for name in names]
    return found


def md5(path: str) -> str:
    """Return the MD5 of a file's bytes, in hex."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def digest(path: str) -> str | None:
    """Return the hash of a file or a folder as DVC writes it; None if there is nothing."""
    if not os.path.isdir(path):
        return md5(path) if os.path.exists(path) else None
    entries = [
        {"md5": md5(file), "relpath": os.path.relpath(file, path).replace(os.sep, "/")}
        for file in files_below(path)
    ]
    entries.sort(key=lambda entry: entry["relpath"])
    text = json.dumps(entries, sort_keys=True).encode()
    return f"{hashlib.md5(text, usedforsecurity=False).hexdigest()}.dir"


Look = tuple[int, int, int, int]
"""Size, modification and change time in nanoseconds, inode: any change of a file changes one."""


def look(path: str) -> Look | None:
    """Return what a file looks like from outside; None if it is gone.

    The kernel sets the change time, so an edit that restores the modification time is seen too.
    """
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def snapshot(paths: list[str]) -> dict[str, tuple[Look | None, str]]:
    """Return the look of every file below some paths, and its MD5 unless it is too large."""
    seen = {}
    for path in paths:
        for file in files_below(path):
            before = look(file)
            large = before is None or before[0] > LARGEST
            seen[file] = (before, "" if large else md5(file))
    return seen


def changed(before: dict[str, tuple[Look | None, str]], paths: list[str]) -> list[str]:
    """Return the files that are not as `snapshot` saw them: changed, new or gone."""
    now = {file for path in paths for file in files_below(path)}
    new = [file for file in now if file not in before]
    return sorted(new + [file for file, seen in before.items() if _differs(file, *seen)])


def _differs(file: str, before: Look | None, sha: str) -> bool:
    after = look(file)
    if after == before:
        return False
    return after is None or not sha or md5(file) != sha
