"""Bytes to packets, without a network."""

import contextlib
import itertools
from collections.abc import Callable, Iterable

import mqtt5
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.events import Publish
from ingest.errors import ProtocolBroken
from ingest.mqtt.framing import SLACK, Framing
from ingest.mqtt.port import Inbound, Released
from ingest.mqtt.skimming import HEAD, MAX_PROPERTIES
from ingest.mqtt.unreadable import Unreadable

MAX_PAYLOAD = 1000
# The codec's panic also leaves the UnicodeDecodeError behind it to sys.unraisablehook.
a_panic_is_noisy = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
topics = st.text(st.characters(exclude_characters="\0+#", exclude_categories=["Cs"]), min_size=1, max_size=20)


def publish(topic: str, payload: bytes, qos: int, **more: object) -> bytes:
    packet_id = 7 if qos else None
    packet = mqtt5.PublishPacket(topic, payload, qos=mqtt5.QoS(qos), packet_id=packet_id, **more)  # type: ignore[arg-type]
    return packet.write()


wire_publishes = st.builds(
    publish,
    topics,
    st.binary(max_size=300),
    st.sampled_from([0, 1, 2]),
    content_type=st.none() | st.text("ab/"),
)
releases = st.integers(1, 65_535).map(lambda packet_id: mqtt5.PubRelPacket(packet_id).write())
controls = st.sampled_from([mqtt5.PingRespPacket().write(), mqtt5.PubAckPacket(9).write()])


def framing(controls: list[mqtt5.Packet], max_payload: int = MAX_PAYLOAD) -> Framing:
    times = iter(range(1, 1_000_000))
    return Framing(lambda: next(times), max_payload, controls.append)


def feed(parser: Framing, pieces: Iterable[bytes], inbound: list[Inbound]) -> None:
    for piece in pieces:
        parser.feed(piece, inbound)


def parse(pieces: list[bytes], max_payload: int = MAX_PAYLOAD) -> tuple[list[Inbound], list[str]]:
    controls: list[mqtt5.Packet] = []
    inbound: list[Inbound] = []
    parser = framing(controls, max_payload)
    feed(parser, pieces, inbound)
    assert parser.kept == 0
    return inbound, [type(packet).__name__ for packet in controls]


@given(st.lists(wire_publishes | releases | controls, max_size=8), st.data())
def test_however_the_stream_is_cut_the_same_packets_come_out(
    packets: list[bytes], data: st.DataObject
) -> None:
    stream = b"".join(packets)
    whole = parse([stream])
    assert len(whole[0]) + len(whole[1]) == len(packets)
    assert parse([stream[i : i + 1] for i in range(len(stream))]) == whole
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=6)) | {0, len(stream)})
    assert parse([stream[a:b] for a, b in itertools.pairwise(cuts)]) == whole


@given(topics, st.binary(max_size=50), st.sampled_from([0, 1, 2]), st.booleans(), st.booleans())
def test_every_field_of_a_publish_is_passed_on(
    topic: str, payload: bytes, qos: int, retain: bool, duplicate: bool
) -> None:
    dup = duplicate and qos > 0
    inbound, _ = parse(
        [publish(topic, payload, qos, retain=retain, duplicate=dup, content_type="text/plain")]
    )
    packet_id = 7 if qos else 0
    assert inbound == [Publish(topic, payload, qos, retain, dup, packet_id, 1, len(payload), "text/plain")]
    assert type(inbound[0].qos) is int  # type: ignore[union-attr]


@given(
    st.sampled_from([0, 1, 2]),
    st.integers(SLACK, SLACK + 3 * HEAD),
    st.sampled_from([0, 10, MAX_PROPERTIES - 20, MAX_PROPERTIES + 20]),
    st.integers(1000, 200_000),
)
def test_an_oversized_publish_is_skimmed_and_never_kept_whole(
    qos: int, excess: int, properties: int, piece: int
) -> None:
    payload = bytes(range(256)) * ((MAX_PAYLOAD + excess) // 256 + 1)
    value = "v" * min(properties, 60_000)
    user = [("k", value), ("k", "v" * (properties - len(value)))]
    large = publish("a/b", payload, qos, duplicate=qos > 0, content_type="image/png", user_properties=user)
    stream = publish("first", b"1", 1) + large + publish("last", b"2", 1)
    parser = framing([])
    inbound: list[Inbound] = []
    most = 0
    for i in range(0, len(stream), piece):
        parser.feed(stream[i : i + piece], inbound)
        most = max(most, parser.kept)
    assert most < 65_535 + 10 + MAX_PROPERTIES + HEAD + 1
    first, skimmed, last = inbound
    assert isinstance(first, Publish)
    assert isinstance(last, Publish)
    assert isinstance(skimmed, Publish)
    assert (first.payload, last.payload) == (b"1", b"2")
    assert (skimmed.topic, skimmed.payload, skimmed.size) == ("a/b", payload[:MAX_PAYLOAD], len(payload))
    assert (skimmed.qos, skimmed.dup, skimmed.packet_id) == (qos, qos > 0, 7 if qos else 0)
    assert first.received_at < skimmed.received_at < last.received_at


def test_a_pubrel_comes_in_its_place_among_the_publishes() -> None:
    stream = publish("a", b"1", 2) + mqtt5.PubRelPacket(7).write() + publish("a", b"2", 2)
    inbound, _ = parse([stream])
    assert [type(item) for item in inbound] == [Publish, Released, Publish]
    assert inbound[1] == Released(7)


def test_an_unfinished_packet_is_parsed_once_not_once_a_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    read = mqtt5.read

    def counted(view: memoryview) -> tuple[mqtt5.Packet, int]:
        calls.append(len(view))
        return read(view)

    monkeypatch.setattr(mqtt5, "read", counted)
    stream = publish("a/b", b"x" * 900, 1)
    inbound, _ = parse([stream[i : i + 1] for i in range(len(stream))])
    assert len(inbound) == 1
    assert len(calls) <= 6


CUTS = pytest.mark.parametrize(
    "cut", [lambda b: [b], lambda b: [b[i : i + 1] for i in range(len(b))]], ids=["whole", "bytes"]
)
UNREADABLE = {
    "topic that is not UTF-8": (b"\x30\x05\x00\x02\xff\xfe\x00", "\\xff\\xfe", b"", 0),
    "a surrogate in the topic": (b"\x32\x0a\x00\x04a\xed\xa0\x80\x00\x07\x00b", "a\\xed\\xa0\\x80", b"b", 7),
    "NUL in the topic": (b"\x3b\x08\x00\x02a\x00\x00\x07\x00b", "a\\x00", b"b", 7),
    "empty topic and no alias": (b"\x30\x05\x00\x00\x00bb", "", b"bb", 0),
    "empty topic with an alias that was never allowed": (b"\x30\x06\x00\x00\x03\x23\x00\x01", "", b"", 0),
    "content type that is not UTF-8": (b"\x34\x0b\x00\x01a\x00\x09\x04\x03\x00\x01\xffb", "a", b"b", 9),
    "properties longer than the packet": (b"\x30\x05\x00\x01a\x7fb", "a", b"\x7fb", 0),
    "properties that are none": (b"\x32\x09\x00\x01a\x00\x07\x02\xee\x00b", "a", b"b", 7),
    "properties of a length without an end": (
        b"\x30\x07\x00\x01a\xff\xff\xff\xff",
        "a",
        b"\xff\xff\xff\xff",
        0,
    ),
}
"""Packets, and what is kept of them: topic, payload, packet id."""


@a_panic_is_noisy
@pytest.mark.parametrize("packet, topic, payload, packet_id", UNREADABLE.values(), ids=UNREADABLE.keys())
@CUTS
def test_a_publish_that_can_be_acknowledged_never_ends_the_connection(
    packet: bytes, topic: str, payload: bytes, packet_id: int, cut: Callable[[bytes], list[bytes]]
) -> None:
    inbound, _ = parse(cut(publish("a", b"before", 1) + packet + publish("a", b"behind", 1)))
    before, bad, behind = inbound
    assert isinstance(before, Publish)
    assert isinstance(behind, Publish)
    assert (before.payload, behind.payload) == (b"before", b"behind")
    assert isinstance(bad, Unreadable)
    assert (bad.topic, bad.payload, bad.packet_id, bad.size) == (topic, payload, packet_id, len(payload))
    assert (bad.qos, bad.retain, bad.dup) == (packet[0] >> 1 & 3, packet[0] & 1 == 1, packet[0] & 8 == 8)
    assert before.received_at < bad.received_at < behind.received_at


MALFORMED = {
    "packet id 0": b"\x32\x06\x00\x01a\x00\x00\x00",
    "packet id 0 and a topic that is not UTF-8": b"\x32\x06\x00\x01\xff\x00\x00\x00",
    "QoS 3": b"\x36\x06\x00\x01a\x00\x01\x00",
    "topic longer than the packet": b"\x30\x04\x00\x09ab",
    "no room for a topic": b"\x30\x01\x00",
    "no room for a packet id": b"\x32\x04\x00\x01a\x00",
    "remaining length of five bytes": b"\x30\xff\xff\xff\xff\x01",
    "packet type 0": b"\x00\x00",
    "PUBREL with wrong flags": b"\x60\x02\x00\x01",
    "PUBACK too short": b"\x40\x01\x00",
    "a control packet of 200 MB": b"\x90\xff\xff\xff\x5f\x00",
}


@a_panic_is_noisy
@pytest.mark.parametrize("bad", MALFORMED.values(), ids=MALFORMED.keys())
@CUTS
def test_what_cannot_be_parsed_breaks_the_protocol_after_what_came_before(
    bad: bytes, cut: Callable[[bytes], list[bytes]]
) -> None:
    inbound: list[Inbound] = []
    parser = framing([])
    with pytest.raises(ProtocolBroken, match="malformed packet, connection closed: "):
        feed(parser, cut(publish("a", b"before", 1) + bad), inbound)
    assert [p.payload for p in inbound if isinstance(p, Publish)] == [b"before"]


def test_an_oversized_publish_whose_properties_are_impossible_is_skimmed_like_any_other() -> None:
    remaining = 4_000_000
    packet = b"\x30\x80\x92\xf4\x01" + b"\x00\x01a" + b"\xff\xff\xff\x7f"
    parser = framing([])
    inbound: list[Inbound] = []
    feed(parser, [packet + bytes(remaining - 8), b"\x00", publish("b", b"", 0)], inbound)
    skimmed, behind = inbound
    assert isinstance(skimmed, Publish)
    assert isinstance(behind, Publish)
    assert (skimmed.topic, skimmed.size, behind.topic) == ("a", remaining - 3, "b")
    assert len(skimmed.payload) == MAX_PAYLOAD


@pytest.mark.parametrize("most", [0, 1, 1_000, HEAD + 1])
def test_no_more_than_max_payload_is_kept(most: int) -> None:
    inbound, _ = parse([publish("a", bytes(most + 1), 1), publish("a", bytes(most), 1)], most)
    larger, whole = inbound
    assert isinstance(larger, Publish)
    assert isinstance(whole, Publish)
    assert (larger.size, len(larger.payload)) == (most + 1, min(most, HEAD))
    assert len(whole.payload) == whole.size == most


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit, MemoryError])
def test_what_is_no_fault_of_the_packet_is_never_swallowed(
    monkeypatch: pytest.MonkeyPatch, interruption: type[BaseException]
) -> None:
    def read(view: memoryview) -> tuple[mqtt5.Packet, int]:
        raise interruption

    monkeypatch.setattr(mqtt5, "read", read)
    with pytest.raises(interruption):
        framing([]).feed(b"\xd0\x00", [])


@a_panic_is_noisy
@given(st.binary(max_size=200))
def test_bytes_of_any_kind_end_in_packets_or_in_a_broken_protocol(garbage: bytes) -> None:
    with contextlib.suppress(ProtocolBroken):
        framing([]).feed(garbage, [])
