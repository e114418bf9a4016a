"""Segments: what one sender put into a batch, in order; and the reasons for which entries of one are not applied."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Optional, Protocol
from uuid import UUID

from handlers.events import DeadReason, DeviceKey, Micros, Source
from ingest.store.commit.batch import Batch
from ingest.store.commit.creation import UnknownPolicy

if TYPE_CHECKING:
    from ingest.pipeline.open_batch import OpenBatch

LEFT_OUT: Final = DeadReason("left_out", "")
"""The fate of an entry that is neither applied nor kept: others are tried without it."""
GONE: Final = DeadReason("integration_gone", "the integration was deleted before this was committed")
"""The fate of an entry whose integration was deleted meanwhile: nothing of it can be kept, no dead letter either."""
UNKEPT: Final = frozenset({LEFT_OUT, GONE})

Fates = Mapping[int, DeadReason]
"""Reasons of entries that are not applied, by place: each becomes a dead letter, unless it is LEFT_OUT or GONE."""
NO_FATES: Final[Fates] = MappingProxyType({})


@dataclass(frozen=True, slots=True, eq=False)
class IntegrationContext:
    """One integration as the pipeline needs it. Two contexts are equal only where they are one object."""

    integration_id: UUID
    policy: UnknownPolicy
    offline_after: Micros
    source: Source = "mqtt"


@dataclass(frozen=True, slots=True)
class Superseded:
    """Entries that are not applied after all, by the reason that is known of them."""

    fates: Fates = field(default_factory=dict)
    """Refused by the database, or left out of a trial; by place in the batch (in `Segment.without`: in the segment)."""
    integrations: Collection[UUID] = ()
    """Deleted meanwhile: nothing that came for them can be kept."""
    sessions: Collection[tuple[int, int]] = ()
    """MQTT sessions, as (session id, epoch), that another process has taken up: what came by them goes to it."""
    events: Collection[tuple[UUID, str]] = ()
    """Webhook events, as (integration id, event id), that another process has committed: they are duplicates."""

    def within(self, first: int, count: int) -> "Superseded":
        """Return the same for the segment whose entries are the `count` from `first` on."""
        if not self.fates:
            return self
        mine = {
            place - first: self.fates[place] for place in range(first, first + count) if place in self.fates
        }
        return replace(self, fates=mine)


class Segment(Protocol):
    """Entries of one sender, in order, which can be decoded again."""

    def __len__(self) -> int:
        """Return the number of entries."""

    @property
    def context(self) -> IntegrationContext:
        """The integration that the entries came for."""

    def fill(self, batch: "OpenBatch") -> None:
        """Decode every entry into the batch's evidence and dead letters."""

    def without(self, superseded: Superseded) -> Optional["Segment"]:
        """Return the segment with these entries not applied; None where all of it belongs to another process."""

    def devices_of_entries(self) -> list[Collection[DeviceKey]]:
        """Return, entry by entry, the devices that it would be applied to: none of a dead or known one."""

    def record(self, batch: Batch) -> None:
        """Put into the database's batch what recognises these entries when they come again."""

    def acknowledge(self) -> None:
        """Tell the sender that the entries are committed."""
