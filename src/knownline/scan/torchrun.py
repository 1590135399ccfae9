"""How many threads and processes share the work, and what these tell each other.

The result never depends on it. Processes are torchrun's (torch elastic, gloo): one that is started
by it finds the others through its environment. Knows nothing of what the work is.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from knownline.core.errors import WorkersError

if TYPE_CHECKING:  # else a stage's --help would wait for it
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float64]

MOST = 1024
"""Workers on one machine."""

MOST_THREADS = 32
"""Threads in a process: each holds some megabytes, and memory is to stay flat."""

PATIENCE = timedelta(hours=2)
"""How long workers wait for the slowest: they meet only before the pass and after it."""

ASKED = 64
"""How often a worker asks what to do next, where there are as many pieces: the last ones to be done
are a hundredth of its work."""

RESTARTS = 3
"""How often torchrun starts the workers anew when one of them dies."""


@dataclass(frozen=True, slots=True)
class ProcessGroup:
    """The processes that share a piece of work; rank 0 puts it together.

    Every process of a team calls the same methods in the same order.
    device: where a process works, and where what it tells the others must lie: cpu or cuda:N.
    store: what all of them can reach, a torch.distributed.Store; a team of one needs none.
    """

    rank: int = 0
    size: int = 1
    device: str = "cpu"
    store: Any = None

    def turns(self, count: int) -> Iterator[int]:
        """Return which of `count` pieces this process is to do: each is decided when asked for.

        Who is faster gets more of them; each goes to one process.
        """
        if self.size == 1:
            return iter(range(count))
        import numpy as np

        own = f"turns of {int(self.told(np.array([random.getrandbits(53)]))[0])}"
        return self._asked_for(own, count)

    def _asked_for(self, own: str, count: int) -> Iterator[int]:
        """Yield neighbours, as many as keep one store from being asked too often."""
        run = max(1, count // (ASKED * self.size))
        while (start := (self.store.add(own, 1) - 1) * run) < count:
            yield from range(start, min(start + run, count))

    def told(self, values: Array) -> Array:
        """Return rank 0's `values`, (n,), in every process."""
        if self.size == 1:
            return values
        import torch
        from torch import distributed

        tensor = torch.tensor(values, device=self.device)
        distributed.broadcast(tensor, src=0)
        return tensor.cpu().numpy()

    def least(self, values: Array) -> Array:
        """Return the least of all processes' `values`, (n,), one by one, in every process."""
        if self.size == 1:
            return values
        import torch
        from torch import distributed

        tensor = torch.tensor(values, device=self.device)
        distributed.all_reduce(tensor, distributed.ReduceOp.MIN)
        return tensor.cpu().numpy()

    def gathered(self, values: Array) -> Array:
        """Return in rank 0 the `values`, (any,), of every process; in the others: nothing."""
        if self.size == 1:
            return values
        import numpy as np
        import torch
        from torch import distributed

        own = torch.tensor([len(values)], device=self.device)
        counts = [torch.empty_like(own) for _ in range(self.size)]
        distributed.all_gather(counts, own)
        lengths = [int(count) for count in counts]
        padded = torch.zeros(max(lengths), dtype=torch.float64, device=self.device)
        padded[: len(values)] = torch.from_numpy(values)
        room = [torch.empty_like(padded) for _ in lengths] if self.rank == 0 else None
        distributed.gather(padded, room, dst=0)
        parts = [x.cpu().numpy()[:n] for x, n in zip(room or [], lengths, strict=False)]
        return np.concatenate(parts) if parts else np.empty(0)


ALONE = ProcessGroup()


def wanted() -> int:
    """Return KNOWNLINE_WORKERS, 1 where it is not set.

    Raises: WorkersError where it is no such number.
    """
    text = os.environ.get("KNOWNLINE_WORKERS", "").strip() or "1"
    if not re.fullmatch("[0-9]{1,9}", text) or not 1 <= int(text) <= MOST:
        raise WorkersError(
            f"KNOWNLINE_WORKERS must be a whole number from 1 to {MOST} (got {text[:80]})"
        )
    return int(text)


def cores() -> int:
    """Return how many cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        return os.cpu_count() or 1


def threads() -> int:
    """Return how many threads work in this process: OMP_NUM_THREADS, else a thread a core.

    torchrun sets it to 1 in its workers where nobody did.
    """
    text = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    found = int(text) if re.fullmatch("[0-9]{1,6}", text) else 0
    return min(found or cores(), MOST_THREADS)


def under_torchrun() -> bool:
    """Whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ and "RANK" in os.environ


@contextmanager
def joined(kind: str) -> Iterator[ProcessGroup]:
    """Yield the team that torchrun started, for work on a kind of device, cpu or cuda.

    NCCL wants a GPU for each process. Where a machine has fewer, its processes work on the CPU; a
    team is of one kind, so the machines of one should be alike.
    """
    import torch
    from torch import distributed
    from torch.distributed.rendezvous import rendezvous

    place = int(os.environ.get("LOCAL_RANK", "0"))
    neighbours = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    own_gpu = kind == "cuda" and torch.cuda.device_count() >= neighbours
    device = torch.device("cuda", place) if own_gpu else torch.device("cpu")
    store, rank, size = next(rendezvous("env://", timeout=PATIENCE))
    if os.environ.get("GROUP_WORLD_SIZE") == "1":
        # torchrun's processes may share one store over all restarts, where addresses of the dead
        # would be found: https://github.com/pytorch/pytorch/issues/135712. On several machines the
        # count of restarts is each one's own.
        restarts = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        store = distributed.PrefixStore(f"attempt {restarts}", store)  # type: ignore[attr-defined]
    distributed.init_process_group(
        "nccl" if own_gpu else "gloo",
        store=store,
        rank=rank,
        world_size=size,
        timeout=PATIENCE,
        device_id=device if own_gpu else None,
    )
    try:
        yield ProcessGroup(rank, size, str(device), store)
    finally:
        distributed.destroy_process_group()


def start(workers: int, *command: str) -> None:
    """Run a script and its arguments in so many processes of torchrun, and wait for their end.

    A process that dies makes torchrun start all of them anew.

    Raises: WorkersError with what they said last where that did not help.
    """
    env = _environment()
    env.setdefault("OMP_NUM_THREADS", str(max(1, cores() // workers)))
    # On one machine they meet on 127.0.0.1, whatever the machine's name resolves to.
    env.setdefault("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")
    run = [sys.executable, "-m", "torch.distributed.run", "--nnodes=1"]
    run += [f"--nproc-per-node={workers}", f"--max-restarts={RESTARTS}"]
    run += ["--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0", "--local-addr=127.0.0.1"]
    run += ["--monitor-interval=0.1"]
    with tempfile.TemporaryFile() as said, tempfile.TemporaryDirectory() as scratch:
        run += [f"--log-dir={scratch}"]  # else it makes a folder that it leaves behind
        with subprocess.Popen(
            [*run, *command], env=env, stdin=subprocess.DEVNULL, stdout=said, stderr=said
        ) as process:
            try:
                status = process.wait()
            except BaseException:
                process.terminate()  # it ends its workers, then itself
                process.wait()
                raise
        said.seek(0)
        if status:
            raise WorkersError(_why(workers, said.read().decode(errors="replace")))


def _environment() -> dict[str, str]:
    """Return the environment without what makes a process a stage: who helps one is none."""
    return {k: v for k, v in os.environ.items() if k != "DVC_STAGE"}


def _why(workers: int, said: str) -> str:
    """Return one line from what torchrun and its workers said."""
    prefix = "knownline: error: "
    ours = [line for line in said.splitlines() if line.startswith(prefix)]
    if ours:
        return ours[-1].removeprefix(prefix)
    codes = re.findall(r"exitcode\s*: *(-?\d+)", said)
    last = f"one ended with exit status {codes[-1]}" if codes else said.strip()[-200:] or "silence"
    return (
        "KNOWNLINE_WORKERS must be a number of processes that this machine can run to their end"
        f" (got {workers}: after {RESTARTS} restarts {last})"
    )


def script() -> str:
    """Return what torchrun is to start: this package, as the stages are."""
    return str(Path(__file__).resolve().parents[1] / "__main__.py")
