"""Names of parameters, metrics and tags as MLflow takes them."""

import posixpath
import re

_REFUSED = re.compile(r"[^\w/.\- :]")
"""What MLflow takes in no name (mlflow.utils.validation)."""

_LONGEST = 250


def mlflow_key(name: str) -> str:
    """Return a name with a _ for whatever MLflow refuses: "acc@5" becomes "acc_5".

    It refuses a name that would not be the same as a path, too, such as one that ends with a slash.
    """
    key = _REFUSED.sub("_", name)[:_LONGEST]
    if posixpath.normpath(key) != key or key.startswith(("/", "..")):
        key = re.sub(r"^\.\.", "__", key.replace("/", "_"))
    return key if key.strip(".") else "_" * max(1, len(key))
