"""Packets that we send without a codec, many in one write. The same bytes in MQTT 3.1.1 and 5.

Source: MQTT 5, 3.4.2.1: a PUBACK, PUBREC or PUBCOMP of reason 0 without properties may stop after the packet id.
"""

import struct
from collections.abc import Sequence

from handlers.events import Publish
from ingest.mqtt.port import Released

PINGREQ = b"\xc0\x00"
DISCONNECT = b"\xe0\x00"
"""Reason 0, and no session expiry: the session stays."""
DISCONNECT_MALFORMED = b"\xe0\x01\x81"

_BY_QOS = (0, 0x40020000, 0x50020000)
_PUBCOMP = 0x70020000


def acknowledgements(publishes: Sequence[Publish]) -> bytes:
    """Build PUBACK (QoS 1) and PUBREC (QoS 2) in the order of the publishes; QoS 0 is passed over."""
    words = [_BY_QOS[p.qos] | p.packet_id for p in publishes if p.qos]
    return struct.pack(f">{len(words)}I", *words)


def completions(released: Sequence[Released]) -> bytes:
    """Build the PUBCOMPs in order."""
    return struct.pack(f">{len(released)}I", *[_PUBCOMP | r.packet_id for r in released])
