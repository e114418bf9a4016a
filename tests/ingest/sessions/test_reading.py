"""How what came is cut into what is decoded at once."""

import pytest

from handlers.events import Publish
from ingest.mqtt.port import Inbound, Released
from ingest.sessions.reading import PORTION, PORTION_BYTES, portions, size_of


def publish(topic_size: int, payload_size: int) -> Publish:
    return Publish("t" * topic_size, b"x" * payload_size, 1, False, False, 1, 0, payload_size)


def test_topics_count_like_payloads_and_what_has_neither_counts_nothing() -> None:
    assert size_of([publish(3, 4), Released(1), publish(60_000, 0)]) == 60_007


@pytest.mark.parametrize("payload_size", [10, 1_000, 300_000, 1_000_000])
def test_a_portion_is_bounded_and_nothing_is_lost_or_moved(payload_size: int) -> None:
    came: list[Inbound] = [publish(10, payload_size) for _ in range(1_234)]
    cut = [list(one) for one, _ in portions(came)]
    assert [one for portion in cut for one in portion] == came
    assert [size for _, size in portions(came)] == [size_of(one) for one in cut]
    assert all(len(one) <= PORTION and (len(one) == 1 or size_of(one) <= PORTION_BYTES) for one in cut)
