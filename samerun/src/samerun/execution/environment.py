"""The environment of a run: recorded with the run, but not part of its identity."""

import os
import platform
import re
import socket
import sys
from functools import cache
from importlib import metadata
from pathlib import Path

_FIELD = re.compile(r"^(Name|Version):[ \t]*(\S.*?)[ \t]*$", re.MULTILINE)
"""A line of a package's METADATA, which has the format of a mail header (PEP 566)."""


def packages() -> dict[str, str]:
    """Return the version of every installed package, sorted by name, as pip freeze lists them.

    Only two lines of each file are read. importlib would parse every file three times as a mail
    message, README included, which takes longer than a short training.
    """
    versions: dict[str, str] = {}
    for package in metadata.distributions():
        text = package.read_text("METADATA") or package.read_text("PKG-INFO") or ""
        fields = dict(_FIELD.findall(text.partition("\n\n")[0]))
        if "Name" in fields:  # if a package is on the path twice, Python imports the first
            versions.setdefault(fields["Name"], fields.get("Version", ""))
    return dict(sorted(versions.items(), key=lambda item: item[0].lower()))


def version(package: str) -> str:
    """Return the installed version of a package without its local label (2.13.0+cpu is 2.13.0)."""
    return metadata.version(package).partition("+")[0]


def facts() -> dict[str, str]:
    """Return the machine and the interpreter as tags: host, system, cpu, cores, python."""
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
