"""What one MQTT session brought: decoded in order, acknowledged in order once it is committed."""

from collections.abc import Collection, Sequence
from hashlib import blake2b
from itertools import count, repeat
from uuid import UUID, uuid4, uuid5

from handlers.dialects.absorb import absorb
from handlers.dialects.plain import decode
from handlers.events import DeadReason, DeviceKey, FieldError, Micros, Publish
from handlers.text import shown
from ingest.mqtt.port import Inbound, Released
from ingest.mqtt.redeliveries import unpacked
from ingest.mqtt.unreadable import UNREADABLE, Unreadable
from ingest.pipeline.drain import Drain
from ingest.pipeline.origin import Origin
from ingest.pipeline.pile import GONE, NO_FATES, UNKEPT, Counts, Fates, Feed, Pile
from ingest.store.commit.batch import Batch, DeadLetter, SessionProgress

MAX_CONTENT_TYPE = 255
"""Characters of it that are kept with a dead letter: MQTT allows 64 KiB, NUL among them."""
MAX_MARKER = 16
"""Digits of a time in microseconds."""


class Publishes:
    """Consecutive arrivals of one session: a `Part` of a pile."""

    __slots__ = ("_digests", "_drain", "_fates", "_inbounds", "_origin", "_others", "_seq")

    def __init__(
        self,
        origin: Origin,
        inbounds: Sequence[Inbound],
        *,
        digests: list[bytes | None] | None = None,
        drain: Drain | None = None,
        fates: Fates = NO_FATES,
        seq: int | None = None,
    ) -> None:
        self._origin = origin
        self._inbounds = inbounds
        self._fates = fates
        self._seq = seq
        """Of its last arrival among the session's; None until it was part of a batch."""
        if digests is None:
            self._drain = origin.drain
            self._digests = origin.digests.judged(inbounds, origin.marker_topic)
        else:
            self._drain = drain
            self._digests = digests
        self._others: list[Inbound] = []
        if None in self._digests:
            self._others = [
                one for one, digest in zip(inbounds, self._digests, strict=True) if digest is None
            ]

    def __len__(self) -> int:
        """Return the number of arrivals."""
        return len(self._inbounds)

    def fill(self, pile: Pile) -> None:
        """Decode what is to be applied, each message straight into its device's evidence."""
        context, counts, drain = self._origin.context, pile.counts, self._drain
        heard_until, gone = (None, ()) if drain is None else (drain.heard_until, drain.offline)
        devices = pile.of(self._origin.feed)
        fates = map(self._fates.get, count()) if self._fates else repeat(None)
        for publish, digest, fate in zip(self._inbounds, self._digests, fates, strict=False):
            if digest is None or type(publish) is not Publish:
                if digest is not None and isinstance(publish, Unreadable) and fate is not GONE:
                    self._bury(publish, UNREADABLE, pile)
                continue
            if fate is not None:
                if fate not in UNKEPT:
                    self._bury(publish, fate, pile)
                continue
            if gone and not self._is_dated(publish):
                decoded = absorb(publish, self._origin.as_received, None, devices)
            else:
                decoded = absorb(publish, context, heard_until, devices)
            _, field_errors, skewed, dead = decoded
            if drain is not None and decoded.observations:
                drain.note(decoded.observations)
            if dead is not None:
                self._bury(publish, dead, pile)
            elif field_errors or skewed:
                counts.skewed += skewed
                if field_errors:
                    self._note(publish, field_errors, counts)
        counts.received += len(self._inbounds)
        counts.duplicates += len(self._others) - len(self._released()) - len(self._markers())

    def _is_dated(self, publish: Publish) -> bool:
        """Tell whether its device's own time dates its presence: not behind an offline word in the backlog."""
        route = self._origin.context.topics.route(publish.topic)
        device = None if route is None else route.device.external_id
        return self._drain is None or self._drain.dates(device, publish.received_at)

    def _note(self, publish: Publish, errors: Sequence[FieldError], counts: Counts) -> None:
        route = self._origin.context.topics.route(publish.topic)
        device = None if route is None else route.device
        counts.rejections.misread(self._origin.feed.integration_id, device, errors, publish.received_at)

    def _bury(self, publish: Publish, reason: DeadReason, pile: Pile) -> None:
        pile.counts.rejections.bury(self._origin.feed.integration_id, reason.kind)
        pile.dead_letters.append(dead_letter(self._origin, publish, reason))

    def with_fates(self, fates: Fates) -> "Publishes":
        """Return it with these arrivals, by their place in it, not applied."""
        return Publishes(
            self._origin,
            self._inbounds,
            digests=self._digests,
            drain=self._drain,
            fates={**fates, **self._fates},
            seq=self._seq,
        )

    def unkept(self) -> "Publishes":
        """Return it with no arrival applied or kept."""
        return Publishes(
            self._origin,
            self._inbounds,
            digests=self._digests,
            drain=self._drain,
            fates=dict.fromkeys(range(len(self._inbounds)), GONE),
            seq=self._seq,
        )

    def names(self) -> list[Collection[DeviceKey]]:
        """Return of each arrival the devices that it would be applied to."""
        return [
            {one.device for one in decode(inbound, self._origin.context, None).observations}
            if digest is not None and isinstance(inbound, Publish) and place not in self._fates
            else ()
            for place, (inbound, digest) in enumerate(zip(self._inbounds, self._digests, strict=True))
        ]

    @property
    def feed(self) -> Feed:
        """The integration that it came by."""
        return self._origin.feed

    def record(self, batch: Batch) -> None:
        """Put digests, the newest marker and QoS 2 packet ids into the batch."""
        session_id, progress = self._origin.session_id, self._origin.digests
        packs: list[bytes] = []
        for inbound, digest in zip(self._inbounds, self._digests, strict=True):
            if digest and isinstance(inbound, Publish):
                if inbound.qos == 1:
                    packs.append(digest)
                else:
                    batch.received.append((session_id, inbound.packet_id, unpacked(digest)))
        batch.released += [(session_id, one.packet_id) for one in self._released()]
        if self._seq is None:  # a batch that is tried again has its place already
            progress.seq += len(self._inbounds)
            self._seq = progress.seq
        heard_until, epoch = self._heard_until(), self._origin.epoch
        batch.sessions.append(SessionProgress(session_id, self._seq, b"".join(packs), heard_until, epoch))

    def left_to_another(self, lost: frozenset[tuple[int, int]]) -> bool:
        """Give up what came by one of these sessions: it is not acknowledged, and comes again to who has it now."""
        if (self._origin.session_id, self._origin.epoch) not in lost:
            return False
        self._origin.left(len(self._inbounds))
        return True

    def without_events(self, known: frozenset[tuple[UUID, str]]) -> "Publishes":
        """Return itself: it holds no webhook events."""
        return self

    def _released(self) -> list[Released]:
        return [one for one in self._others if isinstance(one, Released)]

    def _markers(self) -> list[Publish]:
        topic = self._origin.marker_topic
        return [one for one in self._others if isinstance(one, Publish) and one.topic == topic]

    def _heard_until(self) -> Micros | None:
        """Return the newest time of our own; others may publish to the marker's topic what they like."""
        markers = [one for one in self._markers() if len(one.payload) <= MAX_MARKER and one.payload.isdigit()]
        times = [int(one.payload) for one in markers if int(one.payload) <= one.received_at]
        return max(times, default=None)

    def settled(self) -> None:
        """Acknowledge: the commit holds all of it."""
        origin = self._origin
        origin.digests.committed(self._inbounds, self._digests)
        released = self._released()
        for one in released:
            origin.digests.release(one.packet_id)
        if (heard_until := self._heard_until()) is not None:
            origin.heard_until = max(origin.heard_until, heard_until)
            origin.drained()
        origin.connection.acknowledge([one for one in self._inbounds if isinstance(one, Publish)])
        if released:
            origin.connection.complete(released)
        origin.left(len(self._inbounds))


def dead_letter(origin: Origin, publish: Publish, reason: DeadReason) -> DeadLetter:
    """Return the row that keeps what could not be decoded or was refused.

    Where a redelivery is the same observation, and so has the same stamp and packet id, it is the same row.
    """
    identifier = uuid4()
    if origin.epoch is None and publish.qos:
        payload = blake2b(publish.payload, digest_size=16).hexdigest()
        told = f"{publish.received_at} {publish.packet_id} {payload} {publish.topic}"
        identifier = uuid5(origin.feed.integration_id, told)
    return DeadLetter(
        identifier,
        origin.feed.integration_id,
        origin.session_name,
        publish.topic.replace("\0", "\ufffd"),
        publish.qos,
        publish.retain,
        None if publish.content_type is None else shown(publish.content_type, MAX_CONTENT_TYPE),
        publish.received_at,
        reason.kind,
        reason.error,
        publish.payload,
        publish.size > len(publish.payload),
    )
