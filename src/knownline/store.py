"""`knownline store`: carry the embedded store between machines that keep nothing."""

import signal

from knownline import carriage, door, succession


def main(argv: list[str]) -> int:
    """Pull or push it. Raises: WorkspaceError where two machines wrote."""
    parser = door.Arguments(
        "store",
        "Carry mlruns/ between runners that keep nothing: its files go by the DVC remote, and the"
        f" git remote's branch {carriage.BRANCH} says which are the latest. One machine writes at a"
        " time.",
        "knownline store pull",
    )
    way = door.one_of("pull", "push")
    parser.add_argument("direction", type=way, metavar="{pull,push}", help="which way")
    direction = parser.parse_args(argv).direction
    signal.signal(signal.SIGTERM, door.interrupt)
    with succession.only_one():
        print(f"store: {carriage.pull() if direction == 'pull' else carriage.push()}")
    return 0
