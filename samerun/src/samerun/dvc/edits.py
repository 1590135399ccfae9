"""Edits of the text of a dvc.yaml that keep its comments, order and style.

Knows nothing of what is written, or why.
"""

import re
import shlex
import shutil
from collections.abc import Mapping
from typing import Any

import yaml

from samerun.core.errors import WorkspaceError

_SEPARATORS = set("&|;()")
"""Characters that join several programs in one command, unless they are quoted."""


def with_stage(text: str, name: str, body: str) -> str:
    """Return the text of a dvc.yaml with a stage added as the last one.

    body: the stage's lines, indented by 0. Raises: WorkspaceError if `stages` has braces.
    """
    stages = _stages(text)
    if stages.flow_style or not stages.value:
        raise WorkspaceError("stages of dvc.yaml must be written line by line (got braces)")
    indent = " " * stages.start_mark.column
    ending = "\r\n" if "\r\n" in text else "\n"
    lines = text.splitlines(keepends=True)
    end = stages.end_mark.line + bool(stages.end_mark.column)  # the last line may lack its end
    while end and _is_between(lines[end - 1]):
        end -= 1
    if not lines[end - 1].endswith("\n"):
        lines[end - 1] += ending
    added = [f"{indent}{name}:", *(f"{indent}  {line}" for line in body.splitlines())]
    changed = "".join([*lines[:end], *(f"{line}{ending}" for line in added), *lines[end:]])
    expected = _load(text)
    expected["stages"][name] = yaml.safe_load(body)
    return _checked(text, changed, expected)


def with_prefix(text: str, prefix: str) -> tuple[str, list[str], list[str]]:
    """Return the text with a prefix before commands, the stages that got it, and the others.

    A command gets it if it starts exactly one program and no built-in of the shell. A command that
    contains `samerun` is skipped and its stage is in neither list. Stages of `foreach` and `matrix`
    count as one.
    """
    places, prefixed, skipped = [], [], []
    old, expected = text, _load(text)
    for key, stage in _stages(text).value:
        if key.value not in expected["stages"]:  # on, off, yes, no: true or false in YAML 1.1
            skipped.append(key.value)
            continue
        node, fields = _command(stage)
        if node is None:
            continue
        command = node.value if isinstance(node, yaml.ScalarNode) else ""
        lines = [one.value for one in node.value] if isinstance(node.value, list) else [command]
        if any("samerun" in str(line).split() for line in lines):
            continue
        if getattr(node, "style", "") in ("|", ">") or not _is_one_program(command):
            skipped.append(key.value)
            continue
        place = node.start_mark.index + (node.style in ("'", '"'))  # after the quote
        if place in places:
            prefixed.append(key.value)  # an alias of a mapping that has the prefix already
            continue
        places.append(place)
        prefixed.append(key.value)
        target = expected["stages"][key.value]
        for field in fields:
            target = target[field]
        target["cmd"] = prefix + target["cmd"]
    for place in sorted(places, reverse=True):
        text = text[:place] + prefix + text[place:]
    return _checked(old, text, expected), prefixed, skipped


def _is_one_program(command: str) -> bool:
    """Return whether a command starts exactly one program and no built-in of the shell."""
    if "\n" in command or re.match(r"\s*\w+=", command):  # a variable set for the command
        return False
    lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    try:
        words = list(lexer)
    except ValueError:  # a quote that is not closed
        return False
    if not words or any(_SEPARATORS.issuperset(word) for word in words):
        return False
    return "/" in words[0] or shutil.which(words[0]) is not None


def _command(stage: Any) -> tuple[Any, tuple[str, ...]]:
    """Return the node of a stage's command, and the keys that lead to its mapping."""
    pairs = {key.value: value for key, value in stage.value} if stage.value else {}
    if "cmd" in pairs:
        return pairs["cmd"], ()
    if "do" in pairs:
        inner = {key.value: value for key, value in pairs["do"].value}
        return inner.get("cmd"), ("do",)
    return None, ()


def _stages(text: str) -> Any:
    """Return the node of `stages`. Raises: WorkspaceError if there are none."""
    top = yaml.compose(text, Loader=yaml.SafeLoader)
    pairs = top.value if isinstance(top, yaml.MappingNode) else []
    stages = next((value for key, value in pairs if key.value == "stages"), None)
    if not isinstance(stages, yaml.MappingNode):
        raise WorkspaceError("dvc.yaml has no stages")
    return stages


def _is_between(line: str) -> bool:
    """Return whether a line is blank or a comment that is not indented: no part of a stage."""
    return not line.strip() or line.startswith("#")


def _load(text: str) -> dict[str, Any]:
    loaded = yaml.safe_load(text)
    assert isinstance(loaded, dict)
    return loaded


def _checked(old: str, new: str, expected: Mapping[str, Any]) -> str:
    """Return the new text, in DVC's own format if the old text is in that format.

    Raises: WorkspaceError if the new text is not YAML with the expected content.
    """
    if yaml.safe_load(new) != expected:
        raise WorkspaceError("dvc.yaml must be plain YAML to be edited (got anchors or similar)")
    # `dvc stage add`, and DVCLive while a stage runs, rewrite the whole file. If they broke a line
    # differently, that would be an uncommitted change.
    return _rewritten(new) if _rewritten(old) == old else new


def _rewritten(text: str) -> str:
    """Return a text in the format in which DVC writes it."""
    from dvc.utils.serialize import dumps_yaml, parse_yaml_for_update

    return str(dumps_yaml(parse_yaml_for_update(text, "dvc.yaml")))
