"""The code that a Dask worker executes: a check of the worker, then one pickled task.

Knows nothing of the client's side, which is cluster.py.
"""

import hashlib
import pickle
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from samerun.core import errors
from samerun.core.errors import UserError

SOURCES = {
    Path(__file__).resolve().parents[2]: (
        "knownline/core",
        "knownline/generate",
        "knownline/model.py",
        "knownline/params",
    ),
    Path(errors.__file__).resolve().parents[2]: ("samerun/core",),
}
"""The code that decides what a task computes: paths below the folders of the two packages."""


def _modules() -> dict[str, Path]:
    """Return the files of SOURCES by the names of their modules."""
    modules = {}
    for root, names in SOURCES.items():
        sources = [root / name for name in names]
        for path in sorted(f for s in sources for f in ([s] if s.is_file() else s.rglob("*.py"))):
            name = ".".join(path.relative_to(root).with_suffix("").parts)
            modules[name.removesuffix(".__init__")] = path
    return modules


def _digest(modules: dict[str, Path]) -> str:
    """Return 12 hex digits of the SHA-256 of modules' names and bytes."""
    total = hashlib.sha256()
    for name, path in modules.items():
        total.update(f"{name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()[:12]


MODULES = _modules()

CODE = _digest(MODULES)
"""The code's digest when this module was imported: a worker keeps what it imported, even if the
files change."""


def by_value() -> Callable[..., tuple[Any, ...]]:
    """Return the function that a worker executes; because it is nested, Dask sends its code.

    So a worker without knownline, or with an older one, can execute it and report that.
    """

    def execute(
        expected: dict[str, str], token: Path, call: bytes, worker: str = ""
    ) -> tuple[Any, ...]:
        from importlib import import_module

        from distributed import get_worker

        worker = worker or get_worker().address
        for name, wanted in expected.items():
            try:
                if name == "knownline":
                    ours = import_module("knownline.generate.worker")
                    found = ours.CODE
                    for module in ours.MODULES:  # now, before the hashed files can change
                        import_module(module)
                else:
                    found = import_module(name).__version__
            except (ImportError, AttributeError) as error:
                found = f"none, {error},"
            if found != wanted:
                return "unfit", worker, name, found
        answer: tuple[str, Any] = ours.perform(token, call)
        return answer[0], worker, answer[1]

    return execute


def perform(token: Path, call: bytes) -> tuple[str, Any]:
    """Call a pickled function with a pickled task, if the file `token` is here.

    Returns: "value" or "error" and the pickled result or exception, or "folder" and a reason.
    """
    try:
        token.read_bytes()
    except OSError as error:
        return "folder", str(error)
    function, task = pickle.loads(call)
    try:
        return "value", pickle.dumps(function(task))
    except Exception as error:
        text = traceback.format_exc()
        if not isinstance(error, UserError):  # whose message is enough
            error.add_note(text)
        return "error", _pickled(error, text)


def _pickled(error: Exception, text: str) -> bytes:
    """Return the pickled error, or one with its traceback if it cannot be pickled and unpickled."""
    try:
        pickle.loads(content := pickle.dumps(error))
    except Exception:
        return pickle.dumps(RuntimeError(text))
    return content


def write_reply(path: Path) -> None:
    """Write an empty file: a task that shows whether the folder is shared."""
    path.touch()
