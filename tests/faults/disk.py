"""A disk that can be full: a tmpfs that holds one table or, where nothing may be mounted, a limit on the size of files.

With RLIMIT_FSIZE no connection of Rollcall's can write to a file. Where that file is the write-ahead log, Postgres ends
all its connections and starts again, which is what it does on a disk that is full to the last byte.
"""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import asyncpg

from tests.servers.postgres import PostgresServer

SIZE_MIB = 32
BACKENDS = "select pid from pg_stat_activity where application_name = 'rollcall'"


class Disk:
    """`way` says how it is made full: tmpfs or RLIMIT_FSIZE."""

    def __init__(self, postgres: PostgresServer) -> None:
        self._postgres = postgres
        self._folder = postgres.folder / "small"
        self.way = "RLIMIT_FSIZE"

    def mount(self) -> None:
        """Mount the tmpfs and let the timeline live there, where this process may."""
        self._folder.mkdir()
        options = ["-t", "tmpfs", "-o", f"size={SIZE_MIB}m,mode=777", "rollcall-test", str(self._folder)]
        if subprocess.run(["mount", *options], capture_output=True).returncode:
            return
        self.way = "tmpfs"
        data = self._folder / "data"
        data.mkdir(mode=0o777)
        owner = self._postgres.folder.stat()
        os.chown(data, owner.st_uid, owner.st_gid)
        self._postgres.psql(f"create tablespace small location '{data}'")
        self._postgres.psql("alter table rollcall.device_events set tablespace small")

    def unmount(self) -> None:
        """Stop Postgres, and give the tmpfs back."""
        if self.way == "tmpfs":
            self._postgres.stop()
            subprocess.run(["umount", str(self._folder)], check=True)

    @asynccontextmanager
    async def full(self, administrator: asyncpg.Connection) -> AsyncIterator[None]:
        """For as long as the block lasts nothing more fits."""
        if self.way == "tmpfs":
            ballast = self._folder / "ballast"
            _fill(ballast)
            try:
                yield
            finally:
                ballast.unlink()
            return
        limiting = asyncio.create_task(_limit(administrator, self._postgres.folder))
        try:
            yield
        finally:
            limiting.cancel()
            await asyncio.gather(limiting, return_exceptions=True)


def _fill(ballast: Path) -> None:
    """Write until nothing fits any more; the free space that is left is smaller than a page of Postgres."""
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"\0" * 4_096)


async def _limit(administrator: asyncpg.Connection, folder: Path) -> None:
    """Let no connection of Rollcall write a byte to any file, those that come meanwhile included.

    As the user that Postgres runs as, who may do that without any right.
    """
    owner = folder.stat()
    while True:
        with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            for row in await administrator.fetch(BACKENDS):
                command = ["prlimit", f"--pid={row['pid']}", "--fsize=0:"]
                subprocess.run(command, capture_output=True, user=owner.st_uid, group=owner.st_gid)
        await asyncio.sleep(0.05)
