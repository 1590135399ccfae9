"""The phrases that the name of a run is made of."""

from collections.abc import Mapping


def named(key: str, text: str) -> str:
    """Return a parameter by the last part of its name: "rate 0.5", or "no limit" if it is null."""
    name = key.rpartition(".")[2]
    return f"no {name}" if text == "null" else f"{name} {_short(text)}"


def filled(phrase: str, values: Mapping[str, str]) -> str:
    """Return a phrase with its parameters filled in; empty if one of them is null.

    Of alternatives, as in "{table} | {rows} rows", the first that is not empty.
    """
    first, _, others = phrase.partition(" | ")
    return _one_filled(first, values) or (filled(others, values) if others else "")


def _one_filled(phrase: str, values: Mapping[str, str]) -> str:
    for key, text in values.items():
        if f"{{{key}}}" in phrase:
            if text == "null":
                return ""
            phrase = phrase.replace(f"{{{key}}}", _short(text))
    return phrase


def _short(text: str) -> str:
    """Return a value as it fits into a name: of a path its last part."""
    return text.rpartition("/")[2][:40]
