"""Which process a run belongs to, and whether that process is gone.

A process is named by host, machine, boot, PID namespace, PID and start time. Together they are
unique among all processes that ever ran on any machine.
"""

import os
import select
import signal
from collections.abc import Callable, Mapping
from types import FrameType

_INITIAL = "pid:[4026531836]"
"""The PID namespace of processes outside any container, a constant of Linux
(PROC_PID_INIT_INO in include/linux/proc_ns.h)."""


def this_process() -> str:
    """Return the name of this process."""
    return " ".join([*_here(), str(os.getpid()), started(os.getpid()) or "-"])


def pipeline_process() -> str | None:
    """Return the name of the DVC process that runs this stage; None if DVC does not run it.

    It starts the next stages: while it lives, a run of this stage is not abandoned. If it has been
    killed already, another process is this one's parent; the name is then that of no process.
    """
    if not os.environ.get("DVC_STAGE"):
        return None
    pid = os.getppid()
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as stream:
            program = stream.read().partition(b"\0")[0]
        if program.endswith(b"sh"):  # the shell in which DVC runs the stage's command
            pid = int(_fields(pid)[1])
    except (OSError, IndexError):
        return None
    if _is_reparented(pid):
        return " ".join([*_here(), "0", "-"])
    since = started(pid)
    return " ".join([*_here(), str(pid), since]) if since else None


def _is_reparented(parent: int) -> bool:
    """Return whether this process has a new parent because the old one is gone.

    DVC starts a stage in its own process group, which init or a service manager is not in. If this
    process leads a group of its own, that cannot be known: the answer is False.
    """
    group = os.getpgrp()
    try:
        return group != os.getpid() and int(_fields(parent)[2]) != group
    except (OSError, IndexError, ValueError):
        return False


def is_abandoned(tags: Mapping[str, str]) -> bool:
    """Return whether every process that could complete a run is gone.

    Those are the process that trains or records it and, between these stages, the DVC process.
    tags: of the run.
    """
    return is_gone(tags.get("process", "")) and (
        "pipeline" not in tags or is_gone(tags["pipeline"])
    )


def is_gone(name: str) -> bool:
    """Return whether a process ran on this machine and no longer does.

    name: as `this_process` returned it. A process of another host or container cannot be
    checked from here, so it does not count as gone.
    """
    try:
        host, machine, boot, namespace, pid, since = name.split(" ")
        number = int(pid)
    except ValueError:
        return False  # not a name that `this_process` returns
    here = _here()
    if (host, machine) != here[:2]:
        return False
    if boot != here[2]:
        # The machine has rebooted since. Containers on two machines can share a host name and, from
        # their image, a machine-id, so this is certain only for processes outside any container.
        return machine != "-" and namespace == here[3] == _INITIAL
    return namespace == here[3] and started(number) != since


def _here() -> tuple[str, str, str, str]:
    """Return host, machine, boot and PID namespace; "-" for each that this system does not have."""
    return (
        os.uname().nodename,
        _text("/etc/machine-id"),
        _text("/proc/sys/kernel/random/boot_id"),
        _namespace(),
    )


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as stream:
            return stream.read().strip() or "-"
    except OSError:
        return "-"


def _namespace() -> str:
    """Return the PID namespace of this process: the machine's, or a container's."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return "-"  # without /proc, only the PID identifies a process


def _fields(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the third on: state, parent, … Raises: OSError."""
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stream:
        return stream.read().rpartition(")")[2].split()


def started(pid: int) -> str | None:
    """Return when a process started, in ticks since the boot, whatever the clock is set to.

    None if there is no such process, or if it is a zombie: ended, but not yet waited for.
    "-" without /proc. Source: proc(5), /proc/PID/stat, fields 3 and 22.
    """
    try:
        fields = _fields(pid)
        return None if fields[0] in "ZX" else fields[19]
    except OSError:
        if os.path.exists("/proc/self"):
            return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return "-"


def handle_ends(handler: Callable[[int, FrameType | None], object]) -> None:
    """Call a handler when this process is to end: by SIGTERM, or by its terminal, unless nohup."""
    signal.signal(signal.SIGTERM, handler)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, handler)


_wakeup: list[int] = []
"""The read end of a pipe that any signal writes to; set by `wake_on_signals`."""


def wake_on_signals() -> None:
    """Make every signal that this process has a handler for wake `wait_until_ended`.

    SIGCHLD gets a handler too: if it is ignored, a child's exit status is lost.
    """
    reading, writing = os.pipe()
    for end in (reading, writing):
        os.set_blocking(end, False)
    signal.signal(signal.SIGCHLD, lambda signum, frame: None)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    _wakeup[:] = [reading]


def wait_until_ended(child: int) -> None:
    """Wait until a child has ended, without reaping it; signal handlers run meanwhile.

    A blocking call is no alternative: a signal that comes just before it, while this thread passes
    on the interpreter's lock, does not interrupt it, so its handler would run only after the child
    has ended.
    """
    while os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
        select.select(_wakeup, [], [])
        os.read(_wakeup[0], 4096)
