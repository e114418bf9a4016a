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
    assert (skimmed.topic, skimmed.payload, skimmed.size) == ("a/b", payload[:HEAD], len(payload))
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


MALFORMED = {
    "topic that is not UTF-8": b"\x30\x05\x00\x02\xff\xfe\x00",
    "content type that is not UTF-8": b"\x30\x08\x00\x01a\x04\x03\x00\x01\xffb",
    "NUL in the topic": b"\x30\x05\x00\x01\x00\x00b",
    "empty topic and no alias": b"\x30\x05\x00\x00\x00bb",
    "empty topic with an alias that was never allowed": b"\x30\x06\x00\x00\x03\x23\x00\x01",
    "packet id 0": b"\x32\x06\x00\x01a\x00\x00\x00",
    "QoS 3": b"\x36\x06\x00\x01a\x00\x01\x00",
    "topic longer than the packet": b"\x30\x04\x00\x09ab",
    "properties longer than the packet": b"\x30\x05\x00\x01a\x7fb",
    "remaining length of five bytes": b"\x30\xff\xff\xff\xff\x01",
    "packet type 0": b"\x00\x00",
    "PUBREL with wrong flags": b"\x60\x02\x00\x01",
    "PUBACK too short": b"\x40\x01\x00",
    "a control packet of 200 MB": b"\x90\xff\xff\xff\x5f\x00",
}


@a_panic_is_noisy
@pytest.mark.parametrize("bad", MALFORMED.values(), ids=MALFORMED.keys())
@pytest.mark.parametrize(
    "cut", [lambda b: [b], lambda b: [b[i : i + 1] for i in range(len(b))]], ids=["whole", "bytes"]
)
def test_what_cannot_be_parsed_breaks_the_protocol_after_what_came_before(
    bad: bytes, cut: Callable[[bytes], list[bytes]]
) -> None:
    inbound: list[Inbound] = []
    parser = framing([])
    with pytest.raises(ProtocolBroken, match="malformed packet, connection closed: "):
        feed(parser, cut(publish("a", b"before", 1) + bad), inbound)
    assert [p.payload for p in inbound if isinstance(p, Publish)] == [b"before"]


def test_an_oversized_publish_whose_properties_are_impossible_breaks_the_protocol() -> None:
    remaining = 4_000_000
    packet = b"\x30\x80\x92\xf4\x01" + b"\x00\x01a" + b"\xff\xff\xff\x7f"
    parser = framing([])
    with pytest.raises(ProtocolBroken, match="malformed"):
        feed(parser, [packet + bytes(remaining - 8), b"\x00"], [])


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
