"""When a person is told that a session stands still at one packet."""

from ingest.mqtt.poison import MAX_STUMBLES, PoisonPacketDetector


def test_only_closes_in_a_row_at_one_place_are_a_standstill() -> None:
    stumbles = PoisonPacketDetector()
    assert [stumbles.again("a") for _ in range(MAX_STUMBLES)] == [False, False, True]
    assert not stumbles.again("b")
    stumbles.again("a")
    stumbles.again("a")
    stumbles.past()
    assert not stumbles.again("a")
