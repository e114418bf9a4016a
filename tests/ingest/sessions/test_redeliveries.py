"""How long a publish is known that was committed."""

import pytest

from handlers.events import Publish
from ingest.sessions.redeliveries import PACKET_IDS, RedeliveryLog
from ingest.store.commit.sessions import StoredSession


def publish(packet_id: int, *, dup: bool = False) -> Publish:
    return Publish("devices/d1/telemetry", b"{}", 1, False, dup, packet_id, 0, 2)


def committed(log: RedeliveryLog, *publishes: Publish) -> None:
    log.commit(publishes, log.select(publishes, "marker"))


@pytest.mark.parametrize(("newer", "applied"), [(9, False), (10, True)])
def test_one_is_known_as_long_as_it_may_be_on_its_way(newer: int, applied: bool) -> None:
    """Later its packet id comes round, and the same words are another event."""
    log = RedeliveryLog()
    log.keep(10)
    committed(log, publish(1))
    committed(log, *(publish(2 + n) for n in range(newer)))
    assert (log.select([publish(1, dup=True)], "marker") != [None]) is applied


def test_without_a_receive_maximum_one_is_known_until_its_packet_id_comes_round() -> None:
    log = RedeliveryLog()
    committed(log, *(publish(packet_id) for packet_id in range(1, PACKET_IDS + 1)))
    assert log.select([publish(1, dup=True)], "marker") == [None]
    assert log.select([publish(1)], "marker") != [None]
    assert log.select([publish(1, dup=True)], "marker") != [None]


def test_what_was_stored_is_kept_by_the_same_rule() -> None:
    log = RedeliveryLog()
    packed = log.select([publish(n) for n in range(1, 21)], "marker")
    loaded = RedeliveryLog.load(
        StoredSession(1, 1, None, [(20, b"".join(one or b"" for one in packed))], [], ())
    )
    loaded.keep(10)
    known = [loaded.select([publish(n, dup=True)], "marker") == [None] for n in range(1, 21)]
    assert known == [False] * 10 + [True] * 10
