"""However the bytes are cut, the packets are the same."""

import itertools
import random

import mqtt5
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.events import Publish
from ingest.mqtt import framing
from ingest.mqtt.framing import Framer
from ingest.mqtt.port import Inbound, Released

MAX_PAYLOAD = 300
text = st.text(st.characters(codec="utf-8", exclude_characters="\0+#"), max_size=20)


@st.composite
def publish(draw: st.DrawFn) -> bytes:
    qos = draw(st.integers(0, 2))
    return mqtt5.PublishPacket(
        "t" + draw(text),
        b"p" * draw(st.sampled_from([0, 1, 100, 127, 128, 299, 300, 301, 1000, 70_000])),
        qos=mqtt5.QoS(qos),
        packet_id=draw(st.integers(1, 65_535)) if qos else None,
        retain=draw(st.booleans()),
        duplicate=bool(qos) and draw(st.booleans()),
        content_type=draw(st.none() | text),
        user_properties=draw(st.lists(st.tuples(text, text), max_size=10)),
    ).write()


other = st.sampled_from(
    [
        mqtt5.PubRelPacket(7).write(),
        mqtt5.PubAckPacket(8).write(),
        mqtt5.PingRespPacket().write(),
        mqtt5.SubAckPacket(9, [mqtt5.SubAckReasonCode.NOT_AUTHORIZED]).write(),
    ]
)


def feed(pieces: list[bytes], max_payload: int = MAX_PAYLOAD) -> tuple[list[Inbound], list[str], Framer]:
    ticks = itertools.count(1)
    framer = Framer(max_payload, lambda: next(ticks))
    inbound: list[Inbound] = []
    control: list[str] = []
    for piece in pieces:
        control += [type(packet).__name__ for packet in framer.feed(piece, inbound)]
    return inbound, control, framer


@given(st.lists(publish() | other, max_size=8), st.integers(0, 2**32), st.sampled_from([1, 3, 50, 5000]))
def test_any_split_gives_the_same_packets(packets: list[bytes], seed: int, mean: int) -> None:
    stream, dice = b"".join(packets), random.Random(seed)
    mean = max(mean, len(stream) // 5000)
    pieces, at = [], 0
    while at < len(stream):
        size = dice.randint(1, 2 * mean)
        pieces.append(stream[at : at + size])
        at += size
    assert feed(pieces)[:2] == feed(packets)[:2] == feed([stream])[:2]
    assert feed(pieces)[2].broken is None
    assert len(feed(pieces)[0]) == sum(packet[0] >> 4 in (3, 6) for packet in packets)


def test_of_an_oversized_payload_only_the_head_is_ever_held() -> None:
    size = 10_000_000
    stream = mqtt5.PublishPacket("t", b"x" * size, qos=mqtt5.QoS(1), packet_id=5).write()
    framer, inbound = Framer(1000, lambda: 1), list[Inbound]()
    for at in range(0, len(stream), 4096):
        framer.feed(stream[at : at + 4096], inbound)
        assert len(framer._pending) + len(framer._head) <= framing.HEAD
    framer.feed(mqtt5.PubRelPacket(6).write(), inbound)
    assert inbound == [Publish("t", b"x" * framing.HEAD, 1, False, False, 5, 1, size), Released(6)]


def test_properties_without_end_are_not_held_either() -> None:
    many = [("k" * 1000, "v" * 1000)] * 1000
    stream = mqtt5.PublishPacket("t", b"payload", user_properties=many).write()
    framer, inbound = Framer(1000, lambda: 1), list[Inbound]()
    for at in range(0, len(stream), 4096):
        framer.feed(stream[at : at + 4096], inbound)
        assert len(framer._pending) <= 2 * 4096
    assert inbound == [Publish("t", b"payload", 0, False, False, 0, 1, 7)]


@given(st.binary(max_size=200), st.integers(1, 200))
def test_no_bytes_at_all_raise_and_the_verdict_does_not_depend_on_the_split(noise: bytes, step: int) -> None:
    pieces = [noise[at : at + step] for at in range(0, len(noise), step)]
    (whole, _, one), (parts, _, other) = feed([noise]), feed(pieces)
    assert whole == parts
    assert str(one.broken) == str(other.broken)


@pytest.mark.parametrize("raised", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_is_not_taken_for_a_malformed_packet(
    monkeypatch: pytest.MonkeyPatch, raised: type[BaseException]
) -> None:
    def read(_: memoryview) -> None:
        raise raised

    monkeypatch.setattr(mqtt5, "read", read)
    with pytest.raises(raised):
        feed([b"\xd0\x00"])
