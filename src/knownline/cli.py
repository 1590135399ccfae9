"""The commands, their arguments and their help.

Knows no command's code: a command's module is imported when the command runs.
"""

import argparse
import signal
from collections.abc import Callable
from datetime import date
from importlib import import_module, metadata
from pathlib import Path

from samerun.core.arguments import Parser, whole_number
from samerun.core.errors import MissingError, UsageError
from samerun.core.interrupts import importing, interrupt

ANYWHERE = ("completion", "article")
"""Commands that need no checkout. The others would create a store in the wrong folder."""


def main(argv: list[str]) -> int:
    """Run one command and return its exit status. Raises: UsageError for wrong arguments."""
    commands = parser()
    namespace, unknown = commands.parse_known_args(argv)
    options = vars(namespace)
    if unknown:  # argparse itself would point to the help of all commands
        program = f"knownline {options['command'] or ''}".strip()
        raise UsageError(f"unrecognized arguments: {' '.join(unknown)} (see {program} --help)")
    if options.pop("version"):
        print(f"knownline {metadata.version('knownline')}")
        return 0
    command, module = options.pop("command"), options.pop("module", "")
    if command is None:
        commands.print_help()
        return 2
    if command == "completion":
        import shtab

        print(shtab.complete(commands, shell=options["shell"]))
        return 0
    if command not in ANYWHERE and not Path("dvc.yaml").exists():
        raise MissingError(f"no dvc.yaml in {Path.cwd()}: change to the top folder of the checkout")
    signal.signal(signal.SIGTERM, interrupt)
    with importing():
        command_module = import_module(module)
    return int(command_module.main(**options))


def parser() -> Parser:
    """Return the parser of all commands, from which shell completions are generated too."""
    top = Parser(
        prog="knownline",
        description="A retraining pipeline that fits data with a known true answer.",
        epilog="Run the whole pipeline with `dvc repro` or `make repro`.",
    )
    top.add_argument("--version", action="store_true", help="print the version")
    commands = top.add_subparsers(title="commands", dest="command", metavar="COMMAND")

    def command(
        name: str, module: str, summary: str, details: str = "", example: str = ""
    ) -> Parser:
        subparser = commands.add_parser(
            name,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}. {details}".strip(),
            example=example,
        )
        subparser.set_defaults(module=module)
        return subparser

    _add_stages(command)
    _add_champions(command)
    command(
        "summary", "knownline.summary", "print the fit, the gate's verdict and the recorded run"
    )
    completion = command(
        "completion",
        "",
        "print a script that completes these commands in a shell",
        "bash and fish read it from a file; zsh runs it with eval (see docs/guide.md).",
        "knownline completion bash > ~/.knownline-completion",
    )
    completion.add_argument(
        "shell", choices=("bash", "zsh", "fish"), help="the shell to print it for"
    )
    command("article", "knownline.article", "replay the article this project grew out of")
    return top


def _add_stages(command: Callable[..., Parser]) -> None:
    command(
        "generate",
        "knownline.generate.stage",
        "draw the points, or read the table in data/own/ (stage 1)",
    )
    command("train", "knownline.train.stage", "fit the model (stage 2)")
    command(
        "evaluate",
        "knownline.evaluate.stage",
        "judge the fit by least squares, the truth and held-out rows (stage 3)",
    )
    command("report", "knownline.report.stage", "draw the report and the plots (stage 4)")


def _add_champions(command: Callable[..., Parser]) -> None:
    retrain = command(
        "retrain",
        "knownline.retrain.command",
        "retrain on fresh data, and compare the model with the champion",
        "Exit status: 0 promoted or kept, 3 refused, 2 could not run. It can be repeated on the"
        " same day.",
        "knownline retrain --push",
    )
    retrain.add_argument(
        "--seed",
        type=whole_number(0, 2**63 - 1),
        help="seed of the drawn data (default: the day as YYYYMMDD, UTC)",
    )
    retrain.add_argument(
        "--date", dest="day", type=_day, help="the day as YYYY-MM-DD (default: today, UTC)"
    )
    retrain.add_argument(
        "--force",
        action="store_true",
        help="retrain even if data, parameters and code are unchanged",
    )
    retrain.add_argument(
        "--push", action="store_true", help="push branch retrain/DATE and the outputs"
    )
    command(
        "champion",
        "knownline.retrain.champion",
        "print which model version is in production, since when, and why",
    )
    rollback = command(
        "rollback",
        "knownline.retrain.rollback",
        "restore the previous champion",
        "The reason is written to both versions.",
        'knownline rollback --reason "wrong from Monday on"',
    )
    rollback.add_argument("--reason", required=True, help="why, for those who read it later")
    rollback.add_argument(
        "--push", action="store_true", help="pull the store first, and push it afterwards"
    )


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        got = text.strip()[:80] or "nothing"
        raise argparse.ArgumentTypeError(f"must be YYYY-MM-DD (got {got})") from None
