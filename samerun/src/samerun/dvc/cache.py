"""DVC's cache, read by hash: each object is checked against the hash that it is stored under.

Does not import DVC: the object with hash 0123… is the file files/md5/01/23…, or 01/23… in a cache
of DVC 2. The object of a folder is a list of its files. Nothing here writes into a cache.
"""

import json
import re
import shutil
from pathlib import Path

from samerun.dvc import hashing

_HASH = re.compile(r"[0-9a-f]{32}(\.dir)?")


def find(cache: Path, digest: str | None) -> Path | None:
    """Return the file that holds an object; None if it is missing or damaged."""
    if not digest or not _HASH.fullmatch(digest):
        return None
    for base in (cache / "files" / "md5", cache):
        path = base / digest[:2] / digest[2:]
        if path.is_file() and hashing.md5(str(path)) == digest.removesuffix(".dir"):
            return path
    return None


def listing(cache: Path, digest: str | None) -> dict[str, str] | None:
    """Return the files of a folder, relative path to hash; None if the cache lacks the list."""
    if not digest or not digest.endswith(".dir"):
        return None
    path = find(cache, digest)
    if path is None:
        return None
    return {str(entry["relpath"]): str(entry["md5"]) for entry in json.loads(path.read_bytes())}


def restore(cache: Path, digest: str | None, target: Path, *, executable: bool = False) -> bool:
    """Copy an object, a file or a folder, to a path. Return whether the cache has all of it."""
    if digest and digest.endswith(".dir"):
        names = listing(cache, digest)
        if names is None:
            return False
        target.mkdir(parents=True, exist_ok=True)
        return all(restore(cache, sha, target / name) for name, sha in names.items())
    path = find(cache, digest)
    if path is None:
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, target)
    target.chmod(0o755 if executable else 0o644)
    return True
