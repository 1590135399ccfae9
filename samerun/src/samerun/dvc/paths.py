"""Whether the path of one dependency or output contains another.

Imports nothing, since `samerun run` needs it before its command starts.
"""


def contains(folder: str, path: str) -> bool:
    """Return whether a path is the folder or is inside it."""
    return path == folder or path.startswith(f"{folder.rstrip('/')}/")


def overlap(one: str, other: str) -> bool:
    """Return whether two paths are the same or one is inside the other."""
    return contains(one, other) or contains(other, one)
