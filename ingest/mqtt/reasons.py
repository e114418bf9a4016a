"""Reason codes in words, and the CONNACK of brokers that know nothing of MQTT 5."""

import mqtt5

from ingest.errors import BrokerRefused

UNSUPPORTED_PROTOCOL_VERSION = 0x84
SESSION_TAKEN_OVER = 0x8E
NO_MATCHING_SUBSCRIBERS = 0x10
FAILURE = 0x80
"""Reason codes from here on mean no."""

# Not true enums, whatever the stub says: they can neither be iterated nor compared with `>=`.
_ENUMS = (mqtt5.DisconnectReasonCode, mqtt5.SubAckReasonCode, mqtt5.PubAckReasonCode, mqtt5.ConnAckReasonCode)
_WORDS = {
    int(getattr(enum, name)): name.replace("_", " ").lower()
    for enum in _ENUMS
    for name in dir(enum)
    if name.isupper()
}
_OLD_CONNACK = {
    0: UNSUPPORTED_PROTOCOL_VERSION,
    1: UNSUPPORTED_PROTOCOL_VERSION,
    2: 0x85,
    3: 0x88,
    4: 0x86,
    5: 0x87,
}
_OLD_LENGTH = 4
_MOST = 200


def in_words(code: int, said: str | None = None) -> str:
    """Name the reason code; `said` is the broker's own Reason String, shortened and without control characters."""
    words = _WORDS.get(code, "unknown reason")
    if not said:
        return words
    return f"{words}: {''.join(c if c.isprintable() else ' ' for c in said[:_MOST])}"


def without(secret: str | None, text: str) -> str:
    """Take the password out of a text that the broker composed."""
    return text.replace(secret, "***") if secret else text


class Greeting:
    """Holds back the broker's first bytes until there are the four that tell one CONNACK from another."""

    __slots__ = ("_head",)

    def __init__(self) -> None:
        self._head = b""

    def feed(self, data: bytes) -> bytes:
        """Return all bytes so far once they are enough, else none."""
        self._head += data
        return self._head if len(self._head) >= _OLD_LENGTH else b""


def old_connack(head: bytes, *, success_is_refusal: bool = True) -> BrokerRefused | None:
    """Read a CONNACK of MQTT 3.x (two bytes after the fixed header; one of MQTT 5 has at least three) as a refusal.

    To somebody who asked for MQTT 5, code 0 too is a refusal: that broker did not look at the protocol level.
    Source: MQTT 3.1.1, 3.2.2.3; MQTT 5, 3.2.2.
    """
    if head[0] != 0x20 or head[1] != 2 or (head[3] == 0 and not success_is_refusal):
        return None
    code = _OLD_CONNACK.get(head[3], FAILURE)
    return BrokerRefused(code, in_words(code, None if head[3] else "the broker answered in MQTT 3.1.1"))
