"""The time that `samerun run` adds: each stage of the pipeline with and without it, in turn.

The figures are medians. DVC's index is loaded while the stage runs, so a short stage waits for it:
the last line is that of a stage that does nothing. Run it on a machine that does nothing else.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STAGES = ("generate", "train", "evaluate", "report")
EMPTY = """
  empty:
    cmd: samerun run -- true
    deps: [src/knownline/core]
"""


def main() -> None:
    """Print one line for each stage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=5, help="repetitions a side (5)")
    times = parser.parse_args().times
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "work"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
        path = folder / "dvc.yaml"
        path.write_text(path.read_text().replace("stages:", f"stages:{EMPTY}", 1))
        _seconds(folder, "", ["dvc", "repro", "--quiet"])
        for stage in (*STAGES, "empty"):
            own = ["true"] if stage == "empty" else ["python", "src/knownline", stage]
            pairs = [
                (_seconds(folder, stage, ["samerun", "run", "--", *own]), _seconds(folder, "", own))
                for _ in range(times)
            ]
            ours, alone = (statistics.median(side) for side in zip(*pairs, strict=True))
            print(f"{stage}: {ours:.2f} s with samerun run, {alone:.2f} s without,"
                  f" {1000 * (ours - alone):.0f} ms more (medians of {times})")  # fmt: skip


def _seconds(folder: Path, stage: str, command: list[str]) -> float:
    """Return the seconds of a command. stage: its name in DVC, or empty."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("DVC_", "MLFLOW_"))}
    env |= {"DVC_NO_ANALYTICS": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
    if stage:
        env |= {"DVC_STAGE": stage, "DVC_ROOT": str(folder)}
    began = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    took = time.perf_counter() - began
    if done.returncode:
        sys.exit(f"{command} in {folder}:\n{done.stdout}\n{done.stderr}")
    return took


if __name__ == "__main__":
    main()
