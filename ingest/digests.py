"""Digests: which publishes of a session were committed, so that a redelivery is acknowledged and not applied again.

A message without a time of its own is stamped when it comes; redelivered after a crash it would be a second, later
event. So each commit also writes 8 bytes a publish (packet id, topic, payload). One is known until its packet id comes
again with DUP=0 or a packet-id space of newer publishes came; QoS 2: until PUBREL.
"""

from hashlib import blake2b

from handlers.events import Publish


def digest(publish: Publish) -> int:
    """Return 8 bytes over packet id, topic and payload as a signed integer (Postgres' bigint)."""
    hashed = blake2b(publish.payload, digest_size=8)
    hashed.update(b"\0%d\0" % publish.packet_id)
    hashed.update(publish.topic.encode())
    return int.from_bytes(hashed.digest(), "big", signed=True)


class Digests:
    """The known digests of one session, by packet id."""

    def __init__(self, seq: int = 0) -> None:
        self.seq = seq
        """Publishes committed in this session so far."""
        self._known: dict[int, int] = {}
        self._received: dict[int, int] = {}

    @classmethod
    def load(cls, rows: list[tuple[int, bytes]], received: list[tuple[int, int]]) -> "Digests":
        """Return what the database knows: rows of (seq, packed digests) in order, and QoS 2 (packet id, digest)."""
        self = cls()
        for seq, packed in rows:
            for start in range(0, len(packed), 10):
                packet_id = int.from_bytes(packed[start : start + 2], "big")
                self._known[packet_id] = int.from_bytes(packed[start + 2 : start + 10], "big", signed=True)
            self.seq = seq
        self._received = dict(received)
        return self

    def is_duplicate(self, publish: Publish) -> bool:
        """Say whether this redelivery was committed before; a DUP=0 publish never was."""
        known = self._received if publish.qos == 2 else self._known
        if not publish.dup:
            known.pop(publish.packet_id, None)
            return False
        return publish.packet_id in known and known[publish.packet_id] == digest(publish)

    def committed(self, publish: Publish, value: int) -> None:
        """Remember a publish that a commit holds."""
        if publish.qos == 2:
            self._received[publish.packet_id] = value
        else:
            self._known[publish.packet_id] = value

    def clear(self) -> None:
        """Forget everything: the broker has no session of ours any more, and packet ids start again."""
        self._known.clear()
        self._received.clear()

    def release(self, packet_id: int) -> None:
        """Forget a QoS 2 packet id: its sender has let go of it."""
        self._received.pop(packet_id, None)


def packed(packet_id: int, value: int) -> bytes:
    """Return one QoS 1 digest as it is stored: packet id (2 bytes), digest (8 bytes)."""
    return packet_id.to_bytes(2, "big") + value.to_bytes(8, "big", signed=True)
