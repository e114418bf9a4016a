"""How long a publish is known that was committed."""

import pytest

from handlers.events import Publish
from ingest.mqtt.redeliveries import PACKET_IDS, Digests


def publish(packet_id: int, *, dup: bool = False) -> Publish:
    return Publish("devices/d1/telemetry", b"{}", 1, False, dup, packet_id, 0, 2)


def committed(digests: Digests, *publishes: Publish) -> None:
    digests.committed(publishes, digests.judged(publishes, "marker"))


@pytest.mark.parametrize(("newer", "applied"), [(9, False), (10, True)])
def test_one_is_known_as_long_as_it_may_be_on_its_way(newer: int, applied: bool) -> None:
    """Later its packet id comes round, and the same words are another event."""
    digests = Digests()
    digests.keep(10)
    committed(digests, publish(1))
    committed(digests, *(publish(2 + n) for n in range(newer)))
    assert (digests.judged([publish(1, dup=True)], "marker") != [None]) is applied


def test_without_a_receive_maximum_one_is_known_until_its_packet_id_comes_round() -> None:
    digests = Digests()
    committed(digests, *(publish(packet_id) for packet_id in range(1, PACKET_IDS + 1)))
    assert digests.judged([publish(1, dup=True)], "marker") == [None]
    assert digests.judged([publish(1)], "marker") != [None]
    assert digests.judged([publish(1, dup=True)], "marker") != [None]


def test_what_was_stored_is_kept_by_the_same_rule() -> None:
    digests = Digests()
    packed = digests.judged([publish(n) for n in range(1, 21)], "marker")
    loaded = Digests.load([(20, b"".join(one or b"" for one in packed))], [])
    loaded.keep(10)
    known = [loaded.judged([publish(n, dup=True)], "marker") == [None] for n in range(1, 21)]
    assert known == [False] * 10 + [True] * 10
