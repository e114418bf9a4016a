"""Event ids that come again: of those that were applied in the last day, and of those that are being committed.

An event that means nothing claims no id: it is a dead letter each time, and its sender may repair it.
"""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from handlers.webhooks.delivery import Event
from ingest.store.commit.webhook_events import WebhookEvents

Key = tuple[UUID, str]


class Claimed(NamedTuple):
    """Which of the events are to be applied, and whose commits the others' answers must wait for.

    `awaited`: the ids that those others hold.
    """

    fresh: list[bool]
    others: set[asyncio.Future[None]]
    awaited: set[str]


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
        awaited: set[str] = set()
        mine: dict[str, Key] = {}
        keys = [_key(integration_id, event) for event in events]
        for key in keys:
            holder = None if key is None else self._held.get(key)
            fresh.append(holder is None)
            if key is not None and holder is not None and holder is not done:
                others.add(holder)
                awaited.add(key[1])
            elif holder is None and key is not None:
                self._held[key] = done
                mine[key[1]] = key
        if mine:
            done.add_done_callback(lambda _: self._release(mine))
            known = await self._events.known(integration_id, mine)
            fresh = [
                one and (key is None or key[1] not in known) for one, key in zip(fresh, keys, strict=True)
            ]
        return Claimed(fresh, others, awaited)

    async def are_applied(self, integration_id: UUID, event_ids: set[str]) -> bool:
        """Return whether events that other requests brought are applied, now that these have ended.

        Raises: DatabaseAway.
        """
        return await self._events.known(integration_id, event_ids) == event_ids

    def _release(self, mine: dict[str, Key]) -> None:
        for key in mine.values():
            del self._held[key]


def _key(integration_id: UUID, event: Event) -> Key | None:
    return None if event.id is None or event.decoded.dead is not None else (integration_id, event.id)
