"""The committer: the process's only writer. Takes what waits, commits it, and only then acknowledges it, in order."""

import asyncio
import logging
import random
from collections import Counter, deque

from handlers.events import DeadReason, Decoded, Micros, Publish
from handlers.evidence import Evidence
from ingest.digests import packed
from ingest.errors import DatabaseAway, Refused
from ingest.mqtt.port import Released
from ingest.pipeline.intake import Counts, Intake, Item, Origin, dead_letter
from ingest.store.apply import Applier
from ingest.store.batch import Batch, SessionProgress, Target
from ingest.store.identity import Identities
from ingest.store.parking import Parking
from ingest.store.refusals import Contended

MAX_VANISHED = 5
"""Tries of one batch while devices of it are being deleted by others."""

log = logging.getLogger(__name__)

REFUSALS_WATCHED = 2_000
"""Messages over which refusals are counted: more than 1 % (and 10) of them for one reason is an outage."""


class Committer:
    """Commits batch after batch until cancelled; `run` never ends by itself."""

    def __init__(
        self,
        intake: Intake,
        applier: Applier,
        identities: Identities,
        parking: Parking,
        counts: Counts,
        *,
        jitter: random.Random,
    ) -> None:
        self._intake = intake
        self._applier = applier
        self._identities = identities
        self._parking = parking
        self._counts = counts
        self._jitter = jitter
        self._refusals: deque[str | None] = deque(maxlen=REFUSALS_WATCHED)
        self.outage: str | None = None
        """Why the database cannot be written now; None while all is well."""
        self.busy = False

    async def run(self) -> None:
        """Take, commit, acknowledge, for ever."""
        while True:
            items = await self._intake.take()
            self.busy = True
            await self._settle(items)
            self.busy = False

    async def _settle(self, items: list[Item]) -> None:
        """Commit these, bisecting down to the messages that the database refuses."""
        try:
            await self._commit_with_retries(items)
        except Refused as refused:
            if len(items) > 1:
                middle = len(items) // 2
                await self._settle(items[:middle])
                await self._settle(items[middle:])
                return
            await self._bury(items[0], refused)
        else:
            self._refusals.extend([None] * len(items))
            self._acknowledge(items)

    async def _bury(self, item: Item, refused: Refused) -> None:
        self._refusals.append(refused.sqlstate)
        reasons = Counter(reason for reason in self._refusals if reason is not None)
        if reasons[refused.sqlstate] > max(10, len(self._refusals) // 100):
            self._refusals.pop()
            self.outage = f"more than 1 % of the messages are refused for one reason: {refused}"
            await self._pause(5.0)
            await self._settle([item])
            return
        if not isinstance(item.inbound, Publish):
            raise DatabaseAway(f"a PUBREL was refused: {refused}")
        reason = Decoded(dead=DeadReason(f"refused.{refused.sqlstate}", str(refused)[:300]))
        buried = Item(item.origin, item.inbound, dead=dead_letter(item.origin, item.inbound, reason))
        self._counts.dead_letters += 1
        await self._commit_with_retries([buried])
        self._acknowledge([buried])

    async def _commit_with_retries(self, items: list[Item]) -> None:
        attempt = 0
        while True:
            try:
                await self._commit(items)
            except Contended:
                await self._pause(0.05)
            except DatabaseAway as away:
                attempt += 1
                if self.outage is None:
                    log.error("the database is away, nothing is acknowledged: %s", away)
                self.outage = str(away)
                await self._pause(min(5.0, 0.1 * 2 ** min(attempt, 6)))
            else:
                if self.outage is not None:
                    log.warning("the database is back")
                self.outage = None
                return

    async def _pause(self, cap_s: float) -> None:
        await asyncio.sleep(self._jitter.uniform(0, cap_s))

    async def _commit(self, items: list[Item]) -> None:
        evidence = coalesced(items)
        for _ in range(MAX_VANISHED):
            batch = Batch()
            unknown = await self._targets(evidence, batch)
            record_progress(items, batch)
            for origin, strangers in unknown.items():
                self._counts.dropped_unknown += await self._parking.add(
                    origin.integration_id, origin.policy, strangers, batch
                )
            gone = await self._applier.commit(batch)
            if not gone:
                self._counts.commits += 1
                self._counts.committed += len(items)
                return
            self._identities.forget(gone)
        raise DatabaseAway("devices vanish while they are being written")

    async def _targets(
        self, evidence: dict[Origin, dict[str, Evidence]], batch: Batch
    ) -> dict[Origin, dict[str, Evidence]]:
        """Fill the batch's devices and return what has no row."""
        unknown: dict[Origin, dict[str, Evidence]] = {}
        for origin, devices in evidence.items():
            known = self._identities.known
            missing = [e for e in devices if known(origin.integration_id, e) is None]
            if missing:
                await self._identities.resolve(origin.integration_id, missing, origin.policy)
            for external, seen in devices.items():
                device_id = known(origin.integration_id, external)
                if device_id is None:
                    unknown.setdefault(origin, {})[external] = seen
                    continue
                target = Target(device_id, origin.offline_after)
                if target in batch.devices:
                    batch.devices[target].merge(seen)
                else:
                    batch.devices[target] = seen
        return unknown

    def _acknowledge(self, items: list[Item]) -> None:
        by_origin: dict[Origin, list[Item]] = {}
        for item in items:
            by_origin.setdefault(item.origin, []).append(item)
        for origin, mine in by_origin.items():
            for item in mine:
                if isinstance(item.inbound, Released):
                    origin.digests.release(item.inbound.packet_id)
                elif item.digest is not None:
                    origin.digests.committed(item.inbound, item.digest)
                if item.marker is not None:
                    origin.draining_since = None
            origin.connection.acknowledge([i.inbound for i in mine if isinstance(i.inbound, Publish)])
            origin.connection.complete([i.inbound for i in mine if isinstance(i.inbound, Released)])
            origin.digests.seq += len(mine)
            origin.settled(len(mine))


def coalesced(items: list[Item]) -> dict[Origin, dict[str, Evidence]]:
    """Return the evidence of each device, by origin and external id."""
    found: dict[Origin, dict[str, Evidence]] = {}
    for item in items:
        if item.observations:
            devices = found.get(item.origin)
            if devices is None:
                devices = found[item.origin] = {}
            for observation in item.observations:
                external = observation.device.external_id or ""
                seen = devices.get(external)
                if seen is None:
                    seen = devices[external] = Evidence()
                seen.add(observation)
    return found


def record_progress(items: list[Item], batch: Batch) -> None:
    """Put digests, markers, dead letters and QoS 2 packet ids of these items into the batch."""
    packs: dict[Origin, list[bytes]] = {}
    heard: dict[Origin, Micros | None] = {}
    for item in items:
        origin, inbound = item.origin, item.inbound
        if item.dead is not None:
            batch.dead_letters.append(item.dead)
        if item.marker is not None:
            heard[origin] = item.marker
        if isinstance(inbound, Released):
            batch.released.append((origin.session_id, inbound.packet_id))
        elif item.digest is not None and inbound.qos == 2:
            batch.received.append((origin.session_id, inbound.packet_id, item.digest))
        elif item.digest is not None:
            packs.setdefault(origin, []).append(packed(inbound.packet_id, item.digest))
    for origin in {**packs, **heard}:
        mine = b"".join(packs.get(origin, []))
        batch.sessions.append(
            SessionProgress(origin.session_id, origin.digests.seq + 1, mine, heard.get(origin))
        )
