"""A Rollcall process that a test owns: started, killed, stopped."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path


class RollcallProcess:
    """`rollcall run` against a database; what it logs is in `log`."""

    def __init__(self, database: str, log: Path, **settings: str) -> None:
        self._environment = {
            **os.environ,
            "ROLLCALL_DATABASE_URL": database,
            "ROLLCALL_MARKER_INTERVAL_S": "0.5",
            "ROLLCALL_LEASE_TTL_S": "1",
            "ROLLCALL_HTTP_PORT": "0",
            **settings,
        }
        self.log = log
        self._began_at = 0
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start; a process that runs already is an error of the test."""
        assert self._process is None
        with self.log.open("ab") as log:
            self._began_at = log.tell()
            self._process = subprocess.Popen(
                [sys.executable, "-c", "from ingest.cli import main; main()", "run"],
                env=self._environment,
                stdout=log,
                stderr=log,
            )

    def kill9(self) -> None:
        """Kill it where it stands."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """Ask it to stop and return its exit code; longer than 10 s is a failure."""
        return self._end(signal.SIGTERM)

    def freeze(self) -> None:
        """Let it stand still: its connections stay open, and what comes waits in them."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    @property
    def running(self) -> bool:
        """Whether it is there; it may also have ended by itself."""
        return self._process is not None and self._process.poll() is None

    def port(self) -> int | None:
        """Return the port on which HTTP listens; None where it has not said so since it was started."""
        with self.log.open("rb") as log:
            log.seek(self._began_at)
            said = re.search(rb"HTTP listens on http://[^:\s]+:(\d+)", log.read())
        return int(said[1]) if said else None

    def rss_mib(self) -> float:
        """Return what it holds in memory now."""
        assert self._process is not None
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    def _end(self, with_signal: signal.Signals) -> int:
        if self._process is None:
            return 0
        self._process.send_signal(with_signal)
        try:
            return self._process.wait(10)
        finally:
            self._process.kill()
            self._process.wait(10)
            self._process = None
