"""No redelivery filter: what JetStream delivers again has the stamp that it had, so it is the same observation."""

from collections.abc import Collection, Iterable, Sequence
from hashlib import blake2b
from uuid import UUID, uuid5

from handlers.events import Micros, Publish
from ingest.mqtt.port import Inbound
from ingest.store.commit.batch import Batch


class NoRedeliveryFilter:
    """Selects every arrival and remembers none: all processes share the source, and none of them owns it."""

    def select(self, arrivals: Iterable[Inbound], marker_topic: str) -> list[bytes | None]:
        """Return the empty digest for each."""
        return [b"" for _ in arrivals]

    def record(
        self,
        batch: Batch,
        arrivals: Sequence[Inbound],
        digests: Sequence[bytes | None],
        heard_until: Micros | None,
        seq: int | None,
    ) -> int:
        """Record nothing."""
        return 0

    def commit(self, arrivals: Iterable[Inbound], digests: Iterable[bytes | None]) -> None:
        """Remember nothing."""

    def release(self, packet_id: int) -> None:
        """Forget nothing."""

    def is_lost(self, sessions: Collection[tuple[int, int]]) -> bool:
        """Return False: no process takes the source from another."""
        return False

    def dead_letter_id(self, integration_id: UUID, publish: Publish) -> UUID:
        """Return the same id for the same stamp and message, so that a redelivery is the same row."""
        payload = blake2b(publish.payload, digest_size=16).hexdigest()
        name = f"{publish.received_at} {publish.packet_id} {payload} {publish.topic}"
        return uuid5(integration_id, name)
