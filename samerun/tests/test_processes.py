"""Which process a run belongs to, and whether it is gone, known from its name alone."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from samerun.execution import processes

NAME = "from samerun.execution import processes; print(processes.this_process(), flush=True)"


def test_a_process_is_gone_once_it_has_ended_and_never_if_nobody_here_can_tell() -> None:
    mine = processes.this_process()
    assert not processes.is_gone(mine)
    other = subprocess.check_output([sys.executable, "-c", NAME], text=True).strip()
    assert processes.is_gone(other)
    host, machine, boot, namespace, pid, started = mine.split(" ")
    here = f"{host} {machine} {boot} {namespace} {pid}"
    assert processes.is_gone(f"{here} {int(started) + 1}")  # its number was given to another
    assert not processes.is_gone(f"other-host {machine} {boot} {namespace} {pid} 1")
    assert not processes.is_gone(f"{host} {machine} {boot} pid:[1] {pid} 1")
    assert not processes.is_gone("")
    assert not processes.is_gone("what nobody wrote")


@pytest.mark.parametrize("initial", [True, False])
@pytest.mark.parametrize("machine", ["a-machine", ""])
def test_after_a_reboot_a_process_is_gone_unless_it_was_a_containers(
    monkeypatch: pytest.MonkeyPatch, initial: bool, machine: str
) -> None:
    """Containers of two machines may share a host's name and an image's machine-id."""
    namespace = "pid:[4026531836]" if initial else "pid:[4026532000]"
    read = processes._text
    monkeypatch.setattr(processes, "_namespace", lambda: namespace)
    monkeypatch.setattr(
        processes, "_text", lambda path: machine or "-" if "machine-id" in path else read(path)
    )
    host, name, _, *rest = processes.this_process().split(" ")
    assert name == (machine or "-")
    before = " ".join([host, name, "an-earlier-boot", *rest])
    assert processes.is_gone(before) is (initial and bool(machine))
    assert not processes.is_gone(before.replace(host, "other", 1))
    assert not processes.is_gone(before.replace(f" {name} ", " other "))


def test_a_killed_process_that_nobody_waited_for_is_gone() -> None:
    """It is a zombie, as in many a container."""
    command = [sys.executable, "-c", f"{NAME}; input()"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout
        name = child.stdout.readline().strip()
        assert not processes.is_gone(name)
        os.kill(child.pid, signal.SIGKILL)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # dead, and still listed
        assert Path(f"/proc/{child.pid}").exists()
        assert processes.is_gone(name)


@pytest.mark.parametrize("shell", [False, True])
def test_the_pipeline_is_the_process_that_started_the_stage(shell: bool) -> None:
    code = "from samerun.execution import processes; print(processes.pipeline_process())"
    command = [sys.executable, "-c", code]
    if shell:
        command = ["sh", "-c", f"{sys.executable} -c '{code}'; true"]

    def pipeline(stage: str) -> str:
        env = {**os.environ, "DVC_STAGE": stage}
        return subprocess.check_output(command, env=env, text=True).strip()

    assert pipeline("train") == processes.this_process()
    assert pipeline("") == "None"


def test_a_run_is_left_if_neither_its_process_nor_its_pipeline_is_there() -> None:
    here = processes.this_process()
    dead = here.rpartition(" ")[0] + " 1"
    assert processes.is_abandoned({"process": dead})
    assert processes.is_abandoned({"process": dead, "pipeline": dead})
    assert not processes.is_abandoned({"process": dead, "pipeline": here})
    assert not processes.is_abandoned({"process": here, "pipeline": dead})
    assert not processes.is_abandoned({"pipeline": dead})
    assert not processes.is_abandoned({})


ORPHAN = """
import os, sys, time
if os.fork():
    os._exit(0)
while os.getppid() == int(sys.argv[1]):
    time.sleep(0.01)
from samerun.execution import processes
print(processes.is_gone(processes.pipeline_process()))
"""


def test_a_stage_whose_dvc_is_gone_already_is_of_a_process_that_is_gone() -> None:
    """Otherwise init, which takes its children, would seem to run it for ever."""
    words = f"['python', '-c', {ORPHAN!r}, str(os.getpid())]"
    starter = f"import os; os.execv({sys.executable!r}, {words})"
    env = {**os.environ, "DVC_STAGE": "fit"}
    done = subprocess.run(
        [sys.executable, "-c", starter], env=env, capture_output=True, text=True, check=True,
        start_new_session=True,
    )  # fmt: skip
    assert done.stdout == "True\n"


WAITING = """
import signal, subprocess, sys, threading, time
from samerun.execution import processes
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(5)"])
signal.signal(signal.SIGTERM, lambda signum, frame: child.kill())
processes.wake_on_signals()


def send():
    time.sleep(0.5)  # so that the main thread waits: a signal before that is no test
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)


threading.Thread(target=send).start()
processes.wait_until_ended(child.pid)
print(child.wait())
"""


def test_a_signal_that_interrupts_no_call_of_the_waiting_thread_is_handled_all_the_same() -> None:
    """As one is that comes just before the call; here another thread receives it."""
    words = [sys.executable, "-c", WAITING]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout == f"{-signal.SIGKILL}\n"
