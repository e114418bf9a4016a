"""A PUBLISH that is framed and yet not allowed: it is skipped, acknowledged in its order, and kept as a dead letter.

Some brokers store what they should have refused (MQTT 5, 1.5.4 and 4.7.3: a topic is UTF-8, not empty, without NUL),
and send it anew at each reconnect, so closing the connection would never end.
"""

from handlers.events import DeadReason, Micros, Publish
from ingest.mqtt.skimming import HEAD, properties_end

UNREADABLE = DeadReason(
    "unreadable",
    "its topic or properties are not what MQTT allows (UTF-8, not empty, no NUL); other bytes are shown as \\xNN",
)


class Unreadable(Publish):
    """A publish whose `topic` is for people: what is no text in it is escaped."""

    __slots__ = ()


def escaped(topic: bytes) -> str:
    r"""Return a topic with what is no text in it, and NUL, as \xNN."""
    return topic.decode(errors="backslashreplace").replace("\0", "\\x00")


def salvaged(
    first: int, body: bytes, received_at: Micros, max_payload: int, *, properties: bool
) -> Unreadable | None:
    """Read what is needed to acknowledge a PUBLISH and to keep it; None where it cannot be acknowledged.

    `first` is its first byte, `body` what follows the fixed header; `properties`: as in MQTT 5, skipped where they fit.
    """
    qos, at = first >> 1 & 3, 2 + int.from_bytes(body[:2])
    topic, packet_id = body[2:at], 0
    if qos:
        packet_id = int.from_bytes(body[at : at + 2])
        at += 2
    if qos == 3 or at > len(body) or len(body) < 2 or (qos and not packet_id):
        return None
    payload = body[properties_end(body, at, len(body)) if properties else at :]
    size = len(payload)
    kept = payload if size <= max_payload else payload[: min(HEAD, max_payload)]
    flags = qos, first & 1 == 1, first & 8 == 8
    return Unreadable(escaped(topic), kept, *flags, packet_id, received_at, size)
