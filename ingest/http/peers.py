"""How many HTTP connections there may be, of all peers and of one: those that proved nothing make room for others."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

SAID_EVERY_S = 60.0

log = logging.getLogger(__name__)


class Visitor(Protocol):
    """One connection."""

    peer: str

    def drop(self) -> None:
        """Cut it now."""


@dataclass(slots=True)
class _Peer:
    visitors: int = 0
    unproven: dict[Visitor, None] = field(default_factory=dict)


class Peers:
    """Counts connections. Where there is no room, the newest of those that proved nothing is dropped for the next.

    `dropped` is called for each that is dropped or not taken in.
    """

    def __init__(self, most: int, most_each: int, dropped: Callable[[], None] = lambda: None) -> None:
        self._tell = dropped
        self._most = most
        self._most_each = most_each
        self._count = 0
        self._peers: dict[str, _Peer] = {}
        self._unproven: dict[Visitor, None] = {}
        self._dropped = 0
        self._said_at = float("-inf")

    def enter(self, visitor: Visitor) -> bool:
        """Take a connection in, as one that has proved nothing; False where there is no room for it."""
        peer = self._peers.setdefault(visitor.peer, _Peer())
        if peer.visitors >= self._most_each:
            has_room = self._drop_newest(peer.unproven)
        else:
            has_room = self._count < self._most or self._drop_newest(self._unproven)
        if not has_room:
            self._note()
            if not peer.visitors:
                del self._peers[visitor.peer]
            return False
        peer = self._peers.setdefault(visitor.peer, peer)
        self._count += 1
        peer.visitors += 1
        peer.unproven[visitor] = self._unproven[visitor] = None
        return True

    def prove(self, visitor: Visitor) -> None:
        """Note that a request of this connection proved itself: it is not dropped for another."""
        if self._unproven.pop(visitor, visitor) is None:
            del self._peers[visitor.peer].unproven[visitor]

    def leave(self, visitor: Visitor) -> None:
        """Let one go that was taken in."""
        self.prove(visitor)
        peer = self._peers[visitor.peer]
        self._count -= 1
        peer.visitors -= 1
        if not peer.visitors:
            del self._peers[visitor.peer]

    def _drop_newest(self, unproven: dict[Visitor, None]) -> bool:
        visitor = next(reversed(unproven), None)
        if visitor is None:
            return False
        visitor.drop()
        self._note()
        return True

    def _note(self) -> None:
        """Log what was dropped, once a minute."""
        self._dropped += 1
        self._tell()
        now = time.monotonic()
        if now - self._said_at >= SAID_EVERY_S:
            told = "%d HTTP connections dropped for want of room: %d are open at most, %d of one address"
            log.warning(told, self._dropped, self._most, self._most_each)
            self._said_at, self._dropped = now, 0
