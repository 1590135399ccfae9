"""Texts in MLflow's queries, which know no escapes."""

import re

from samerun.core.errors import StoreError


def quoted(text: str) -> str:
    """Return a path of dvc.yaml in quotes. Raises: StoreError if it has both kinds of quotes."""
    if "'" in text and '"' in text:
        raise StoreError(f"the path of dvc.yaml must not have both kinds of quotes (got {text})")
    return f'"{text}"' if "'" in text else f"'{text}'"


def name_begins(name: str, length: int) -> str:
    """Return a query for the runs whose names begin as `name` does, and for some others.

    length: how many characters count. Those from the first quote or wildcard on are left out, so
    the caller must compare the names.
    """
    plain = re.split("""['"%_\\\\]""", name[:length])[0]
    if plain == name and len(name) < length:
        return f"attributes.run_name = '{plain}'"
    return f"attributes.run_name LIKE '{plain}%'"
