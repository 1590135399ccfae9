"""Names of parameters, metrics and tags as MLflow accepts them."""

import hashlib
import posixpath
import re
from collections.abc import Iterable

_REFUSED = re.compile(r"[^\w/.\- :]")
"""The characters that MLflow accepts in no name (mlflow.utils.validation)."""

_LONGEST = 250

_RESERVED = frozenset(
    ("fingerprint", "results", "execution", "process", "pipeline", "record", "stage", "backfilled",
     "dvc_exp_name", "dvc_exp_names", "executed", "frozen", "only_in_files", "report")
)  # fmt: skip
_RESERVED_STARTS = ("git_", "mlflow.")


def is_reserved(tag: str) -> bool:
    """Return whether samerun or MLflow itself writes a tag, so that nobody else may set it."""
    return tag in _RESERVED or tag.startswith(_RESERVED_STARTS)


def mlflow_key(name: str) -> str:
    """Return a name with a _ for whatever MLflow refuses: "acc@5" becomes "acc_5".

    MLflow also refuses a name that changes when it is normalised as a path: "loss/", for example.
    """
    key = _REFUSED.sub("_", name)[:_LONGEST]
    if posixpath.normpath(key) != key or key.startswith(("/", "..")):
        key = re.sub(r"^\.\.", "__", key.replace("/", "_"))
    return key if key.strip(".") else "_" * max(1, len(key))


def mlflow_keys(names: Iterable[str]) -> dict[str, str]:
    """Return each name with its `mlflow_key`, no two of them the same.

    A name that MLflow accepts stays as it is. If other names have the same key, such as "acc@5"
    and "acc#5", the first gets it; the rest get a suffix that depends on the name alone.
    """
    names = list(names)
    keys = {name: name for name in names if mlflow_key(name) == name}
    taken = set(keys)
    for name in names:
        if name not in keys:
            key = mlflow_key(name)
            if key in taken:
                suffix = f"_{hashlib.sha256(name.encode(errors='replace')).hexdigest()[:8]}"
                key = key[: _LONGEST - len(suffix)] + suffix
            keys[name] = key
            taken.add(key)
    return keys
