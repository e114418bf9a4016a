"""Databases as a platform may hand them over: before the extension, with its older form, and half-way in between."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg

from ingest.migrate.files import discover
from ingest.migrate.functions import discover_functions

EVERY = tuple(file.name for file in (*discover(), *discover_functions()))
"""Every file of schema/migrations and schema/functions, as they are applied."""

FOLDER = Path(__file__).parent / "platform"
OLDER = sorted(FOLDER.glob("older_*.sql"))
BEFORE, WHOLE = 0, len(OLDER)
"""How many files of the older form ran: none, all."""

ORGANIZATION = "00000000-0000-0000-0000-000000000001"
PUMP = "00000000-0000-0000-0000-000000000011"
VALVE = "00000000-0000-0000-0000-000000000012"

CREATED = {
    "device_credential_access_log",
    "device_credentials",
    "device_firmware_history",
    "firmware_artifacts",
    "sync_conflicts",
}


async def build(dsn: str, older: int) -> None:
    """Make the platform's database with the first `older` files of the extension's older form."""
    connection = await asyncpg.connect(dsn)
    try:
        for path in (FOLDER / "base.sql", *OLDER[:older]):
            await connection.execute(path.read_text())
    finally:
        await connection.close()


async def until(condition: Callable[[], Awaitable[object]], *, within_s: float = 20.0) -> None:
    """Wait for a condition, with a bound."""
    async with asyncio.timeout(within_s):
        while not await condition():
            await asyncio.sleep(0.01)
