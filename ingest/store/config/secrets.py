"""Where secrets are stored, for their rotation. The device credentials' place is to be added with their table's use."""

from collections.abc import AsyncIterator
from typing import NamedTuple
from uuid import UUID

import asyncpg

from ingest.store.queries import queries

MAX_CONCURRENT = 200
FIRST = UUID(int=0)


class StoredSecret(NamedTuple):
    """A secret as it is stored: encrypted, or as somebody wrote it. `place` is what its encryption is bound to."""

    integration_id: UUID
    integration: str
    place: str
    stored: str

    def __repr__(self) -> str:
        return f"StoredSecret({self.integration!r}, {self.place!r})"


PLACES = {
    "api_key": "api_key_encrypted",
    "password": "password",
    "webhook_secret": "webhook_secret",
    "webhook": "webhook.secret",
    "previous_webhook": "webhook.previous_secret",
    "tls_ca": "tls.ca",
    "tls_cert": "tls.cert",
    "tls_key": "tls.key",
    "nats_creds": "nats.creds",
    "nats_nkey": "nats.nkey",
}
"""Column of the query -> place."""
_COLUMN_UPDATES = {"api_key_encrypted": "replace_api_key", "webhook_secret": "replace_webhook_secret"}


async def stored_secrets(connection: asyncpg.Connection) -> AsyncIterator[StoredSecret]:
    """Yield every secret of every integration."""
    after = FIRST
    while rows := await connection.fetch(queries()["stored_secrets"], after, MAX_CONCURRENT):
        for row in rows:
            after = row["id"]
            for column, place in PLACES.items():
                if row[column]:
                    yield StoredSecret(row["id"], row["name"], place, row[column])


async def replace(connection: asyncpg.Connection, secret: StoredSecret, encrypted: str) -> bool:
    """Put `encrypted` where the secret still stands; False where somebody has changed it meanwhile."""
    values = secret.integration_id, secret.stored, encrypted
    update = _COLUMN_UPDATES.get(secret.place)
    if update is not None:
        done = await connection.execute(queries()[update], *values)
    else:
        done = await connection.execute(queries()["replace_setting"], *values, secret.place.split("."))
    return bool(done.endswith(" 1"))
