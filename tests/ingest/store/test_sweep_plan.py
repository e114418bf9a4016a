"""How Postgres runs the sweep: by index, also over a fleet that nobody has analyzed yet."""

from typing import Any

from handlers.events import SECOND
from handlers.firmware import DAY
from ingest.store.queries import queries
from tests.ingest.store.test_plans import DEVICES, Explained, fleet_in
from tests.strategies import OFFLINE_AFTER, START

CHUNK = 2_000
NOBODY = "00000000-0000-0000-0000-000000000000"


async def test_the_sweep_looks_at_no_more_than_its_chunk(database: str) -> None:
    connection = await fleet_in(database)
    await connection.execute("update devices set status = 'online'")
    await connection.execute("select rollcall.seed_states(array(select id from devices))")
    await connection.execute("update rollcall.device_state set online_at = $1, alive_from = $1", START)
    await connection.execute(
        "update rollcall.mqtt_sessions set heard_until = $1, fresh_for = $2", START + 10 * OFFLINE_AFTER, DAY
    )
    await connection.execute("set client_min_messages = log")
    explained, after, swept = Explained(connection), NOBODY, 0
    while after is not None:
        after, scanned, silenced = await connection.fetchrow(
            queries()["sweep"], after, CHUNK, OFFLINE_AFTER, START + 10 * OFFLINE_AFTER + SECOND
        )
        assert scanned == silenced
        swept += silenced
    await connection.close()
    assert swept == DEVICES
    explained.assert_sound()
    assert max(_compared(node) for node in explained.nodes()) <= CHUNK


def _compared(node: dict[str, Any]) -> float:
    """Pairs of rows that a join looked at in vain."""
    return float(node.get("Rows Removed by Join Filter", 0) * node.get("Actual Loops", 1))
