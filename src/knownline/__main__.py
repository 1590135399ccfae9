"""`knownline COMMAND`, `python -m knownline COMMAND` and `python src/knownline COMMAND`.

DVC uses the last form, which runs the code in the current folder, whether or not knownline is
installed. So an experiment in a temporary folder runs its own code and not the workspace's.
"""

import sys
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    __package__ = "knownline"


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit status: 0, or 2 for a user's mistake."""
    if sys.version_info < (3, 11):  # noqa: UP036 — `python` may be any version
        print(
            f"knownline: error: python must be 3.11 or newer (got {sys.version.split()[0]})",
            file=sys.stderr,
        )
        return 2
    try:
        from samerun import exits
    except ModuleNotFoundError as error:
        print(
            f"knownline: error: {error.name} is not installed for {sys.executable}: run `make`, or"
            " put the bin folder of the environment that has it first on PATH",
            file=sys.stderr,
        )
        return 2

    def command() -> int:
        from knownline import cli

        return cli.main(sys.argv[1:] if argv is None else argv)

    return exits.status_of(command, "knownline")


if __name__ == "__main__":
    sys.exit(main())
