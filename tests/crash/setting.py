"""The setting of a Rollcall process that is to be hurt: an integration in its database, and a connection."""

import asyncpg
import orjson

from tests.waiting import until


async def add_integration(database: str, port: int, **settings: object) -> None:
    connection = await asyncpg.connect(database)
    try:
        organization = await connection.fetchval(
            "insert into organizations (name, slug) values ('o', 'o') returning id"
        )
        await connection.execute(
            "insert into device_integrations (organization_id, integration_type, name, settings)"
            " values ($1, 'mqtt', 'm', $2)",
            organization,
            orjson.dumps({"host": "127.0.0.1", "port": port, "protocol": "5", **settings}).decode(),
        )
    finally:
        await connection.close()


async def connected_once(database: str) -> None:
    connection = await asyncpg.connect(database)

    async def connected() -> bool:
        return bool(
            await connection.fetchval("select count(*) from rollcall.mqtt_sessions where state = 'connected'")
        )

    try:
        await until(connected, 15, "Rollcall is connected")
    finally:
        await connection.close()
