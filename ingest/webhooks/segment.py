"""A segment of webhook events: the events of one request in order, each with its result once they are committed."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Literal, NamedTuple
from uuid import uuid4, uuid5

import orjson

from handlers.events import DeadReason, DeviceKey, Micros
from handlers.evidence import coalesce
from handlers.text import truncate
from handlers.webhooks.delivery import Event
from ingest.pipeline.open_batch import OpenBatch
from ingest.pipeline.segment import GONE, NO_FATES, UNKEPT, Fates, IntegrationContext, Superseded
from ingest.store.commit.batch import Batch, DeadLetter
from ingest.store.people.dead_letters import WEBHOOK

KEPT = ("content-type", "webhook-id", "x-amz-sns-message-type")
MAX_HEADER = 1_000
"""Characters of a header's value."""


class Result(NamedTuple):
    """What became of one event; `reason` only of a dead one."""

    outcome: Literal["applied", "ignored", "duplicate", "dead"]
    reason: DeadReason | None = None


DUPLICATE, APPLIED, IGNORED = Result("duplicate"), Result("applied"), Result("ignored")


@dataclass(slots=True, eq=False)
class Arrival:
    """One request. `topic` is its route; of its headers only those that are safe are kept with a dead letter."""

    integration: IntegrationContext
    topic: str
    headers: Mapping[str, str]
    secret_headers: frozenset[str]
    received_at: Micros
    done: asyncio.Future[None]
    """Resolved once every event is committed, and then `results` has one for each, in their order."""
    waiter: asyncio.Future[None] | None = None
    """Resolved with `done`, unless whoever waits has given up."""
    results: dict[int, Result] = field(default_factory=dict)
    expected: int = 0


class WebhookSegment:
    """Consecutive events of one request: a `Segment` of a batch."""

    __slots__ = ("_arrival", "_events", "_fates", "_first", "_known")

    def __init__(
        self,
        arrival: Arrival,
        events: Sequence[Event],
        first: int = 0,
        fates: Fates = NO_FATES,
        known: frozenset[str | None] = frozenset(),
    ) -> None:
        self._arrival = arrival
        self._events = events
        self._first = first
        self._fates = fates
        self._known = known
        """Ids of the events that another process has committed meanwhile."""
        arrival.expected = max(arrival.expected, first + len(events))

    def __len__(self) -> int:
        """Return the number of events."""
        return len(self._events)

    @property
    def context(self) -> IntegrationContext:
        """The integration that the events came for."""
        return self._arrival.integration

    def fill(self, batch: OpenBatch) -> None:
        """Put each event's observations into their devices' evidence, and what means nothing aside."""
        counts, devices = batch.counts, batch.evidence_of(self.context)
        integration_id = self.context.integration_id
        for place, event in enumerate(self._events):
            fate = self._fates.get(place)
            if event.id in self._known or fate in UNKEPT:
                continue
            observations, field_errors, skewed, _ = event.decoded
            if (dead := fate or event.decoded.dead) is not None:
                counts.rejections.count_dead_letter(integration_id, dead.kind)
                batch.dead_letters.append(_dead_letter(self._arrival, event, dead))
                continue
            coalesce(observations, devices)
            if field_errors:
                device = observations[0].device if observations else None
                counts.rejections.misread(integration_id, device, field_errors, self._arrival.received_at)
            counts.skewed += skewed
        counts.received += len(self._events)

    def without(self, superseded: Superseded) -> "WebhookSegment":
        """Return it with these events not applied; those that another process committed are answered as duplicates."""
        integration_id = self.context.integration_id
        known = self._known | {event_id for one, event_id in superseded.events if one == integration_id}
        fates: Fates = {**superseded.fates, **self._fates}
        if integration_id in superseded.integrations:
            fates = dict.fromkeys(range(len(self._events)), GONE)
        if known == self._known and fates == self._fates:
            return self
        return WebhookSegment(self._arrival, self._events, self._first, fates, known)

    def devices_of_entries(self) -> list[Collection[DeviceKey]]:
        """Return, event by event, the devices that it would be applied to."""
        return [
            ()
            if place in self._fates or event.id in self._known
            else {seen.device for seen in event.decoded.observations}
            for place, event in enumerate(self._events)
        ]

    def record(self, batch: Batch) -> None:
        """Put the ids of the applied events into the batch: those that come again within a day are not applied again.

        One that is dead is decoded anew when it comes again: its sender may have repaired it.
        """
        integration_id = self.context.integration_id
        batch.event_ids += [
            (integration_id, event.id)
            for place, event in enumerate(self._events)
            if event.id is not None
            and event.decoded.dead is None
            and place not in self._fates
            and event.id not in self._known
        ]

    def acknowledge(self) -> None:
        """Note the results; the last ones let the request be answered."""
        arrival = self._arrival
        for place, event in enumerate(self._events, self._first):
            is_known = event.id in self._known
            fate = self._fates.get(place - self._first)
            arrival.results[place] = DUPLICATE if is_known else _result(event, fate)
        if len(arrival.results) == arrival.expected:
            for future in (arrival.done, arrival.waiter):
                if future is not None and not future.done():
                    future.set_result(None)


def _result(event: Event, refusal: DeadReason | None) -> Result:
    dead = refusal or event.decoded.dead
    if dead is not None:
        return Result("dead", dead)
    return APPLIED if event.decoded.observations else IGNORED


def _dead_letter(arrival: Arrival, event: Event, reason: DeadReason) -> DeadLetter:
    """Return the row that keeps the event's own bytes, with the time that its observations had.

    The same event that comes again for the same reason, as after its sender's retry, is the same row.
    """
    observations = event.decoded.observations
    content_type = arrival.headers.get("content-type")
    identifier = uuid4()
    if event.id is not None:
        digest = blake2b(event.original, digest_size=16).hexdigest()
        identifier = uuid5(arrival.integration.integration_id, f"{reason.kind} {digest} {event.id}")
    return DeadLetter(
        identifier,
        arrival.integration.integration_id,
        WEBHOOK,
        arrival.topic,
        0,
        False,
        truncate(content_type, MAX_HEADER) if content_type else None,
        observations[0].received_at if observations else arrival.received_at,
        reason.kind,
        reason.error,
        event.original,
        False,
        kept_headers(arrival.headers, arrival.secret_headers),
    )


def kept_headers(headers: Mapping[str, str], secret_headers: frozenset[str]) -> str:
    """Return as JSON the headers that decide what a body means."""
    return orjson.dumps(
        {
            name: truncate(value, MAX_HEADER)
            for name, value in headers.items()
            if name not in secret_headers and (name in KEPT or name.startswith("ce-"))
        }
    ).decode()
