"""The pile: what one commit takes. Coalesced as it comes, so that little is left to do when its turn has come."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from time import monotonic
from types import MappingProxyType
from typing import Final, Protocol
from uuid import UUID

from handlers.events import DeadReason, DeviceKey, Micros, Source
from handlers.evidence import Evidence
from ingest.pipeline.rejections import Rejections
from ingest.store.commit.batch import Batch, DeadLetter
from ingest.store.commit.creation import UnknownPolicy

LEFT_OUT: Final = DeadReason("left_out", "")
"""The fate of an entry that is neither applied nor kept: others are tried without it."""

GONE: Final = DeadReason("integration_gone", "the integration was deleted before this was committed")
"""The fate of an entry whose integration was deleted meanwhile: nothing of it can be kept, no dead letter either."""
UNKEPT: Final = frozenset({LEFT_OUT, GONE})

Fates = Mapping[int, DeadReason]
"""What becomes of entries instead of being applied, by their place: a dead letter with this reason, or LEFT_OUT."""
NO_FATES: Final[Fates] = MappingProxyType({})


@dataclass(frozen=True, slots=True, eq=False)
class Feed:
    """One integration as the pipeline sees it."""

    integration_id: UUID
    policy: UnknownPolicy
    offline_after: Micros
    source: Source = "mqtt"


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


class Part(Protocol):
    """What one sender put into a pile: entries in order, which can be decoded again."""

    def __len__(self) -> int:
        """Return the number of entries."""

    def fill(self, pile: "Pile") -> None:
        """Decode every entry into the pile's evidence and dead letters."""

    def with_fates(self, fates: Fates) -> "Part":
        """Return it with these entries, by their place in it, not applied; fates it has already stay."""

    def unkept(self) -> "Part":
        """Return it with no entry applied or kept: its integration is GONE."""

    def names(self) -> list[Collection[DeviceKey]]:
        """Return of each entry the devices that it would be applied to: none of a dead or known one."""

    @property
    def feed(self) -> Feed:
        """The integration that it came by."""

    def record(self, batch: Batch) -> None:
        """Put into the batch what recognises these entries when they come again."""

    def left_to_another(self, lost: frozenset[tuple[int, int]]) -> bool:
        """Give the entries up if they came by one of these (session id, epoch), and say whether they did."""

    def without_events(self, known: frozenset[tuple[UUID, str]]) -> "Part":
        """Return it with these webhook events, as (integration id, event id), answered and not applied."""

    def settled(self) -> None:
        """Tell the sender that the entries are committed."""


class Pile:
    """Parts of many senders and what they say together."""

    __slots__ = (
        "count", "counts", "dead_letters", "entries_in_hand", "evidence", "parts", "payload_bytes",
        "postponed", "since",
    )  # fmt: skip

    def __init__(self, counts: Counts) -> None:
        self.counts = counts
        self.parts: list[Part] = []
        self.count = 0
        self.entries_in_hand = 0
        """Entries that the intake counts as in hand until this is released; some may have been given up since."""
        self.payload_bytes = 0
        self.evidence: dict[Feed, dict[DeviceKey, Evidence]] = {}
        self.dead_letters: list[DeadLetter] = []
        self.postponed: frozenset[UUID] = frozenset()
        """Devices whose rows cannot be written now: what they say is parked."""
        self.since = monotonic()
        """When its first part came (time.monotonic, seconds)."""

    def add(self, part: Part) -> None:
        """Take a part in."""
        if not self.parts:
            self.since = monotonic()
        self.parts.append(part)
        self.count += len(part)
        self.entries_in_hand += len(part)
        part.fill(self)

    @property
    def integrations(self) -> set[UUID]:
        """The integrations that its entries came for."""
        return {part.feed.integration_id for part in self.parts}

    def of(self, feed: Feed) -> dict[DeviceKey, Evidence]:
        """Return the evidence of one feed, by device."""
        devices = self.evidence.get(feed)
        if devices is None:
            devices = self.evidence[feed] = {}
        return devices

    def with_fates(self, fates: Fates) -> "Pile":
        """Return it with these entries, by their place in it, not applied; decoded again, counted no second time."""
        parts, first = [], 0
        for part in self.parts:
            mine = {n - first: fates[n] for n in range(first, first + len(part)) if n in fates}
            parts.append(part.with_fates(mine) if mine else part)
            first += len(part)
        return self._again(parts)

    def naming(self, devices: Mapping[Feed, Mapping[DeviceKey, DeadReason]]) -> dict[int, DeadReason]:
        """Return the places of the entries that name one of these devices, each with the device's reason."""
        places: dict[int, DeadReason] = {}
        first = 0
        for part in self.parts:
            if reasons := devices.get(part.feed):
                for place, keys in enumerate(part.names(), first):
                    if mine := [reasons[key] for key in keys if key in reasons]:
                        places[place] = mine[0]
            first += len(part)
        return places

    def postponing(self, devices: Collection[UUID]) -> "Pile":
        """Return it with what these devices say to be parked."""
        pile = self._again(self.parts)
        pile.postponed |= frozenset(devices)
        return pile

    def joined(self, other: "Pile") -> "Pile":
        """Return one pile of both, this one's entries first; `other` has been counted already."""
        pile = self._again([*self.parts, *other.parts])
        pile.entries_in_hand += other.entries_in_hand
        pile.payload_bytes += other.payload_bytes
        return pile

    def without(self, lost: frozenset[tuple[int, int]]) -> "Pile":
        """Return the pile of what did not come by these sessions; what did is given up."""
        return self._again([part for part in self.parts if not part.left_to_another(lost)])

    def unkept_of(self, integrations: Collection[UUID]) -> "Pile":
        """Return it with nothing kept of what came for these integrations: they are gone."""
        return self._again(
            [part.unkept() if part.feed.integration_id in integrations else part for part in self.parts]
        )

    def without_events(self, known: frozenset[tuple[UUID, str]]) -> "Pile":
        """Return the pile with these webhook events answered and not applied."""
        return self._again([part.without_events(known) for part in self.parts])

    def _again(self, parts: "list[Part]") -> "Pile":
        pile = Pile(Counts())
        for part in parts:
            pile.add(part)
        pile.entries_in_hand, pile.payload_bytes = self.entries_in_hand, self.payload_bytes
        pile.postponed, pile.since = self.postponed, self.since
        return pile
