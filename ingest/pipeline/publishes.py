"""What one MQTT session brought: decoded in order, acknowledged in order once it is committed."""

from collections.abc import Collection, Sequence
from hashlib import blake2b
from itertools import count, repeat
from uuid import UUID, uuid4, uuid5

from handlers.dialects.absorb import absorb
from handlers.dialects.plain import decode
from handlers.events import DeadReason, DeviceKey, Micros, Publish
from handlers.text import shown
from ingest.digests import unpacked
from ingest.mqtt.port import Inbound, Released
from ingest.pipeline.origin import Origin
from ingest.pipeline.pile import LEFT_OUT, NO_FATES, Fates, Feed, Pile
from ingest.store.batch import Batch, DeadLetter, SessionProgress

MAX_CONTENT_TYPE = 255
"""Characters of it that are kept with a dead letter: MQTT allows 64 KiB, NUL among them."""
MAX_MARKER = 16
"""Digits of a time in microseconds."""


class Publishes:
    """Consecutive arrivals of one session: a `Part` of a pile."""

    __slots__ = ("_digests", "_draining_since", "_fates", "_inbounds", "_origin", "_others")

    def __init__(
        self,
        origin: Origin,
        inbounds: Sequence[Inbound],
        *,
        digests: list[bytes | None] | None = None,
        draining_since: Micros | None = None,
        fates: Fates = NO_FATES,
    ) -> None:
        self._origin = origin
        self._inbounds = inbounds
        self._fates = fates
        if digests is None:
            self._draining_since = origin.draining_since
            self._digests = origin.digests.judged(inbounds, origin.marker_topic)
        else:
            self._draining_since = draining_since
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
        context, counts, draining = self._origin.context, pile.counts, self._draining_since is not None
        gone = self._origin.gone if draining else ()
        devices = pile.of(self._origin.feed)
        fates = map(self._fates.get, count()) if self._fates else repeat(None)
        for publish, digest, fate in zip(self._inbounds, self._digests, fates, strict=False):
            if digest is None or not isinstance(publish, Publish):
                continue
            if fate is not None:
                if fate is not LEFT_OUT:
                    self._bury(publish, fate, pile)
                continue
            since = self._decides_until(publish) if gone else self._draining_since
            decoded = absorb(publish, context, since, devices)
            _, field_errors, skewed, dead = decoded
            if draining and decoded.observations:
                self._origin.note_gone(decoded.observations)
            if dead is not None:
                self._bury(publish, dead, pile)
            elif field_errors or skewed:
                counts.field_errors += len(field_errors)
                counts.skewed += skewed
        counts.received += len(self._inbounds)
        counts.duplicates += len(self._others) - len(self._released()) - len(self._markers())

    def _decides_until(self, publish: Publish) -> Micros | None:
        """Return since when the times of a device that was drained count as when it was heard; None: they do not.

        A will in the backlog counts as of when it is read. What its device said behind it must not seem older.
        """
        route = self._origin.context.topics.route(publish.topic)
        gone = route is not None and route.device in self._origin.gone
        return None if gone else self._draining_since

    def _bury(self, publish: Publish, reason: DeadReason, pile: Pile) -> None:
        pile.counts.dead_letters += 1
        pile.dead_letters.append(dead_letter(self._origin, publish, reason))

    def with_fates(self, fates: Fates) -> "Publishes":
        """Return it with these arrivals, by their place in it, not applied."""
        return Publishes(
            self._origin,
            self._inbounds,
            digests=self._digests,
            draining_since=self._draining_since,
            fates={**fates, **self._fates},
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
        progress.seq += len(self._inbounds)
        batch.sessions.append(
            SessionProgress(
                session_id, progress.seq, b"".join(packs), self._heard_until(), self._origin.epoch
            )
        )

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
        if self._heard_until() is not None:
            origin.drained()
            origin.marked.set()
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
        origin.client_id,
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
