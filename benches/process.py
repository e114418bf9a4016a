"""The process of a contender: start, stop, what it used."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import psutil

from benches.contenders.place import Place


def start(contender: str, place: Place, settings: Mapping[str, str] | None = None) -> psutil.Popen:
    """Start a contender, with further variables in its environment; BENCH_PYTHON is an interpreter of its own."""
    env = {**place.environment(), **(settings or {})}
    python = env.get("BENCH_PYTHON", sys.executable)
    return psutil.Popen([python, "-m", f"benches.contenders.{contender}"], env=env)


def stop(process: psutil.Popen) -> None:
    """Stop a contender."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)


def cpu(process: psutil.Process) -> float:
    """User and system seconds of a process."""
    times = process.cpu_times()
    return times.user + times.system


def peak_mib(process: psutil.Process) -> float:
    """The most memory the process has held; where the kernel does not say, what it holds now."""
    status = Path(f"/proc/{process.pid}/status")
    if status.exists():
        kib = next(line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(kib) / 1024
    return process.memory_info().rss / 2**20
