"""What says again what the rows say already: only its clocks move, at a third of the cost of an apply."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from handlers.evidence import Evidence
from ingest.store.queries import queries
from ingest.store.refusals import Contended

Connection = Any
VALUES = frozenset(("battery", "signal", "firmware"))
_UNSAID = (None, None)


async def confirm(
    connection: Connection, locked: Sequence[UUID], devices: Mapping[UUID, Evidence], *, timeout_s: float
) -> set[UUID]:
    """Lock all of `locked`, move the clocks of `devices`, and return those for which an apply has nothing more to do.

    The rest of them is untouched. Raises: Contended where a device is gone; asyncpg's errors.
    """
    said = {one: evidence for one, evidence in devices.items() if _is_one_sighting(evidence)}
    battery = [evidence.battery or _UNSAID for evidence in said.values()]
    signal = [evidence.signal or _UNSAID for evidence in said.values()]
    firmware = [
        (one, component, seen.version, seen.at)
        for one, evidence in said.items()
        for component, seen in evidence.firmware.items()
    ]
    confirmed = await connection.fetchval(
        queries()["confirm"],
        locked,
        list(said),
        [value for _, value in battery],
        [at for at, _ in battery],
        [value for _, value in signal],
        [at for at, _ in signal],
        *(zip(*firmware, strict=True) if firmware else [()] * 4),
        timeout=timeout_s,
    )
    if confirmed is None:
        raise Contended("devices vanish while they are being written")
    return set(confirmed)


def _is_one_sighting(evidence: Evidence) -> bool:
    """Whether it has values only, each seen once."""
    once = all(len(seen.points) == 1 for seen in evidence.firmware.values())
    return once and vars(evidence).keys() <= VALUES
