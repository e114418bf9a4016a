"""The open batch: what the next commit takes, coalesced as it is filled so that little is left to do at its turn."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from uuid import UUID

from handlers.events import DeadReason, DeviceKey
from handlers.evidence import Evidence
from ingest.pipeline.rejections import Rejections
from ingest.pipeline.segment import IntegrationContext, Segment, Superseded
from ingest.store.commit.batch import DeadLetter


@dataclass(slots=True)
class Counts:
    """What a process did since it started; monotonic."""

    received: int = 0
    committed: int = 0
    commits: int = 0
    acknowledged: int = 0
    duplicates: int = 0
    skewed: int = 0
    dropped_qos0: int = 0
    rejections: Rejections = field(default_factory=Rejections)


class OpenBatch:
    """Segments of many senders, and what they say together."""

    __slots__ = (
        "count", "counts", "dead_letters", "entries_in_hand", "evidence", "payload_bytes",
        "postponed", "segments", "since",
    )  # fmt: skip

    def __init__(self, counts: Counts) -> None:
        self.counts = counts
        self.segments: list[Segment] = []
        self.count = 0
        self.entries_in_hand = 0
        """Entries that the intake counts as in hand until this is released; some may have been given up since."""
        self.payload_bytes = 0
        self.evidence: dict[IntegrationContext, dict[DeviceKey, Evidence]] = {}
        self.dead_letters: list[DeadLetter] = []
        self.postponed: frozenset[UUID] = frozenset()
        """Devices whose rows cannot be written now: what they say is parked."""
        self.since = monotonic()
        """When its first segment came (time.monotonic, seconds)."""

    def add(self, segment: Segment) -> None:
        """Take a segment in and decode it."""
        if not self.segments:
            self.since = monotonic()
        self.segments.append(segment)
        self.count += len(segment)
        self.entries_in_hand += len(segment)
        segment.fill(self)

    @property
    def integrations(self) -> set[UUID]:
        """The integrations that its entries came for."""
        return {segment.context.integration_id for segment in self.segments}

    def evidence_of(self, context: IntegrationContext) -> dict[DeviceKey, Evidence]:
        """Return the evidence of one integration, by device."""
        devices = self.evidence.get(context)
        if devices is None:
            devices = self.evidence[context] = {}
        return devices

    def entries_naming(
        self, devices: Mapping[IntegrationContext, Mapping[DeviceKey, DeadReason]]
    ) -> dict[int, DeadReason]:
        """Return the places of the entries that name one of these devices, each with the device's reason."""
        places: dict[int, DeadReason] = {}
        first = 0
        for segment in self.segments:
            if reasons := devices.get(segment.context):
                for place, keys in enumerate(segment.devices_of_entries(), first):
                    if mine := [reasons[key] for key in keys if key in reasons]:
                        places[place] = mine[0]
            first += len(segment)
        return places

    def without(self, superseded: Superseded) -> "OpenBatch":
        """Return the batch with these entries not applied; the others are decoded again and counted no second time."""
        kept: list[Segment] = []
        first = 0
        for segment in self.segments:
            rest = segment.without(superseded.within(first, len(segment)))
            first += len(segment)
            if rest is not None:
                kept.append(rest)
        return self._refilled(kept)

    def postponing(self, devices: Collection[UUID]) -> "OpenBatch":
        """Return the batch with what these devices say to be parked."""
        batch = self._refilled(self.segments)
        batch.postponed |= frozenset(devices)
        return batch

    def joined(self, other: "OpenBatch") -> "OpenBatch":
        """Return one batch of both, this one's entries first; `other` has been counted already."""
        batch = self._refilled([*self.segments, *other.segments])
        batch.entries_in_hand += other.entries_in_hand
        batch.payload_bytes += other.payload_bytes
        return batch

    def _refilled(self, segments: Sequence[Segment]) -> "OpenBatch":
        batch = OpenBatch(Counts())
        for segment in segments:
            batch.add(segment)
        batch.entries_in_hand, batch.payload_bytes = self.entries_in_hand, self.payload_bytes
        batch.postponed, batch.since = self.postponed, self.since
        return batch
