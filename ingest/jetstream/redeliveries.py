"""No digests: what JetStream delivers again has the stamp that it had, so it is the same observation."""

from collections.abc import Iterable

from ingest.mqtt.port import Inbound


class Undigested:
    """Judges every publish worth applying and remembers none."""

    def __init__(self) -> None:
        self.seq = 0
        """Publishes committed on this connection so far."""

    def judged(self, inbounds: Iterable[Inbound], marker_topic: str) -> list[bytes | None]:
        """Return the empty digest for each."""
        return [b"" for _ in inbounds]

    def committed(self, inbounds: Iterable[Inbound], digests: Iterable[bytes | None]) -> None:
        """Remember nothing."""

    def release(self, packet_id: int) -> None:
        """Forget nothing."""
