"""Event ids that come again: of those that were committed in the last day, and of those that are being committed."""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from handlers.webhooks.delivery import Event
from ingest.store.webhook_events import WebhookEvents

Key = tuple[UUID, str]


class Claimed(NamedTuple):
    """Which of the events are to be applied, and whose commits the others' answers must wait for."""

    fresh: list[bool]
    others: set[asyncio.Future[None]]


class Claims:
    """Lets one request at a time apply an event id."""

    def __init__(self, events: WebhookEvents) -> None:
        self._events = events
        self._held: dict[Key, asyncio.Future[None]] = {}

    async def claim(
        self, integration_id: UUID, events: Sequence[Event], done: asyncio.Future[None]
    ) -> Claimed:
        """Claim the ids of these events until `done`; cancel that when nothing comes of it.

        The database is asked after the ids are claimed: what another request has committed before is in it.
        Raises: DatabaseAway.
        """
        fresh: list[bool] = []
        others: set[asyncio.Future[None]] = set()
        mine: dict[str, Key] = {}
        for event in events:
            key = None if event.id is None else (integration_id, event.id)
            holder = None if key is None else self._held.get(key)
            fresh.append(holder is None)
            if holder is not None and holder is not done:
                others.add(holder)
            elif holder is None and key is not None:
                self._held[key] = done
                mine[key[1]] = key
        if mine:
            done.add_done_callback(lambda _: self._release(mine))
            known = await self._events.known(integration_id, mine)
            fresh = [one and event.id not in known for one, event in zip(fresh, events, strict=True)]
        return Claimed(fresh, others)

    def _release(self, mine: dict[str, Key]) -> None:
        for key in mine.values():
            del self._held[key]
