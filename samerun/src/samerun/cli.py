"""The commands of samerun, their arguments and their help.

A command's module is imported only when the command runs.
"""

import signal
from importlib import import_module, metadata
from typing import Any

from samerun.core.arguments import Parser, whole_number
from samerun.core.errors import UsageError
from samerun.core.interrupts import importing, interrupt


def main(argv: list[str]) -> int:
    """Run one command and return its exit status. Raises: UsageError for wrong arguments."""
    commands = parser()
    namespace, unknown = commands.parse_known_args(argv)
    options = vars(namespace)
    if options["command"] == "run":
        raise UsageError("run needs a command after `--`: samerun run -- python train.py")
    if unknown:
        program = f"samerun {options['command'] or ''}".strip()
        raise UsageError(f"unrecognized arguments: {' '.join(unknown)} (see {program} --help)")
    if options.pop("version"):
        print(f"samerun {metadata.version('samerun')}")
        return 0
    command = options.pop("command")
    if command is None:
        commands.print_help()
        return 2
    signal.signal(signal.SIGTERM, interrupt)
    with importing():
        module = import_module(f"samerun.{command}")
    return int(module.main(**options))


def parser() -> Parser:
    """Return the parser of all commands."""
    top = Parser(
        prog="samerun",
        description="Record each run of a DVC pipeline in MLflow, and prove it can be repeated.",
    )
    top.add_argument("--version", action="store_true", help="print the version")
    commands = top.add_subparsers(title="commands", dest="command", metavar="COMMAND")
    commands.add_parser(
        "run",
        usage="samerun run -- COMMAND [ARGUMENT ...]",
        help="execute a stage's command so that its execution can be recorded",
        description="Execute a stage's command: check its inputs, keep its checkpoints, show it in"
        " MLflow while it runs, and write a receipt for `samerun record`. The command gets two"
        " environment variables. SAMERUN_SCRATCH names a folder for checkpoints: its files survive"
        " a kill and are there when the stage starts again with the same inputs. SAMERUN_LIVE names"
        ' a file to which it may append lines such as {"step": 12, "loss": 0.5}. Set'
        " SAMERUN_LIVE_AFTER to change after how many seconds a run is shown (by default 5; inf:"
        " never). Exit status: that of the command, 128 + n if signal n ended it, 2 if samerun"
        " refuses to run it or to accept its result.",
        example="samerun run -- python train.py",
    )
    commands.add_parser(
        "record",
        help="write the run into MLflow, once",
        description="Write the run into MLflow, once. DVC calls it, as the last stage.",
    )
    init = commands.add_parser(
        "init",
        help="add a record stage to dvc.yaml",
        description="Add a record stage to dvc.yaml, with all that it must depend on. Comments and"
        " order stay, and no code changes. If there is a record stage, print what it lacks. Exit"
        " status: 0 done or nothing to do, 1 the record stage lacks something, 2 could not run.",
        example="samerun init --wrap",
    )
    init.add_argument(
        "--wrap", action="store_true", help="put `samerun run -- ` before the stages' commands"
    )
    _add_proof(commands)
    _add_store(commands)
    return top


def _add_proof(commands: Any) -> None:
    add = commands.add_parser
    reproduce = add(
        "reproduce",
        help="execute a recorded run again and compare the results",
        description="Execute a recorded run again in a temporary checkout, and compare the results."
        " Exit status: 0 exact or within the declared tolerance, 1 differs, 2 cannot be tried.",
        example="samerun reproduce 4f6c4bc7",
    )
    reproduce.add_argument(
        "run",
        nargs="?",
        help="a run's name, its id or the first characters of its id, a DVC experiment's name, or"
        " [MODEL@]champion; by default the run of the results in dvc.lock",
    )
    reproduce.add_argument(
        "--stage",
        metavar="NAME",
        help="execute only this stage, with the run's inputs, to see if it is deterministic",
    )
    reproduce.add_argument("--keep", action="store_true", help="keep the temporary checkout")
    reproduce.add_argument(
        "--with-patch",
        action="store_true",
        help="apply the run's uncommitted changes even if its store is not the local one",
    )
    doctor = add(
        "doctor",
        help="look for problems: store, runs, cache, files, packages",
        description="Look for problems: store, runs, cache, files, packages. Exit status: 0"
        " healthy, 1 findings, 2 could not run.",
        example="samerun doctor --repair",
    )
    doctor.add_argument(
        "--repair",
        action="store_true",
        help="apply the fixes that cannot lose data",
    )


def _add_store(commands: Any) -> None:
    add = commands.add_parser
    store = add(
        "store",
        help="sync the local MLflow store between ephemeral runners",
        description="Sync the local MLflow store between ephemeral runners. Its files go to the DVC"
        " remote; a branch of the git remote says which are the latest. Only one machine may write"
        " at a time.",
        example="samerun store pull",
    )
    store.add_argument(
        "direction", choices=("pull", "push"), help="get the remote store, or send the local one"
    )
    ui = add(
        "ui",
        help="open MLflow on 127.0.0.1",
        description="Open MLflow on 127.0.0.1.",
        example="samerun ui --port 5001",
    )
    ui.add_argument(
        "--port",
        type=whole_number(0, 2**16 - 1),
        default=5000,
        help="the port to listen on (by default 5000); 0: a free one",
    )
