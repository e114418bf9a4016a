"""Digests: which publishes of a session were committed, so that a redelivery is acknowledged and not applied again.

A message without a time of its own is stamped when it comes; redelivered after a crash it would be a second, later
event. So each commit also writes 8 bytes a publish (packet id, topic, payload). One is known until its packet id comes
again with DUP=0, or until as many newer ones came as may be on their way: then it was acknowledged, and the same id,
topic and payload are another event. QoS 2: until PUBREL.
"""

from collections.abc import Iterable
from hashlib import blake2b
from itertools import islice

from handlers.events import Publish
from ingest.mqtt.port import Inbound

PACKET_IDS = 65_535
_BLANK = blake2b(digest_size=8)
"""To copy: making one costs twice as much."""


def unpacked(packed: bytes) -> int:
    """Return the hash of a packed digest as a signed integer (Postgres' bigint)."""
    return int.from_bytes(packed[2:], "big", signed=True)


class Digests:
    """The known digests of one session, by packet id."""

    def __init__(self, seq: int = 0) -> None:
        self.seq = seq
        """Publishes committed in this session so far."""
        self._known: dict[int, bytes] = {}
        """In the order in which they were committed."""
        self._kept = PACKET_IDS
        self._received: dict[int, int] = {}

    @classmethod
    def load(cls, rows: list[tuple[int, bytes]], received: list[tuple[int, int]]) -> "Digests":
        """Return what the database knows: rows of (seq, packed digests) in order, and QoS 2 (packet id, hash)."""
        self = cls()
        for seq, packed in rows:
            for start in range(0, len(packed), 10):
                one = packed[start : start + 10]
                packet_id = int.from_bytes(one[:2], "big")
                self._known.pop(packet_id, None)
                self._known[packet_id] = one
            self.seq = seq
        self._received = dict(received)
        return self

    def judged(self, inbounds: Iterable[Inbound], marker_topic: str) -> list[bytes | None]:
        """Return the packed digest of each publish that is to be applied (b"" at QoS 0), and None for anything else.

        Packed: the packet id (2 bytes) and 8 bytes of a hash over topic and payload. Anything else: markers, PUBRELs,
        and publishes with DUP=1 that were committed before; a DUP=0 publish never was.
        """
        judged: list[bytes | None] = []
        append, known, blank = judged.append, self._known, _BLANK
        for one in inbounds:
            if not isinstance(one, Publish) or one.topic == marker_topic:
                append(None)
                continue
            topic, payload, qos, _, dup, packet_id, _, _, _ = one
            if not qos:
                append(b"")
                continue
            hashed = blank.copy()
            hashed.update((topic + "\0").encode() + payload)
            digest = packet_id.to_bytes(2, "big") + hashed.digest()
            if dup:
                append(None if self._was_committed(one, digest) else digest)
            else:
                if qos == 1:
                    known.pop(packet_id, None)
                else:
                    self._received.pop(packet_id, None)
                append(digest)
        return judged

    def _was_committed(self, publish: Publish, digest: bytes) -> bool:
        if publish.qos == 2:
            return self._received.get(publish.packet_id) == unpacked(digest)
        return self._known.get(publish.packet_id) == digest

    def committed(self, inbounds: Iterable[Inbound], digests: Iterable[bytes | None]) -> None:
        """Remember the publishes that a commit holds; those without a digest are passed over."""
        known = self._known
        for inbound, digest in zip(inbounds, digests, strict=True):
            if digest:
                assert isinstance(inbound, Publish)
                if inbound.qos == 2:
                    self._received[inbound.packet_id] = unpacked(digest)
                else:
                    known.pop(inbound.packet_id, None)
                    known[inbound.packet_id] = digest
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
