"""The tags of a run that the project defines: `meta.samerun.tags`."""

from collections.abc import Mapping
from typing import Any

from samerun.config import TagRule
from samerun.dvc.stage import lookup
from samerun.execution.reported import number
from samerun.mlflow.content import text_of
from samerun.pipeline import Pipeline

_SUMMARISED = 3
"""The most numbers of a mapping that a tag shows."""


def own_tags(pipeline: Pipeline) -> dict[str, str]:
    """Return the tags that the project defines, without those of mappings that have no number.

    Raises: WorkspaceError if a file cannot be read.
    """
    found = {name: _tag(pipeline, rule) for name, rule in pipeline.config.tags.items()}
    return {name: text for name, text in found.items() if text is not None}


def _tag(pipeline: Pipeline, rule: TagRule) -> str | None:
    value = lookup(pipeline.project.load(rule.file), rule.key.split("."))
    if rule.yes is not None and isinstance(value, bool):
        return str(rule.yes if value else rule.no)
    if isinstance(value, Mapping):
        return _summary(value)
    return text_of(value, whole=rule.file)


def _summary(mapping: Mapping[Any, Any]) -> str | None:
    """Return the numbers of a mapping as "w 0.346, b -0.55": rounded, as a table shows them.

    Of more than a few, the largest. Returns: None if it has no number.
    """
    numbers = {str(key): x for key, leaf in mapping.items() if (x := number(leaf)) is not None}
    by_size = sorted(numbers, key=lambda key: abs(numbers[key]), reverse=True)
    shown = by_size[:_SUMMARISED] if len(numbers) > _SUMMARISED else numbers
    texts = [f"{key} {float(f'{numbers[key]:.3g}'):g}" for key in shown]
    texts += [f"{len(numbers) - len(texts)} smaller"] if len(texts) < len(numbers) else []
    return ", ".join(texts) or None
