"""`samerun COMMAND` and `python -m samerun COMMAND`."""

import sys


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit status."""
    words = sys.argv[1:] if argv is None else argv
    if words[:2] == ["run", "--"] and len(words) > 2:
        from samerun import run  # without argparse, since it delays every stage

        return run.exit_status(words[2:])
    from samerun import exits

    def command() -> int:
        from samerun import cli

        return cli.main(words)

    return exits.status_of(command, "samerun")


if __name__ == "__main__":
    sys.exit(main())
