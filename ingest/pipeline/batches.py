"""From a pile to the batch that is committed: each device by its row, and what becomes of ids that have none."""

from collections.abc import Sequence
from uuid import UUID

from handlers.events import DeviceKey
from handlers.evidence import Evidence
from ingest.pipeline.pile import Feed, Pile
from ingest.store.batch import Batch, Target
from ingest.store.identity import Identities
from ingest.store.parking import Parking
from ingest.store.strangers import Strangers

Unknown = dict[Feed, dict[DeviceKey, Evidence]]


class Batches:
    """Makes batches out of piles."""

    def __init__(self, identities: Identities, parking: Parking, strangers: Strangers) -> None:
        self._identities = identities
        self._parking = parking
        self._strangers = strangers

    def forget(self, gone: Sequence[UUID]) -> None:
        """Forget devices whose rows are gone: the next batch asks for them again."""
        self._identities.forget(gone)

    async def resolved(self, pile: Pile) -> Batch:
        """Build the batch, with the database's help where a device is not known yet."""
        batch, unknown = self.known(pile)
        for feed, devices in unknown.items():
            await self._look_up(feed, devices, batch)
        return batch

    async def _look_up(self, feed: Feed, devices: dict[DeviceKey, Evidence], batch: Batch) -> None:
        """Put those that have a row, or get one, into the batch, and park the others where there is room."""
        mine = feed.integration_id, feed.policy
        nobodies = await self._strangers.nobodies(*mine, devices)
        batch.turned_away += len(nobodies)
        rest = {key: seen for key, seen in devices.items() if key not in nobodies}
        if not rest:
            return
        found = await self._identities.resolve(feed.integration_id, list(rest), feed.policy)
        target = Target(feed.offline_after, feed.source)
        for key, device_id in found.items():
            batch.add(device_id, target, rest.pop(key))
        if rest:
            batch.turned_away += await self._parking.add(*mine, rest, batch)

    def known(self, pile: Pile) -> tuple[Batch, Unknown]:
        """Build the batch of those whose device is known, and return the others."""
        batch, unknown = Batch(dead_letters=list(pile.dead_letters)), Unknown()
        for feed, devices in pile.evidence.items():
            known = self._identities.of(feed.integration_id)
            target = Target(feed.offline_after, feed.source)
            for key, seen in devices.items():
                device_id = known.get(key)
                if device_id is None:
                    unknown.setdefault(feed, {})[key] = seen
                else:
                    batch.add(device_id, target, seen)
        for part in pile.parts:
            part.record(batch)
        return batch, unknown
