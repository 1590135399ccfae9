"""`knownline live`: the process that shows a long training in MLflow while it runs.

`train` starts it and writes messages to its stdin, one JSON object a line: first the run's content,
then epochs, then how the training ended. If stdin ends without the last, the training was killed,
and the run is closed as KILLED.
"""

import json
import sys
from collections.abc import Iterator
from typing import Any

from samerun.core.errors import StoreError
from samerun.execution import streaming
from samerun.mlflow import tracking
from samerun.mlflow.run_metadata import RunContent


def main() -> int:
    """Log messages until stdin ends; if the store does not answer, print one warning and stop."""
    messages = _messages()
    try:
        store = tracking.Store()
        opening = next(messages, None)
        if opening is None:
            return 0
        run_id = store.begin(RunContent(**opening))
        streaming.lower_priority()
        ending: dict[str, str] = {"end": "killed", "why": "the training process was killed"}
        for message in messages:
            if "end" in message:
                ending = message
            else:
                store.stream(run_id, [tuple(row) for row in message["epochs"]])
        if ending["end"] != "finished":  # `record` completes the run of a finished training
            store.end(run_id, ending["end"].upper(), ending["why"])
    except StoreError as error:
        print(f"knownline: warning: not shown while it runs: {error}", file=sys.stderr)
    return 0


def _messages() -> Iterator[dict[str, Any]]:
    """Yield the messages on stdin."""
    for line in sys.stdin.buffer:
        if line.endswith(b"\n"):  # an incomplete line is the last of a killed trainer
            yield json.loads(line)
