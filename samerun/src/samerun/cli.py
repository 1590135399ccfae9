"""The commands of samerun, their arguments and their help.

Knows no command's code: a command's module is imported when the command runs.
"""

import signal
from importlib import import_module, metadata

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
        description="Record each run of a DVC pipeline in MLflow, and prove that it can be rerun.",
    )
    top.add_argument("--version", action="store_true", help="print the version")
    commands = top.add_subparsers(title="commands", dest="command", metavar="COMMAND")
    commands.add_parser(
        "run",
        usage="samerun run -- COMMAND [ARGUMENT ...]",
        help="execute a stage's command so that `record` knows of it",
        description="Execute a stage's command: check what it reads, keep its checkpoints, show it"
        " in MLflow while it runs, and leave a receipt for `samerun record`. The command gets two"
        " environment variables: SAMERUN_SCRATCH, a folder whose files survive a kill and are there"
        " when the stage is started with the same inputs again; and SAMERUN_LIVE, a file to which"
        ' it may append lines such as {"step": 12, "loss": 0.5}. SAMERUN_LIVE_AFTER sets after how'
        " many seconds a run is shown (by default 5; inf: never). Exit status: the command's, 128 +"
        " n if signal n ended it, 2 if it is refused.",
        example="samerun run -- python train.py",
    )
    commands.add_parser(
        "record",
        help="write the run into MLflow, once",
        description="Write the run into MLflow, once. DVC calls it, as the last stage.",
    )
    init = commands.add_parser(
        "init",
        help="add the stage that records to dvc.yaml",
        description="Add the stage that records to dvc.yaml, with what it must depend on. Comments"
        " and order stay, and no code changes. Called again, it says what the stage lacks. Exit"
        " status: 0 done or nothing to do, 1 something lacks, 2 could not run.",
        example="samerun init --wrap",
    )
    init.add_argument(
        "--wrap", action="store_true", help="put `samerun run -- ` before the stages' commands"
    )
    _add_proof(commands)
    _add_store(commands)
    return top


def _add_proof(commands: object) -> None:
    add = commands.add_parser  # type: ignore[attr-defined]
    reproduce = add(
        "reproduce",
        help="execute a recorded run again and compare the results",
        description="Execute a recorded run again in a folder of its own, and compare the results."
        " Exit status: 0 exact or within tolerance, 1 differs, 2 cannot be tried.",
        example="samerun reproduce 4f6c4bc7",
    )
    reproduce.add_argument(
        "run",
        nargs="?",
        help="a run's id, the beginning of one, its name, a DVC experiment's name, or"
        " [MODEL@]champion; by default the run of the results in dvc.lock",
    )
    reproduce.add_argument(
        "--stage",
        metavar="NAME",
        help="execute only this stage, with the inputs that the run had: is it deterministic?",
    )
    reproduce.add_argument("--keep", action="store_true", help="leave the folder it was done in")
    reproduce.add_argument(
        "--with-patch",
        action="store_true",
        help="apply the changes that a store other than the local one keeps with the run",
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


def _add_store(commands: object) -> None:
    add = commands.add_parser  # type: ignore[attr-defined]
    store = add(
        "store",
        help="sync the local MLflow store between ephemeral runners",
        description="Sync the local MLflow store between ephemeral runners. Its files go by the DVC"
        " remote; a branch of the git remote says which are the latest. One machine writes at a"
        " time.",
        example="samerun store pull",
    )
    store.add_argument("direction", choices=("pull", "push"), help="which way")
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
