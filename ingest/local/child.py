"""A process of ours: started apart from the terminal's Ctrl-C, ended by its own pid and no other."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


class Child:
    """One process. Its output goes to `log`, its pid to a file beside it, so that the next run finds a left-over."""

    def __init__(
        self, command: Sequence[str], log: Path, *, owner: Mapping[str, Any] | None = None, **environment: str
    ) -> None:
        self.command = list(command)
        self.log = log
        self._pid_file = log.with_suffix(".pid")
        self._owner = dict(owner or {})
        self._environment = environment
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        """The process id, while it runs."""
        return self._process.pid if self._process is not None and self.running else None

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start it."""
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self.command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self._environment},
                start_new_session=True,
                **self._owner,
            )
        self._pid_file.write_text(identity_of(self._process.pid))

    async def accepts(self, port: int, within_s: float) -> bool:
        """Wait until `port` of 127.0.0.1 takes connections; False when it ends before, or the time is over."""
        end = time.monotonic() + within_s
        while time.monotonic() < end and self.running:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return self.running
        return False

    async def wait(self) -> int:
        """Wait until it has ended and return its code: negative for a signal."""
        return await self._process.wait() if self._process is not None else 0

    async def stop(self, number: signal.Signals = signal.SIGTERM, within_s: float = 15.0) -> None:
        """Ask it to end, and kill it when it has not after `within_s`."""
        if self._process is None:
            return
        for sent in (number, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(sent)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), within_s)
                break
        self._pid_file.unlink(missing_ok=True)

    def tail(self, lines: int = 10) -> str:
        """Return the last lines of its output."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])


def end_left_over(pid_file: Path, within_s: float = 15.0) -> None:
    """End the process that an earlier run left behind, if the one that `pid_file` names is still that one."""
    try:
        identity = pid_file.read_text()
        pid = int(identity.split()[0])
    except (OSError, ValueError, IndexError):
        return
    for number in (signal.SIGINT, signal.SIGKILL):
        end = time.monotonic() + within_s
        with contextlib.suppress(ProcessLookupError):
            if identity_of(pid) == identity:
                os.kill(pid, number)
        while identity_of(pid) == identity and time.monotonic() < end:
            time.sleep(0.05)
    pid_file.unlink(missing_ok=True)


def identity_of(pid: int) -> str:
    """Return the pid with the time of its start, which no later process shares.

    Where there is no /proc no process is ever known again, and so none is ended.
    """
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return f"{pid} ended"
    return f"{pid} ended" if state in "ZX" else f"{pid} {fields[18]}"
