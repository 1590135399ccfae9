"""`knownline live`: what `train` starts to show a long training in MLflow while it runs.

Reads messages on stdin, one JSON object a line: what the run is, epochs, and how it ended. Where
stdin ends without a word, the trainer was killed, and the run says so.
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
    """Stream until stdin ends. A store that does not answer costs one line, not the training."""
    messages = _messages()
    try:
        store = tracking.Store()
        opening = next(messages, None)
        if opening is None:
            return 0
        run = store.begin(RunContent(**opening))
        streaming.lower_priority()
        end: dict[str, str] = {"end": "killed", "why": "the training process was killed"}
        for message in messages:
            if "end" in message:
                end = message
            else:
                store.stream(run, [tuple(row) for row in message["epochs"]])
        if end["end"] != "finished":  # a finished training is completed by record
            store.end(run, end["end"].upper(), end["why"])
    except StoreError as error:
        print(f"knownline: warning: not shown while it runs: {error}", file=sys.stderr)
    return 0


def _messages() -> Iterator[dict[str, Any]]:
    for line in sys.stdin.buffer:
        if line.endswith(b"\n"):  # half a line is the end of a killed trainer
            yield json.loads(line)
