"""From the open batch to the batch that is committed: each device by its row; ids without one are made or parked."""

from collections.abc import Sequence
from uuid import UUID

from handlers.events import DeadReason, DeviceKey
from handlers.evidence import Evidence
from ingest.errors import Refused, RollcallError, Unattributed
from ingest.pipeline.open_batch import OpenBatch
from ingest.pipeline.segment import IntegrationContext
from ingest.store.commit.batch import Batch, Target
from ingest.store.commit.creation import UnknownPolicy
from ingest.store.commit.identity import Identities
from ingest.store.commit.parking import Parking
from ingest.store.commit.unknown_devices import UnknownDeviceFilter

Unknown = dict[IntegrationContext, dict[DeviceKey, Evidence]]
Unmade = dict[IntegrationContext, dict[DeviceKey, DeadReason]]
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
    """Makes batches out of open batches."""

    def __init__(
        self, identities: Identities, parking: Parking, unknown_devices: UnknownDeviceFilter
    ) -> None:
        self._identities = identities
        self._parking = parking
        self._unknown_devices = unknown_devices

    def forget(self, gone: Sequence[UUID]) -> None:
        """Forget devices whose rows are gone: the next batch asks for them again."""
        self._identities.forget(gone)

    async def resolved(self, open_batch: OpenBatch) -> Batch:
        """Build the batch, with the database's help where a device is not known yet.

        Raises: RowsUnmade where the database refuses rows for new devices; Refused, DatabaseAway.
        """
        batch, unknown = self.known(open_batch)
        unmade: Unmade = {}
        for context, devices in unknown.items():
            if refused := await self._look_up(context, devices, batch):
                unmade[context] = refused
        if unmade:
            raise RowsUnmade(unmade)
        if open_batch.postponed:
            await self._park_postponed(open_batch, batch)
        return batch

    async def _park_postponed(self, open_batch: OpenBatch, batch: Batch) -> None:
        """Move what is said of devices whose rows cannot be written now from the batch to what is parked."""
        for context, devices in open_batch.evidence.items():
            known = self._identities.of(context.integration_id)
            held = {key: seen for key, seen in devices.items() if known.get(key) in open_batch.postponed}
            if held:
                await self._parking.add(context.integration_id, WHATEVER_IT_TAKES, held, batch)

    async def _look_up(
        self, context: IntegrationContext, devices: dict[DeviceKey, Evidence], batch: Batch
    ) -> dict[DeviceKey, DeadReason]:
        """Put those that have a row, or get one, into the batch, and park the others where there is room.

        Returns those for which the database refuses a row, each with the reason.
        """
        mine = context.integration_id, context.policy
        unknown_keys = await self._unknown_devices.unknown_keys(*mine, devices)
        batch.rejected_unknown[context.integration_id] += len(unknown_keys)
        rest = {key: seen for key, seen in devices.items() if key not in unknown_keys}
        if not rest:
            return {}
        unmade: dict[DeviceKey, Refused | Unattributed] = {}
        found = await self._identities.resolve(context.integration_id, list(rest), context.policy, unmade)
        if unmade:
            return {key: refusal(refused) for key, refused in unmade.items()}
        target = Target(context.offline_after, context.source)
        for key, device_id in found.items():
            batch.add(device_id, target, rest.pop(key))
        if rest:
            batch.rejected_unknown[context.integration_id] += await self._parking.add(*mine, rest, batch)
        return {}

    def known(self, open_batch: OpenBatch) -> tuple[Batch, Unknown]:
        """Build the batch of those whose device is known, and return the others; without those that are postponed."""
        batch, unknown = Batch(dead_letters=list(open_batch.dead_letters)), Unknown()
        postponed = open_batch.postponed
        for context, devices in open_batch.evidence.items():
            known = self._identities.of(context.integration_id)
            target = Target(context.offline_after, context.source)
            for key, seen in devices.items():
                device_id = known.get(key)
                if device_id is None:
                    unknown.setdefault(context, {})[key] = seen
                elif device_id not in postponed:
                    batch.add(device_id, target, seen)
        for segment in open_batch.segments:
            segment.record(batch)
        return batch, unknown
