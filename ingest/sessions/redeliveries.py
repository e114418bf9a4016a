"""Redeliveries: publishes of a session that were committed are acknowledged when they come again, and not applied.

A message without a time of its own is stamped when it comes; redelivered after a crash it would be a second, later
event. So each commit also writes a digest of 8 bytes a publish (packet id, topic, payload). It is known until its
packet id comes again with DUP=0, or until as many newer publishes came as may be on their way: then it was
acknowledged, and the same id, topic and payload are another event. QoS 2: until PUBREL.
"""

from collections.abc import Collection, Iterable, Sequence
from hashlib import blake2b
from itertools import islice
from typing import Protocol
from uuid import UUID, uuid4

from handlers.events import Micros, Publish
from ingest.mqtt.port import Inbound, Released
from ingest.store.commit.batch import Batch, SessionProgress
from ingest.store.commit.sessions import StoredSession

PACKET_IDS = 65_535
_BLANK = blake2b(digest_size=8)
"""To copy: making one costs twice as much."""


class RedeliveryFilter(Protocol):
    """Selects the arrivals of a source that are to be applied, and remembers them once they are committed."""

    def select(self, arrivals: Iterable[Inbound], marker_topic: str) -> list[bytes | None]:
        """Return a digest for each that is to be applied, b"" where none is stored, None for anything else."""

    def record(
        self,
        batch: Batch,
        arrivals: Sequence[Inbound],
        digests: Sequence[bytes | None],
        heard_until: Micros | None,
        seq: int | None,
    ) -> int:
        """Put into the batch what a later process needs to do the same. Return the place of the last arrival.

        `seq` is that place where the arrivals were part of a batch before, else None.
        """

    def commit(self, arrivals: Iterable[Inbound], digests: Iterable[bytes | None]) -> None:
        """Remember what a commit holds."""

    def release(self, packet_id: int) -> None:
        """Forget a QoS 2 packet id: its sender has let go of it."""

    def is_lost(self, sessions: Collection[tuple[int, int]]) -> bool:
        """Return whether the source is one of these (session id, epoch), which another process has taken up."""

    def dead_letter_id(self, integration_id: UUID, publish: Publish) -> UUID:
        """Return the id of the dead letter that keeps this publish."""


def unpacked(packed: bytes) -> int:
    """Return the hash of a packed digest as a signed integer (Postgres' bigint)."""
    return int.from_bytes(packed[2:], "big", signed=True)


class RedeliveryLog:
    """The known digests of one MQTT session as it was taken up, by packet id: a `RedeliveryFilter`."""

    def __init__(self, session_id: int = 0, epoch: int = 0) -> None:
        self._session = session_id, epoch
        self.seq = 0
        """Publishes committed in this session so far."""
        self._known: dict[int, bytes] = {}
        """In the order in which they were committed."""
        self._kept = PACKET_IDS
        self._received: dict[int, int] = {}

    @classmethod
    def load(cls, stored: StoredSession) -> "RedeliveryLog":
        """Return what the database knows of a session."""
        self = cls(stored.id, stored.epoch)
        for seq, packed in stored.digests:
            for start in range(0, len(packed), 10):
                digest = packed[start : start + 10]
                packet_id = int.from_bytes(digest[:2], "big")
                self._known.pop(packet_id, None)
                self._known[packet_id] = digest
            self.seq = seq
        self._received = dict(stored.received)
        return self

    def select(self, arrivals: Iterable[Inbound], marker_topic: str) -> list[bytes | None]:
        """Return the packed digest of each publish that is to be applied (b"" at QoS 0), and None for anything else.

        Packed: the packet id (2 bytes) and 8 bytes of a hash over topic and payload. Anything else: markers, PUBRELs,
        and publishes with DUP=1 that were committed before; a DUP=0 publish never was.
        """
        selected: list[bytes | None] = []
        append, known, blank = selected.append, self._known, _BLANK
        for arrival in arrivals:
            if not isinstance(arrival, Publish) or arrival.topic == marker_topic:
                append(None)
                continue
            topic, payload, qos, _, dup, packet_id, _, _, _ = arrival
            if not qos:
                append(b"")
                continue
            hashed = blank.copy()
            hashed.update((topic + "\0").encode() + payload)
            digest = packet_id.to_bytes(2, "big") + hashed.digest()
            if dup:
                append(None if self._was_committed(arrival, digest) else digest)
            else:
                if qos == 1:
                    known.pop(packet_id, None)
                else:
                    self._received.pop(packet_id, None)
                append(digest)
        return selected

    def _was_committed(self, publish: Publish, digest: bytes) -> bool:
        if publish.qos == 2:
            return self._received.get(publish.packet_id) == unpacked(digest)
        return self._known.get(publish.packet_id) == digest

    def record(
        self,
        batch: Batch,
        arrivals: Sequence[Inbound],
        digests: Sequence[bytes | None],
        heard_until: Micros | None,
        seq: int | None,
    ) -> int:
        """Put digests, the newest marker and QoS 2 packet ids into the batch; return the last arrival's place."""
        session_id, epoch = self._session
        packs: list[bytes] = []
        for arrival, digest in zip(arrivals, digests, strict=True):
            if digest and isinstance(arrival, Publish):
                if arrival.qos == 1:
                    packs.append(digest)
                else:
                    batch.received.append((session_id, arrival.packet_id, unpacked(digest)))
            elif digest is None and isinstance(arrival, Released):
                batch.released.append((session_id, arrival.packet_id))
        if seq is None:
            self.seq += len(arrivals)
            seq = self.seq
        batch.sessions.append(SessionProgress(session_id, seq, b"".join(packs), heard_until, epoch))
        return seq

    def commit(self, arrivals: Iterable[Inbound], digests: Iterable[bytes | None]) -> None:
        """Remember the publishes that a commit holds; those without a digest are passed over."""
        known = self._known
        for arrival, digest in zip(arrivals, digests, strict=True):
            if digest:
                assert isinstance(arrival, Publish)
                if arrival.qos == 2:
                    self._received[arrival.packet_id] = unpacked(digest)
                else:
                    known.pop(arrival.packet_id, None)
                    known[arrival.packet_id] = digest
        self._forget_the_oldest()

    def keep(self, at_most: int) -> None:
        """Keep as many of QoS 1 as may be on their way: MQTT 5's receive maximum (without one, all packet ids)."""
        self._kept = at_most
        self._forget_the_oldest()

    def _forget_the_oldest(self) -> None:
        surplus = max(0, len(self._known) - self._kept)
        # the oldest at once: a dict finds its first key by walking over all that were deleted before it
        for packet_id in list(islice(self._known, surplus)):
            del self._known[packet_id]

    def clear(self) -> None:
        """Forget everything: the broker has no session of ours any more, and packet ids start again."""
        self._known.clear()
        self._received.clear()

    def release(self, packet_id: int) -> None:
        """Forget a QoS 2 packet id: its sender has let go of it."""
        self._received.pop(packet_id, None)

    def is_lost(self, sessions: Collection[tuple[int, int]]) -> bool:
        """Return whether another process has taken up this session."""
        return self._session in sessions

    def dead_letter_id(self, integration_id: UUID, publish: Publish) -> UUID:
        """Return a new id: what is a redelivery is never dead-lettered again."""
        return uuid4()
