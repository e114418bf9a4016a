"""From a pile to the batch that is committed: each device by its row, and what becomes of ids that have none."""

from collections.abc import Sequence
from uuid import UUID

from handlers.events import DeadReason, DeviceKey
from handlers.evidence import Evidence
from ingest.errors import Refused, RollcallError, Unattributed
from ingest.pipeline.pile import Feed, Pile
from ingest.store.commit.batch import Batch, Target
from ingest.store.commit.creation import UnknownPolicy
from ingest.store.commit.identity import Identities
from ingest.store.commit.parking import Parking
from ingest.store.commit.unknown_devices import Strangers

Unknown = dict[Feed, dict[DeviceKey, Evidence]]
Unmade = dict[Feed, dict[DeviceKey, DeadReason]]
WHATEVER_IT_TAKES = UnknownPolicy("park", max_parked=2**31)
"""How a device that has a row is parked: its integration's policy and bound are for those that have none."""
MAX_REASON = 300


class RowsUnmade(RollcallError):  # noqa: N818
    """The database refuses rows for new devices: what they sent becomes dead letters. `unmade`: the reasons."""

    def __init__(self, unmade: Unmade) -> None:
        super().__init__(f"{sum(map(len, unmade.values()))} new devices get no row")
        self.unmade = unmade


def refusal(fault: Refused | Unattributed) -> DeadReason:
    """Return the reason of a dead letter that the database refused."""
    return DeadReason(f"refused.{fault.sqlstate}", str(fault)[:MAX_REASON])


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
        """Build the batch, with the database's help where a device is not known yet.

        Raises: RowsUnmade where the database refuses rows for new devices; Refused, DatabaseAway.
        """
        batch, unknown = self.known(pile)
        unmade: Unmade = {}
        for feed, devices in unknown.items():
            if refused := await self._look_up(feed, devices, batch):
                unmade[feed] = refused
        if unmade:
            raise RowsUnmade(unmade)
        if pile.postponed:
            await self._park_postponed(pile, batch)
        return batch

    async def _park_postponed(self, pile: Pile, batch: Batch) -> None:
        """Move what is said of devices whose rows cannot be written now from the batch to what is parked."""
        for feed, devices in pile.evidence.items():
            known = self._identities.of(feed.integration_id)
            held = {key: seen for key, seen in devices.items() if known.get(key) in pile.postponed}
            if held:
                await self._parking.add(feed.integration_id, WHATEVER_IT_TAKES, held, batch)

    async def _look_up(
        self, feed: Feed, devices: dict[DeviceKey, Evidence], batch: Batch
    ) -> dict[DeviceKey, DeadReason]:
        """Put those that have a row, or get one, into the batch, and park the others where there is room.

        Returns those for which the database refuses a row, each with the reason.
        """
        mine = feed.integration_id, feed.policy
        nobodies = await self._strangers.nobodies(*mine, devices)
        batch.turned_away[feed.integration_id] += len(nobodies)
        rest = {key: seen for key, seen in devices.items() if key not in nobodies}
        if not rest:
            return {}
        unmade: dict[DeviceKey, Refused | Unattributed] = {}
        found = await self._identities.resolve(feed.integration_id, list(rest), feed.policy, unmade)
        if unmade:
            return {key: refusal(refused) for key, refused in unmade.items()}
        target = Target(feed.offline_after, feed.source)
        for key, device_id in found.items():
            batch.add(device_id, target, rest.pop(key))
        if rest:
            batch.turned_away[feed.integration_id] += await self._parking.add(*mine, rest, batch)
        return {}

    def known(self, pile: Pile) -> tuple[Batch, Unknown]:
        """Build the batch of those whose device is known, and return the others; without those that are postponed."""
        batch, unknown = Batch(dead_letters=list(pile.dead_letters)), Unknown()
        postponed = pile.postponed
        for feed, devices in pile.evidence.items():
            known = self._identities.of(feed.integration_id)
            target = Target(feed.offline_after, feed.source)
            for key, seen in devices.items():
                device_id = known.get(key)
                if device_id is None:
                    unknown.setdefault(feed, {})[key] = seen
                elif device_id not in postponed:
                    batch.add(device_id, target, seen)
        for part in pile.parts:
            part.record(batch)
        return batch, unknown
