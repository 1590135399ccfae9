"""`knownline rollback`: the previous champion serves again."""

import signal

from knownline import carriage, door, succession, tracking
from knownline.errors import StoreError, UsageError
from knownline.registry import DamagedModelError, Registry


def main(argv: list[str]) -> int:
    """Put the previous champion back and say so on both versions."""
    parser = door.Arguments(
        "rollback",
        "Put back the champion that the present one replaced; both versions say why.",
        'knownline rollback --reason "wrong from Monday on"',
    )
    parser.add_argument("--reason", required=True, help="why, for whoever reads it later")
    parser.add_argument(
        "--push", action="store_true", help="bring the carried store first, carry it off after"
    )
    given = parser.parse_args(argv)
    reason = " ".join(given.reason.split())
    if not reason:
        raise UsageError("--reason must say why (got an empty text)")
    signal.signal(signal.SIGTERM, door.interrupt)
    with succession.only_one():
        if given.push:
            print(f"rollback: {carriage.pull()}")
        registry = Registry(tracking.Store(create=False))
        try:
            left, back = succession.roll_back(registry, reason)
        except DamagedModelError as error:
            raise StoreError(f"the previous champion must be whole (got: {error})") from error
        print(f"rollback: {back.name} is the champion again, {left.name} is not: {reason}")
        if given.push:
            print(f"rollback: {carriage.push()}")
    return 0
