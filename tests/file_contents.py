"""Files whose bytes are damaged one way after another."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from knownline.core import checksums
from samerun.core import files


def cut_short(content: bytes) -> Iterator[bytes]:
    """Yield the content cut short at every byte, the longest first."""
    return (content[:length] for length in reversed(range(len(content))))


def changed_bytes(content: bytes, others: Callable[[int], Iterable[int]]) -> Iterator[bytes]:
    """Yield the content with one byte replaced, for each byte and each of the others it may be."""
    for place, byte in enumerate(content):
        for other in others(byte):
            yield content[:place] + bytes([other]) + content[place + 1 :]


def overwritten(path: Path, contents: Iterable[bytes]) -> Iterator[bytes]:
    """Write each content into a file in turn and yield it; the file ends with its own bytes."""
    own = path.read_bytes()
    # In place: ext4 flushes a file that was emptied before it was written, and these are thousands.
    with path.open("r+b", buffering=0) as file:
        for content in (*contents, own):
            file.seek(0)
            file.truncate(file.write(content))
            if content is not own:
                yield content


def write_sums(folder: Path, paths: Iterable[Path]) -> None:
    """Write the sums of files to a folder's SHA256SUMS."""
    checksums.write(folder, {path: files.sha256_of(path) for path in paths})


check_sums = checksums.check
