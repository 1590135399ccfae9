"""The commands, and the help that lists them. Nothing heavy is imported until one is called."""

from importlib import import_module, metadata
from pathlib import Path

from knownline.door import importing
from knownline.errors import MissingError, UsageError

COMMANDS = {
    "generate": "draw the points, or read the table in data/own/         (stage 1)",
    "train": "fit the line by gradient descent                        (stage 2)",
    "evaluate": "hold the line against the truth, judge it, draw it      (stage 3)",
    "record": "write the run into MLflow, once                         (stage 4)",
    "reproduce": "do a recorded run again and prove it equal, bit for bit",
    "retrain": "a scheduled retraining: fresh data, gate, champion, report",
    "rollback": "put the previous champion back, and say why",
    "store": "carry the embedded store between machines that keep nothing",
    "champion": "who serves, since when, why, on which data and commit",
    "live": "show a training in MLflow while it runs; train starts it",
    "doctor": "look for what is wrong: store, runs, cache, files, packages",
    "summary": "fitted against true, the gate and the run, as files say",
    "ui": "open MLflow on 127.0.0.1, on the store runs go to",
    "completion": "print a script that completes all this in bash, zsh or fish",
    "article": "replay the article this project grew out of",
}


ANYWHERE = ("completion", "article")
"""What needs no checkout. Elsewhere any other command would make a store that nobody finds."""


def main(argv: list[str]) -> int:
    """Call the command that `argv` begins with, or print what there is."""
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(_help())
        return 0 if argv else 2
    if argv[0] == "--version":
        print(f"knownline {metadata.version('knownline')}")
        return 0
    if argv[0] not in COMMANDS:
        raise UsageError(f"the command must be one of {', '.join(COMMANDS)} (got {argv[0]})")
    asked = {"-h", "--help"} & set(argv)
    if argv[0] not in ANYWHERE and not asked and not Path("dvc.yaml").exists():
        raise MissingError(
            f"dvc.yaml must be in the current folder (got {Path.cwd()}, which has none: go to the"
            " top of the checkout)"
        )
    with importing():
        module = import_module(f"knownline.{argv[0]}")
    return int(module.main(argv[1:]))


def _help() -> str:
    lines = [f"  {name:<11}{summary}" for name, summary in COMMANDS.items()]
    return "\n".join(
        [
            "usage: knownline COMMAND [ARGUMENTS]",
            "",
            "A retraining pipeline whose right answer is known.",
            "",
            *lines,
            "",
            "knownline COMMAND --help tells of one, with an example.",
            "The whole pipeline: dvc repro, or make repro.",
        ]
    )
