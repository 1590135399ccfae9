"""MLflow's page of an experiment: its kind, its description and the view of its runs table."""

import base64
import json
import zlib

from samerun.config import Config

VIEW = "samerun"
"""The name of the saved view of the runs table that `experiment_tags` defines."""

_RUN_NAME = "attributes.`Run Name`"
"""The column of names; MLflow shows it always, and first."""

_NAME_WIDTH = 250

_LONGEST = {
    "metrics": len("-1.2345678901234567e+123"),
    "tags": len("w -1.23e+45, b -6.79e+45"),
    "params": len("0.000123"),
}
"""How many characters a value may have, by the kind of its column."""


def experiment_tags(config: Config) -> dict[str, str]:
    """Return the tags that make MLflow's page of the experiment one of trainings, with a view.

    A view is a tag whose value MLflow's page reads: which columns it shows, in which order. Without
    a view the table shows neither metrics nor tags. There is no API for views; a test in a browser
    checks that MLflow still reads the tag.
    """
    tags = {"mlflow.experimentKind": "custom_model_development"}
    if config.about:
        tags["mlflow.note.content"] = config.about
    if config.columns:
        columns = [_column(name) for name in config.columns]
        widths = {_column(name): _width(name, config) for name in config.columns}
        state = {
            "searchFilter": "",
            "orderByKey": "attributes.start_time",
            "orderByAsc": False,
            "startTime": "ALL",
            "lifecycleFilter": "Active",
            "datasetsFilter": [],
            "modelVersionFilter": "All Runs",
            "selectedColumns": columns,
            "columnOrder": [_RUN_NAME, *columns],
            "columnWidths": {_RUN_NAME: _NAME_WIDTH, **widths},
            "runsHiddenMode": "FIRST_10_RUNS",
        }
        packed = base64.b64encode(zlib.compress(json.dumps(state).encode())).decode()
        view = {"name": VIEW, "createdAt": 0, "updatedAt": 0, "state": f"deflate;{packed}"}
        tags[f"mlflow.sharedViewState.{VIEW}"] = json.dumps(view)
    return tags


def _column(name: str) -> str:
    """Return a column as MLflow's page names it: "metrics.z.w" is "metrics.`z.w`"."""
    kind, _, rest = name.partition(".")
    return f"{kind}.`{rest}`"


def _width(name: str, config: Config) -> int:
    """Return the width of a column in pixels: its heading and its longest value must fit.

    MLflow shows all digits of a number, and cuts one that is too long: its exponent would be lost.
    """
    kind, _, rest = name.partition(".")
    if rest == "Dataset":
        return 300
    rule = config.tags.get(rest) if kind == "tags" else None
    longest = _LONGEST.get(kind, 0)
    if rule and rule.yes is not None:
        longest = max(len(rule.yes), len(rule.no or ""))
    return 28 + 7 * max(longest, len(rest))
