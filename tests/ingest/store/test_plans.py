"""How Postgres runs the hot statements: by index or ctid, whatever the fleet's size, and nothing spills to disk."""

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from handlers.events import SECOND, DeviceKey, Observation, Presence
from handlers.evidence import Evidence
from ingest.store.commit.batch import Batch, SessionProgress, Target
from ingest.store.commit.columns import DIGESTS_KEPT, apply_arguments
from ingest.store.queries import queries
from tests.strategies import INTEGRATION, OFFLINE_AFTER, START

DEVICES = 20_000
BATCH = 1_000
LARGE = {"devices", "device_state", "device_identity", "device_firmware", "firmware_points", "device_events"}
SETTINGS = {
    "session_preload_libraries": "auto_explain",
    "auto_explain.log_min_duration": "0",
    "auto_explain.log_analyze": "on",
    "auto_explain.log_format": "json",
    "auto_explain.log_nested_statements": "on",
    "client_min_messages": "log",
}


class Explained:
    """A connection that keeps the plan of every statement, those inside functions too."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self.connection = connection
        self.plans: list[dict[str, Any]] = []
        connection.add_log_listener(self._keep)

    def _keep(self, _: object, message: asyncpg.PostgresLogMessage) -> None:
        _, _, plan = message.message.partition("plan:\n")
        if plan:
            self.plans.append(json.loads(plan))

    def nodes(self) -> Iterator[dict[str, Any]]:
        """Every node of every plan so far."""
        for plan in self.plans:
            yield from nodes(plan)

    def assert_sound(self) -> None:
        """No large table is read from end to end, and no sort or hash goes to disk."""
        for plan in self.plans:
            scans = {node["Relation Name"] for node in nodes(plan) if _reads_all(node)}
            assert not scans & LARGE, plan["Query Text"]
        assert not [node for node in self.nodes() if node.get("Sort Space Type") == "Disk"]
        assert not [node for node in self.nodes() if node.get("Hash Batches", 1) > 1]


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every node of one plan."""
    waiting = [plan["Plan"]]
    while waiting:
        node = waiting.pop()
        waiting += node.get("Plans", [])
        yield node


def _reads_all(node: dict[str, Any]) -> bool:
    return (
        node["Node Type"] == "Seq Scan" and node.get("Actual Rows", 0) * node.get("Actual Loops", 1) > 5_000
    )


@pytest.fixture
async def explained(database: str) -> AsyncIterator[Explained]:
    connection = await fleet_in(database)
    await connection.execute(
        "insert into rollcall.device_identity select integration_id, external_device_id, id from devices"
    )
    await connection.execute("select rollcall.seed_states(array(select id from devices))")
    await connection.execute("analyze")
    await connection.execute("set client_min_messages = log")
    yield Explained(connection)
    await connection.close()


async def fleet_in(database: str) -> asyncpg.Connection:
    """Open a connection that explains, to a database with many devices that were never heard; it is silent yet."""
    connection = await asyncpg.connect(database, server_settings=SETTINGS)
    await connection.execute("set client_min_messages = error")
    await connection.execute(
        """with o as (insert into organizations (name, slug) values ('o', 'o') returning id)
        insert into device_integrations (id, organization_id, integration_type, name)
            select $1, id, 'mqtt', 'm' from o""",
        INTEGRATION,
    )
    await connection.execute(
        "insert into devices (organization_id, integration_id, external_device_id, name, device_type)"
        " select organization_id, id, 'd' || n, 'd' || n, 'x' from device_integrations, generate_series(1, $1) as n",
        DEVICES,
    )
    await connection.execute(
        "insert into rollcall.mqtt_sessions (integration_id, client_id) values ($1, 'c')", INTEGRATION
    )
    return connection


def batch(ids: list[UUID], second: int, **said: Any) -> Batch:
    made = Batch()
    for place, device in enumerate(ids):
        at = START + second * SECOND + place
        evidence = Evidence()
        evidence.add(Observation(INTEGRATION, DeviceKey("d"), at, at, at, battery_level=place % 100, **said))
        made.add(device, Target(OFFLINE_AFTER), evidence)
    made.sessions.append(SessionProgress(1, second, b"", None))
    return made


async def test_the_apply_finds_its_rows_by_index_in_a_batch_of_any_kind(explained: Explained):
    connection = explained.connection
    ids = [
        row["id"]
        for row in await connection.fetch("select id from devices order by random() limit $1", BATCH)
    ]
    explained.plans.clear()
    online, offline = {"presence": Presence.ONLINE}, {"presence": Presence.OFFLINE}
    firmware = {**online, "firmware": (("main", "1.0"),)}
    # more often than a plan is made anew for its arguments, so that the plan that is kept is seen too
    for second, said in enumerate([online, online, offline, firmware] * 4):
        arguments = apply_arguments(batch(ids, second, **said), 0)
        assert await connection.fetchval(queries()["apply"], *arguments) == []
    assert any(node["Node Type"] == "Tid Scan" for node in explained.nodes())
    explained.assert_sound()


async def test_digests_that_are_known_no_longer_are_found_without_reading_those_that_are(
    explained: Explained,
):
    connection = explained.connection
    session = await connection.fetchval("select id from rollcall.mqtt_sessions")
    said = Batch(sessions=[SessionProgress(session, 1, b"0123456789", None)])
    await connection.execute(
        "insert into rollcall.mqtt_digests select $1, n, '0123456789' from generate_series(1, 3000) as n",
        session,
    )
    await connection.execute("vacuum analyze rollcall.mqtt_digests")  # as a fleet's is known that has spoken
    for _ in range(2):
        await connection.fetchval(queries()["apply"], *apply_arguments(said, 0))
    await connection.execute(
        "insert into rollcall.mqtt_digests select $1, n, '0123456789' from generate_series(3001, 60000) as n",
        session,
    )
    explained.plans.clear()
    said.sessions[0] = SessionProgress(session, DIGESTS_KEPT + 11, b"0123456789", None)
    await connection.fetchval(queries()["apply"], *apply_arguments(said, 0))
    read = [node for node in explained.nodes() if node.get("Relation Name") == "mqtt_digests"]
    assert 10 <= sum(map(_visited, read)) <= 40
    assert await connection.fetchval("select min(seq) from rollcall.mqtt_digests") == 11


async def test_identities_are_found_by_index(explained: Explained):
    names = [f"d{n}" for n in range(1, BATCH)]
    nothing = [None] * len(names)
    for _ in range(8):
        await explained.connection.fetch(queries()["identities"], INTEGRATION, names)
        for others in (True, False):
            arguments = INTEGRATION, names, names, nothing, others
            await explained.connection.fetch(queries()["candidates"], *arguments)
        await explained.connection.fetch(
            queries()["heard_of"], INTEGRATION, [*names, *(f"x{n}" for n in range(BATCH))]
        )
    assert len(explained.plans) >= 24
    explained.assert_sound()


async def test_the_first_contact_of_the_last_devices_reads_no_more_than_that_of_the_first(database: str):
    connection = await fleet_in(database)
    await connection.execute("vacuum analyze")  # so that it is known how empty the other tables are
    await connection.execute("set client_min_messages = log")
    explained = Explained(connection)
    ids = [row["id"] for row in await connection.fetch("select id from devices limit 3000")]
    for first in range(0, len(ids), 300):
        explained.plans.clear()
        said = batch(ids[first : first + 300], 0, presence=Presence.ONLINE, firmware=(("main", "1.0"),))
        assert await connection.fetchval(queries()["apply"], *apply_arguments(said, 0)) == []
    visited = {
        plan["Query Text"]: max(map(_visited, nodes(plan)))
        for plan in explained.plans
        if "for key share" not in plan["Query Text"].lower()
    }
    most = max(visited, key=lambda text: visited[text])
    assert visited[most] <= 3 * 300, most
    await connection.close()


def _visited(node: dict[str, Any]) -> float:
    """Rows that a scan looked at: kept and not."""
    if "Relation Name" not in node:
        return 0
    looked_at = node.get("Actual Rows", 0) + node.get("Rows Removed by Filter", 0)
    return float((looked_at + node.get("Rows Removed by Index Recheck", 0)) * node.get("Actual Loops", 1))
