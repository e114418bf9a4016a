"""Attribution of a failed commit: by trying, it is found whether one message, one row, or the database is at fault.

An SQLSTATE does not tell. A platform's trigger that raises may mean one device or may be broken for all of them. So
parts of the batch are tried in transactions that are rolled back, halved until single messages remain. A message that
fails alone is at fault where its SQLSTATE is about the data (22, 23) or where another device of the batch can be
written; otherwise nothing is decided, and the batch waits. A device whose row somebody keeps locked, or whose write
alone takes too long, is parked, and written once that has passed.
"""

import logging
from collections import Counter
from uuid import UUID

from handlers.events import DeadReason
from ingest.errors import DatabaseAway, Refused, RollcallError, Unattributed
from ingest.pipeline.batches import Batches, refusal
from ingest.pipeline.open_batch import OpenBatch
from ingest.pipeline.refusal_rate import RefusedDevices
from ingest.pipeline.segment import LEFT_OUT, Superseded
from ingest.store.commit.apply import Applier
from ingest.store.errors import POSTPONED, ROW_LOCKED

FEW_LOCKED = 10
"""Locked rows that are parked although nothing else of the batch can be written; more of them are an outage."""

MAX_HELD = 10_000
"""Devices whose locked rows are remembered."""
MAX_ALONE = 16
"""Entries of one device that are refused one by one; what else it sent is parked, because each costs trials."""

log = logging.getLogger(__name__)

Fault = Refused | Unattributed


class Undecided(RollcallError):  # noqa: N818
    """Nothing tells whether messages or the database are at fault: `open_batch` waits unacknowledged."""

    def __init__(self, open_batch: OpenBatch, why: str) -> None:
        super().__init__(why)
        self.open_batch = open_batch


class Culprits:
    """Finds in a batch of messages what the database refuses."""

    def __init__(self, applier: Applier, batches: Batches, refusals: RefusedDevices) -> None:
        self._applier = applier
        self._batches = batches
        self._refusals = refusals
        self._held: set[UUID] = set()
        """Devices whose rows somebody kept locked when they were last looked at."""

    async def beforehand(self, open_batch: OpenBatch) -> OpenBatch:
        """Return `open_batch` with those parked that somebody still keeps locked: they are not waited for again."""
        if not self._held or not (devices := self._devices_of(open_batch) & self._held):
            return open_batch
        try:
            locked = await self._applier.locked(devices)
        except (Refused, DatabaseAway):  # the commit meets the same
            return open_batch
        self._held -= devices - locked
        return open_batch.postponing(locked) if locked else open_batch

    async def without(self, open_batch: OpenBatch, fault: Fault) -> OpenBatch:
        """Return `open_batch` with what is at fault dead-lettered or parked, ready to be committed again.

        Raises: Undecided, Refused, DatabaseAway, SessionsLost, EventsKnown.
        """
        devices = self._devices_of(open_batch)
        if fault.sqlstate == ROW_LOCKED and (locked := await self._applier.locked(devices)):
            return self._parked(open_batch, devices, locked, fault)
        self._refusals.found_among(devices)
        found = _Found()
        await self._sift(open_batch, range(open_batch.count), found)
        if not found.dead and not found.postponed and fault.sqlstate not in POSTPONED:
            # none is refused alone, so some are together: each is tried beside those before it
            found.beside = set()
            await self._sift(open_batch, range(open_batch.count), found)
        kept = open_batch.without(Superseded(fates=found.dead)).postponing(found.postponed)
        if found.is_doubtful and not self._devices_of(kept) - found.refused:
            raise Undecided(open_batch, str(fault))
        return kept

    def _parked(
        self, open_batch: OpenBatch, devices: set[UUID], locked: set[UUID], fault: Fault
    ) -> OpenBatch:
        if len(locked) > FEW_LOCKED and not devices - locked:
            raise Undecided(open_batch, str(fault))
        if len(self._held) > MAX_HELD:
            self._held.clear()
        self._held |= locked
        log.warning("somebody keeps the rows of %d devices locked: what they sent is parked", len(locked))
        return open_batch.postponing(locked)

    def _devices_of(self, open_batch: OpenBatch) -> set[UUID]:
        """Return the rows that it would write."""
        batch, _ = self._batches.known(open_batch)
        return set(batch.devices)

    def _devices_of_entry(self, open_batch: OpenBatch, entry: int) -> set[UUID]:
        others = {place: LEFT_OUT for place in range(open_batch.count) if place != entry}
        return self._devices_of(open_batch.without(Superseded(fates=others)))

    async def _sift(self, open_batch: OpenBatch, entries: range, found: "_Found") -> None:
        """Put into `found` which of these entries fail. Raises: Undecided where so many do that it is an outage."""
        beside = found.beside or ()
        others = {n: LEFT_OUT for n in range(open_batch.count) if n not in entries and n not in beside}
        only = open_batch.without(Superseded(fates=others))
        batch = await self._batches.resolved(only.postponing(found.postponed) if found.postponed else only)
        fault = await self._applier.trial(batch)
        if fault is None:
            if found.beside is not None:
                found.beside.update(entries)
            return
        if len(entries) > 1:
            middle = (entries.start + entries.stop) // 2
            await self._sift(open_batch, range(entries.start, middle), found)
            await self._sift(open_batch, range(middle, entries.stop), found)
            return
        devices = set(batch.devices) if not beside else self._devices_of_entry(open_batch, entries.start)
        if not devices:
            raise Undecided(
                open_batch, f"a dead letter is refused: {fault}" if batch.dead_letters else str(fault)
            )
        if self._refusals.too_many(fault.sqlstate, devices):
            raise Undecided(open_batch, f"more than 1 % of the devices are refused for one reason: {fault}")
        if fault.sqlstate in POSTPONED:
            log.warning("what one device sent is parked, its write takes too long: %s", fault)
            found.postponed |= devices
        else:
            found.refuse(entries.start, devices, fault)


class _Found:
    """The trials' findings so far: reasons of dead entries by their place, and ids of devices."""

    def __init__(self) -> None:
        self.dead: dict[int, DeadReason] = {}
        self.refused: set[UUID] = set()
        self.postponed: set[UUID] = set()
        self.is_doubtful = False
        """Whether some of the refusals say nothing about the data (SQLSTATE 22, 23)."""
        self.beside: set[int] | None = None
        """Entries that can be written together, where the others are tried beside them; None: they are tried alone."""
        self._times: Counter[UUID] = Counter()

    def refuse(self, entry: int, devices: set[UUID], fault: Fault) -> None:
        """Note that an entry is refused; a device of which many are is postponed."""
        self.refused |= devices
        self.is_doubtful |= isinstance(fault, Unattributed)
        self.dead[entry] = refusal(fault)
        self._times.update(devices)
        self.postponed |= {one for one in devices if self._times[one] >= MAX_ALONE}
