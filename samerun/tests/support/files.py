"""The content of a folder."""

from pathlib import Path


def tree(folder: Path) -> dict[str, bytes | None]:
    """Return every path below a folder with the file's content; None for a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }
