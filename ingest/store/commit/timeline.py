"""The timeline's rows that are not a consequence of the apply: created, bound, parked, gaps, conflicts."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson

from ingest.store.queries import queries

Connection = Any


async def record(
    connection: Connection,
    kind: str,
    subjects: Sequence[UUID],
    detail: Mapping[str, str],
    components: Sequence[str] | None = None,
    source: str = "mqtt",
) -> None:
    """Write one timeline row a subject, dated now."""
    count = len(subjects)
    now = datetime.now(UTC)
    await connection.execute(
        queries()["record_events"],
        subjects,
        [kind] * count,
        components or [""] * count,
        [now] * count,
        [source] * count,
        [orjson.dumps(detail).decode()] * count,
    )
