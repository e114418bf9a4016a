"""A segment of MQTT arrivals: decoded in the order in which they came, acknowledged in it once they are committed."""

from collections.abc import Collection, Sequence
from itertools import count, repeat
from uuid import uuid4

from handlers.dialects.absorb import absorb
from handlers.dialects.plain import decode
from handlers.events import DeadReason, DeviceKey, FieldError, Micros, Publish
from handlers.text import truncate
from ingest.mqtt.port import Inbound, Released
from ingest.mqtt.unreadable import UNREADABLE, Unreadable
from ingest.pipeline.open_batch import Counts, OpenBatch
from ingest.pipeline.segment import GONE, NO_FATES, UNKEPT, Fates, IntegrationContext, Superseded
from ingest.sessions.drain import Drain
from ingest.sessions.inflight import SessionInflight
from ingest.store.commit.batch import Batch, DeadLetter

MAX_CONTENT_TYPE = 255
"""Characters of it that are kept with a dead letter: MQTT allows 64 KiB, NUL among them."""
MAX_MARKER = 16
"""Digits of a time in microseconds."""


class MqttSegment:
    """Consecutive arrivals of one session: a `Segment` of a batch."""

    __slots__ = ("_arrivals", "_digests", "_drain", "_fates", "_others", "_seq", "_session")

    def __init__(
        self,
        session: SessionInflight,
        arrivals: Sequence[Inbound],
        *,
        digests: list[bytes | None] | None = None,
        drain: Drain | None = None,
        fates: Fates = NO_FATES,
        seq: int | None = None,
    ) -> None:
        self._session = session
        self._arrivals = arrivals
        self._fates = fates
        self._seq = seq
        """Of its last arrival among the session's; None until it was part of a batch."""
        if digests is None:
            self._drain = session.drain
            self._digests = session.redeliveries.select(arrivals, session.marker_topic)
        else:
            self._drain = drain
            self._digests = digests
        self._others: list[Inbound] = []
        """Arrivals that are not to be applied: markers, PUBRELs, redeliveries."""
        if None in self._digests:
            self._others = [
                arrival for arrival, digest in zip(arrivals, self._digests, strict=True) if digest is None
            ]

    def __len__(self) -> int:
        """Return the number of arrivals."""
        return len(self._arrivals)

    @property
    def context(self) -> IntegrationContext:
        """The integration that the arrivals came for."""
        return self._session.integration

    def fill(self, batch: OpenBatch) -> None:
        """Decode what is to be applied, each message straight into its device's evidence."""
        decoding, counts, drain = self._session.decoding, batch.counts, self._drain
        heard_until, offline = (None, ()) if drain is None else (drain.heard_until, drain.offline)
        devices = batch.evidence_of(self.context)
        fates = map(self._fates.get, count()) if self._fates else repeat(None)
        for publish, digest, fate in zip(self._arrivals, self._digests, fates, strict=False):
            if digest is None or type(publish) is not Publish:
                if digest is not None and isinstance(publish, Unreadable) and fate is not GONE:
                    self._dead_letter(publish, UNREADABLE, batch)
                continue
            if fate is not None:
                if fate not in UNKEPT:
                    self._dead_letter(publish, fate, batch)
                continue
            if offline and not self._is_dated(publish):
                decoded = absorb(publish, self._session.as_received, None, devices)
            else:
                decoded = absorb(publish, decoding, heard_until, devices)
            _, field_errors, skewed, dead = decoded
            if drain is not None and decoded.observations:
                drain.note(decoded.observations)
            if dead is not None:
                self._dead_letter(publish, dead, batch)
            elif field_errors or skewed:
                counts.skewed += skewed
                if field_errors:
                    self._note(publish, field_errors, counts)
        counts.received += len(self._arrivals)
        counts.duplicates += len(self._others) - len(self._released()) - len(self._markers())

    def _is_dated(self, publish: Publish) -> bool:
        """Return whether its device's own time dates its presence: not behind an offline word in the backlog."""
        route = self._session.decoding.topics.route(publish.topic)
        device = None if route is None else route.device.external_id
        return self._drain is None or self._drain.dates(device, publish.received_at)

    def _note(self, publish: Publish, errors: Sequence[FieldError], counts: Counts) -> None:
        route = self._session.decoding.topics.route(publish.topic)
        device = None if route is None else route.device
        counts.rejections.misread(self.context.integration_id, device, errors, publish.received_at)

    def _dead_letter(self, publish: Publish, reason: DeadReason, batch: OpenBatch) -> None:
        batch.counts.rejections.count_dead_letter(self.context.integration_id, reason.kind)
        batch.dead_letters.append(dead_letter(self._session, publish, reason))

    def without(self, superseded: Superseded) -> "MqttSegment | None":
        """Return it with these arrivals not applied; None where another process has the session: it gets them again."""
        if self._session.redeliveries.is_lost(superseded.sessions):
            self._session.left(len(self._arrivals))
            return None
        fates: Fates = {**superseded.fates, **self._fates}
        if self.context.integration_id in superseded.integrations:
            fates = dict.fromkeys(range(len(self._arrivals)), GONE)
        if fates == self._fates:
            return self
        return MqttSegment(
            self._session,
            self._arrivals,
            digests=self._digests,
            drain=self._drain,
            fates=fates,
            seq=self._seq,
        )

    def devices_of_entries(self) -> list[Collection[DeviceKey]]:
        """Return, arrival by arrival, the devices that it would be applied to."""
        return [
            {seen.device for seen in decode(arrival, self._session.decoding, None).observations}
            if digest is not None and isinstance(arrival, Publish) and place not in self._fates
            else ()
            for place, (arrival, digest) in enumerate(zip(self._arrivals, self._digests, strict=True))
        ]

    def record(self, batch: Batch) -> None:
        """Put digests, the newest marker and QoS 2 packet ids into the batch; when tried again it keeps its place."""
        self._seq = self._session.redeliveries.record(
            batch, self._arrivals, self._digests, self._heard_until(), self._seq
        )

    def _released(self) -> list[Released]:
        return [arrival for arrival in self._others if isinstance(arrival, Released)]

    def _markers(self) -> list[Publish]:
        topic = self._session.marker_topic
        return [
            arrival for arrival in self._others if isinstance(arrival, Publish) and arrival.topic == topic
        ]

    def _heard_until(self) -> Micros | None:
        """Return the newest time of our own; others may publish to the marker's topic what they like."""
        markers = [
            marker
            for marker in self._markers()
            if len(marker.payload) <= MAX_MARKER and marker.payload.isdigit()
        ]
        times = [int(marker.payload) for marker in markers if int(marker.payload) <= marker.received_at]
        return max(times, default=None)

    def acknowledge(self) -> None:
        """Acknowledge: the commit holds all of it."""
        session = self._session
        session.redeliveries.commit(self._arrivals, self._digests)
        released = self._released()
        for release in released:
            session.redeliveries.release(release.packet_id)
        if (heard_until := self._heard_until()) is not None:
            session.heard_until = max(session.heard_until, heard_until)
            session.drained()
        session.connection.acknowledge(
            [arrival for arrival in self._arrivals if isinstance(arrival, Publish)]
        )
        if released:
            session.connection.complete(released)
        session.left(len(self._arrivals))


def dead_letter(session: SessionInflight, publish: Publish, reason: DeadReason) -> DeadLetter:
    """Return the row that keeps what could not be decoded or was refused."""
    integration_id = session.integration.integration_id
    return DeadLetter(
        session.redeliveries.dead_letter_id(integration_id, publish) if publish.qos else uuid4(),
        integration_id,
        session.session_name,
        publish.topic.replace("\0", "\ufffd"),
        publish.qos,
        publish.retain,
        None if publish.content_type is None else truncate(publish.content_type, MAX_CONTENT_TYPE),
        publish.received_at,
        reason.kind,
        reason.error,
        publish.payload,
        publish.size > len(publish.payload),
    )
