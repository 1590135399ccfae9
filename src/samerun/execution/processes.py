"""Which process a run belongs to, and whether that process is gone.

A process is named by host, machine, boot, container, number and start: together they name one
among all that ever ran anywhere.
"""

import os
import socket
from collections.abc import Mapping
from pathlib import Path

_INITIAL = "pid:[4026531836]"
"""The namespace of a machine's own processes, those of no container: a constant of Linux
(PROC_PID_INIT_INO in include/linux/proc_ns.h)."""


def this_process() -> str:
    """Return what names this process."""
    return " ".join([*_here(), str(os.getpid()), _started(os.getpid()) or "-"])


def pipeline_process() -> str | None:
    """Return what names the process of DVC that runs this stage; None where none does.

    It starts the stages that follow: while it lives, what this stage leaves is not left.
    """
    if not os.environ.get("DVC_STAGE"):
        return None
    pid = os.getppid()
    try:
        program = Path(f"/proc/{pid}/cmdline").read_bytes().partition(b"\0")[0]
        if program.endswith(b"sh"):  # the one that DVC calls the stage's command by
            pid = int(_fields(pid)[1])
    except (OSError, IndexError):
        return None
    started = _started(pid)
    return " ".join([*_here(), str(pid), started]) if started else None


def is_abandoned(tags: Mapping[str, str]) -> bool:
    """Return whether all who could end a run are gone: who trains or records it, and the pipeline.

    tags: the run's. Between the two stages only the pipeline is there.
    """
    return is_gone(tags.get("process", "")) and (
        "pipeline" not in tags or is_gone(tags["pipeline"])
    )


def is_gone(named: str) -> bool:
    """Return whether the process that `process` named ran here and runs no more.

    Where nobody here can tell (another host, another container), it is not taken to be gone.
    """
    try:
        host, machine, boot, namespace, pid, started = named.split(" ")
        number = int(pid)
    except ValueError:
        return False  # not a name that `process` gives
    here = _here()
    if (host, machine) != here[:2]:
        return False
    if boot != here[2]:
        # Of before a reboot, or the power failed. Containers of two machines can share a host's
        # name and an image's machine-id, so this holds for processes of no container only.
        return machine != "-" and namespace == here[3] == _INITIAL
    return namespace == here[3] and _started(number) != started


def _here() -> tuple[str, str, str, str]:
    """Return host, machine, boot and namespace; "-" for what this system does not tell."""
    return (
        socket.gethostname(),
        _text(Path("/etc/machine-id")),
        _text(Path("/proc/sys/kernel/random/boot_id")),
        _namespace(),
    )


def _text(path: Path) -> str:
    try:
        return path.read_text().strip() or "-"
    except OSError:
        return "-"


def _namespace() -> str:
    """Return what a process's number is relative to: the machine, or a container."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return "-"  # no /proc: processes are told by their number alone


def _fields(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the third on: state, parent, … Raises: OSError."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _started(pid: int) -> str | None:
    """Return when a process started, in ticks since the boot: no clock can be set that changes it.

    None where there is no such process, or only its number, which nobody has asked after yet (a
    zombie). Source: proc(5), /proc/PID/stat, fields 3 and 22.
    """
    try:
        fields = _fields(pid)
        return None if fields[0] in "ZX" else fields[19]
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
