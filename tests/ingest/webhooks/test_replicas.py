"""Two replicas on one database get the same event at the same moment."""

import asyncio
from typing import Any

import asyncpg

from tests.http_client import http_client
from tests.ingest.service import running
from tests.waiting import WAITING

OPEN = {"webhook": {"auth": "none"}}
BATCH = {"content-type": "application/cloudevents-batch+json"}
TOLD = "select count(*) from rollcall.device_events where kind = 'firmware'"
"""An event without a time that is applied twice says its versions anew."""


def event(number: int) -> dict[str, Any]:
    """Each undoes what the one before has said of the same device."""
    return {
        "specversion": "1.0", "id": f"e{number}", "source": "/cloud", "type": "reading", "subject": "dev-1",
        "data": {"fw": f"v{number}", f"n{number}": number},
    }  # fmt: skip


async def test_an_event_that_two_replicas_get_at_once_is_applied_by_one_and_answered_by_both(
    database: str,
) -> None:
    async with running(database, None) as one, running(database, None) as other:
        integration = await one.add_webhooks(**OPEN)
        await other.knows(integration)
        urls = [f"{service.url}/webhooks/{integration}" for service in (one, other)]
        async with http_client() as client:
            assert (await client.post(urls[0], json=[event(0)], headers=BATCH)).status_code == 200
            async with asyncpg.create_pool(database, min_size=1, max_size=1) as pool:
                async with pool.acquire() as blocker, blocker.transaction():
                    await blocker.execute("lock table rollcall.device_state in access exclusive mode")
                    bodies = [[event(1), event(2)], [event(2), event(3)]]
                    posts = [
                        asyncio.create_task(client.post(url, json=body, headers=BATCH))
                        for url, body in zip(urls, bodies, strict=True)
                    ]
                    await one.sees(WAITING, 2, "rollcall.apply(")
                answers = await asyncio.gather(*posts)
        assert [answer.status_code for answer in answers] == [200, 200]
        results = sorted(
            (one["id"].split()[0], one["result"]) for answer in answers for one in answer.json()["results"]
        )
        assert results == [("e1", "applied"), ("e2", "applied"), ("e2", "duplicate"), ("e3", "applied")]
        moved = """select count(*) from rollcall.device_readings r join device_firmware_history h
            on h.device_id = r.device_id and h.firmware_version = 'v' || substr(r.name, 2)
            where r.at <> rollcall.micros_of(h.installed_at)"""
        assert await one.pool.fetchval(moved) == 0
        assert await one.pool.fetchval(TOLD) == 4
