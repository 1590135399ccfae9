"""What a run ran on: recorded beside its identity, not in it."""

import os
import platform
import socket
import sys
from functools import cache
from importlib import metadata
from pathlib import Path


def packages() -> dict[str, str]:
    """Return the version of every installed package, sorted by name: what pip freeze would say."""
    found = {d.metadata["Name"]: d.version for d in metadata.distributions() if d.metadata["Name"]}
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def version(package: str) -> str:
    """Return the installed version of a package without its local label (2.13.0+cpu is 2.13.0)."""
    return metadata.version(package).partition("+")[0]


def facts() -> dict[str, str]:
    """Return the machine and the interpreter: host, system, CPU, cores, python."""
    return {
        "host": socket.gethostname(),
        "system": platform.platform(),
        "cpu": _cpu(),
        "cores": str(os.cpu_count()),
        "python": sys.version.split()[0],
    }


@cache
def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
