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


def process() -> str:
    """Return what names this process among all that ever ran on any host."""
    return f"{socket.gethostname()} {_namespace()} {os.getpid()} {_started(os.getpid())}"


def is_gone(named: str) -> bool:
    """Return whether the process that `process` named ran here and runs no more.

    Where nobody here can tell (another host, another container), it is not taken to be gone.
    """
    host, namespace, pid, started = named.split(" ")
    if (host, namespace) != (socket.gethostname(), _namespace()):
        return False
    return _started(int(pid)) != started


def _namespace() -> str:
    """Return what numbers of processes are relative to: the boot, and the container."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return "-"  # no /proc: processes are told by their number alone


def _started(pid: int) -> str | None:
    """Return when a process started, in ticks since the boot: no clock can be set that changes it.

    None where there is no such process. Source: proc(5), /proc/PID/stat, field 22.
    """
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        if Path("/proc/self").exists():
            return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return "-"


@cache
def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
