"""How the paths of dependencies and outputs lie to each other.

Imports nothing, since `samerun run` needs it before its command starts.
"""


def contains(folder: str, path: str) -> bool:
    """Return whether a path is a folder or lies in it."""
    return path == folder or path.startswith(f"{folder.rstrip('/')}/")


def overlap(one: str, other: str) -> bool:
    """Return whether one of two paths is the other or lies in it."""
    return contains(one, other) or contains(other, one)
