"""Provider facts, written by the conflict rules of handlers/conflicts.py.

Runs in the transaction of the apply, which has locked the devices.
"""

from collections import Counter, defaultdict
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from handlers.conflicts import METADATA, Decision, decide
from ingest.store.commit.batch import Batch, Decided, Fact
from ingest.store.commit.timeline import record
from ingest.store.queries import queries

Connection = Any
LIFECYCLE = "lifecycle"
SERIAL = "serial_number"


async def apply_facts(connection: Connection, batch: Batch, *, timeout_s: float) -> list[Decided]:
    """Decide and write the facts of a batch; returns what was decided.

    Raises: asyncpg's errors.
    """
    facts = [
        Fact(device_id, field, text, at)
        for device_id, evidence in batch.devices.items()
        for field, (at, text) in evidence.facts.items()
    ]
    decided = await _decided(connection, facts, timeout_s)
    decided = await _without_taken_serials(connection, decided)
    await _write(connection, decided)
    await _record_lifecycles(connection, decided)
    return decided


async def _decided(connection: Connection, facts: list[Fact], timeout_s: float) -> list[Decided]:
    rows = await connection.fetch(queries()["facts_to_decide"], *zip(*facts, strict=True), timeout=timeout_s)
    return [_decide(row) for row in rows]


def _decide(row: asyncpg.Record) -> Decided:
    fact = Fact(row["id"], row["field"], row["remote"], row["at"])
    if fact.field == LIFECYCLE:
        return Decided(fact, None, Decision("agree", orjson.loads(fact.remote)))
    remote, local, agreed = _values(row)
    return Decided(fact, row["local"], decide(fact.field, local, remote, agreed), row["again"])


def _values(row: asyncpg.Record) -> tuple[Any, Any, Any]:
    remote, local, agreed = (
        None if row[name] is None else orjson.loads(row[name]) for name in ("remote", "local", "agreed")
    )
    return remote, local, agreed


async def _without_taken_serials(connection: Connection, decided: list[Decided]) -> list[Decided]:
    """Keep a row without a serial number that another row has, in whatever organization; the timeline says so once."""
    wanted = [one for one in decided if one.fact.field == SERIAL and one.decision.kind == "take"]
    if not wanted:
        return decided
    serials = [one.decision.value for one in wanted]
    rows = await connection.fetch(queries()["serials_taken"], serials)
    times = Counter(serials)
    taken = {row["serial_number"] for row in rows} | {one for one in serials if times[one] > 1}
    refused = {one.fact.device_id for one in wanted if one.decision.value in taken}
    news = [one.fact.device_id for one in wanted if one.fact.device_id in refused and not one.again]
    if news:
        await record(connection, "conflict", news, {"field": SERIAL, "why": "another device has it"})
    return [
        one._replace(decision=Decision("keep"))
        if one.fact.field == SERIAL and one.fact.device_id in refused
        else one
        for one in decided
    ]


async def _write(connection: Connection, decided: list[Decided]) -> None:
    if not decided:
        return
    rows = [(*one.fact[:2], one.fact.remote, one.fact.at, _agreed(one)) for one in decided]
    await connection.execute(queries()["write_facts"], *zip(*rows, strict=True))
    said = _row_values(decided)
    if said:
        forms = [orjson.dumps(values).decode() for values in said.values()]
        await connection.execute(queries()["take_facts"], list(said), forms)
    clashes = [
        (*one.fact[:2], one.local, one.fact.remote) for one in decided if one.decision.kind == "conflict"
    ]
    if clashes:
        await connection.execute(queries()["update_conflicts"], *zip(*clashes, strict=True))
        await connection.execute(queries()["open_conflicts"], *zip(*clashes, strict=True))
    agreed = [one.fact[:2] for one in decided if one.decision.kind in ("agree", "take")]
    if agreed:
        await connection.execute(queries()["close_conflicts"], *zip(*agreed, strict=True))


def _agreed(one: Decided) -> str | None:
    return one.fact.remote if one.decision.kind in ("agree", "take") else None


def _row_values(decided: list[Decided]) -> dict[UUID, dict[str, Any]]:
    """Return what goes into the rows: what is taken, and what a merge united."""
    said: dict[UUID, dict[str, Any]] = defaultdict(dict)
    for fact, local, decision, _ in decided:
        merged = decision.kind == "push" and local is not None and decision.value != orjson.loads(local)
        if decision.kind != "take" and not merged:
            continue
        if fact.field.startswith(METADATA):
            said[fact.device_id].setdefault("metadata", {})[fact.field.removeprefix(METADATA)] = (
                decision.value
            )
        else:
            said[fact.device_id][fact.field] = decision.value
    return dict(said)


async def _record_lifecycles(connection: Connection, decided: list[Decided]) -> None:
    """Write `created` and `deleted` into the timeline: a device that is deleted over there keeps its row here."""
    for one in decided:
        if one.fact.field == LIFECYCLE:
            await record(
                connection,
                str(one.decision.value),
                [one.fact.device_id],
                {"by": "provider"},
                source="webhook",
            )
