"""The peers, installed from their registries into a folder that goes away with the run."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import which

PYTHON_PACKAGES = ("faststream[mqtt]==0.7.8", "asyncpg>=0.30,<0.33")
NODE_PACKAGES = ("node@22", "node-red@5", "pg@8")
"""`pg` for a function node: the Postgres nodes that were looked at need pg 6, which gets no connection with Node 22."""
WITHIN_S = 600


class InstallError(Exception):
    """A peer could not be had; says which, from where, and what the installer answered."""


@contextmanager
def folder() -> Iterator[Path]:
    """Make the folder, and remove it afterwards."""
    with tempfile.TemporaryDirectory(prefix="rollcall-peers-") as name:
        yield Path(name)


def install_faststream(into: Path) -> dict[str, str]:
    """Make a virtual environment and return what its contender needs to be told. Raises: InstallError."""
    python = into / "python" / "bin" / "python"
    run("FastStream", [sys.executable, "-m", "venv", str(into / "python")])
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run("FastStream", [*pip, *PYTHON_PACKAGES])
    return {"BENCH_PYTHON": str(python)}


def install_node_red(into: Path) -> dict[str, str]:
    """Make Node-RED's user folder, with a Node of its own, and return what its contender needs to be told.

    Raises: InstallError.
    """
    npm = which("npm")
    if npm is None:
        raise InstallError("Node-RED: there is no npm on this machine; install Node.js")
    user = into / "node-red"
    user.mkdir()
    (user / "package.json").write_text('{"name": "peers", "private": true}\n')
    run("Node-RED", [npm, "install", "--no-audit", "--no-fund", "--prefix", str(user), *NODE_PACKAGES])
    return {"BENCH_NODE_RED": str(user)}


def run(peer: str, command: list[str]) -> None:
    """Run an installer. Raises: InstallError."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=WITHIN_S, check=False)
    except subprocess.TimeoutExpired:
        raise InstallError(f"{peer}: the registry did not answer within {WITHIN_S} s") from None
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        raise InstallError(f"{peer}: {Path(command[0]).name} ended with {done.returncode} and said: {said}")
