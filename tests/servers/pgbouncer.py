"""A pgbouncer in front of a Postgres that a test owns."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Literal

from tests.servers.postgres import SYSTEM_USER, PostgresServer, free_port

START_WITHIN_S = 20.0


def executable() -> str | None:
    """Return the path of pgbouncer, or None when it is not installed."""
    return shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


class PgBouncer:
    """One pgbouncer on a port of its own; `dsn` is like the server's, through the pool."""

    def __init__(
        self, server: PostgresServer, mode: Literal["transaction", "session"] = "transaction"
    ) -> None:
        self.server = server
        self.mode = mode
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="rollcall-bouncer-"))
        self._process: subprocess.Popen[bytes] | None = None

    def dsn(self, database: str = "postgres", *, user: str = "postgres") -> str:
        """Return the address of a database through the pool."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start and return when connections are accepted. Raises: RuntimeError."""
        found = executable()
        if found is None:
            raise RuntimeError("pgbouncer is not installed: apt install pgbouncer")
        configuration = self.folder / "pgbouncer.ini"
        (self.folder / "users").write_text('"postgres" ""\n')
        configuration.write_text(
            f"[databases]\n* = host=127.0.0.1 port={self.server.port}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {self.port}\nunix_socket_dir =\n"
            f"auth_type = trust\nauth_file = {self.folder / 'users'}\npool_mode = {self.mode}\n"
            "max_client_conn = 200\n"
        )
        user: int | None = None
        if os.geteuid() == 0:
            user = pwd.getpwnam(SYSTEM_USER).pw_uid
            for place in (self.folder, *self.folder.iterdir()):
                os.chown(place, user, -1)
        with (self.folder / "log").open("ab") as log:
            command = [found, str(configuration)]
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, start_new_session=True, user=user
            )
        self._await_ready()

    def stop(self) -> None:
        """Kill it and remove its folder."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(timeout=20)
            self._process = None
        shutil.rmtree(self.folder, ignore_errors=True)

    def _await_ready(self) -> None:
        deadline = time.monotonic() + START_WITHIN_S
        while self._process is not None and self._process.poll() is None and time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.01)
        raise RuntimeError(f"pgbouncer did not start: {(self.folder / 'log').read_text()[-2000:]}")
