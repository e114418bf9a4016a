"""The pile: what one commit takes. Coalesced as it comes, so that little is left to do when its turn has come."""

from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from handlers.events import DeadReason, DeviceKey, Micros, Source
from handlers.evidence import Evidence
from ingest.store.batch import Batch, DeadLetter
from ingest.store.creation import UnknownPolicy


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
    dead_letters: int = 0
    field_errors: int = 0
    skewed: int = 0
    dropped_unknown: int = 0
    dropped_qos0: int = 0


class Part(Protocol):
    """What one sender put into a pile: entries in order, which can be decoded again."""

    def __len__(self) -> int:
        """Return the number of entries."""

    def fill(self, pile: "Pile") -> None:
        """Decode every entry into the pile's evidence and dead letters."""

    def halves(self) -> tuple["Part", "Part"]:
        """Return its two halves, each still to be filled in."""

    def buried(self, reason: DeadReason) -> "Part":
        """Return its only entry as a dead letter."""

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

    __slots__ = ("count", "counts", "dead_letters", "evidence", "parts", "payload_bytes")

    def __init__(self, counts: Counts) -> None:
        self.counts = counts
        self.parts: list[Part] = []
        self.count = 0
        self.payload_bytes = 0
        self.evidence: dict[Feed, dict[DeviceKey, Evidence]] = {}
        self.dead_letters: list[DeadLetter] = []

    def add(self, part: Part) -> None:
        """Take a part in."""
        self.parts.append(part)
        self.count += len(part)
        part.fill(self)

    def of(self, feed: Feed) -> dict[DeviceKey, Evidence]:
        """Return the evidence of one feed, by device."""
        devices = self.evidence.get(feed)
        if devices is None:
            devices = self.evidence[feed] = {}
        return devices

    def split(self) -> tuple["Pile", "Pile"]:
        """Return two piles with half of the entries each, decoded again and counted no second time.

        Raises: ValueError for fewer than two entries.
        """
        if self.count < 2:
            raise ValueError("one entry cannot be split")
        parts = self.parts if len(self.parts) > 1 else self.parts[0].halves()
        middle = len(parts) // 2
        return self._again(parts[:middle]), self._again(parts[middle:])

    def buried(self, reason: DeadReason) -> "Pile":
        """Return the pile of one entry as one with a dead letter instead."""
        (part,) = self.parts
        return self._again([part.buried(reason)])

    def without(self, lost: frozenset[tuple[int, int]]) -> "Pile":
        """Return the pile of what did not come by these sessions; what did is given up."""
        return self._again([part for part in self.parts if not part.left_to_another(lost)])

    def without_events(self, known: frozenset[tuple[UUID, str]]) -> "Pile":
        """Return the pile with these webhook events answered and not applied."""
        return self._again([part.without_events(known) for part in self.parts])

    @staticmethod
    def _again(parts: "list[Part] | tuple[Part, ...]") -> "Pile":
        pile = Pile(Counts())
        for part in parts:
            pile.add(part)
        return pile
