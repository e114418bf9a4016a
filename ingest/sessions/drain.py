"""The backlog of a session while it is read: whose own times date their presence, and whose do not.

A device's own time says when it was alive while nobody listened. An offline word has no time of its own and counts as
of its receipt, so what its device said behind it must count as of receipt, too: else it would seem older than the word.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from handlers.events import Micros, Observation, Presence

MAX_OFFLINE = 100_000
"""Devices that are remembered one by one; past it the times of no device date its presence."""


@dataclass(slots=True, eq=False)
class Drain:
    """The backlog of one connection, until a marker or quiet shows that all of it was heard."""

    heard_until: Micros
    """Of the session when it was taken up."""
    offline: dict[str, Micros] = field(default_factory=dict)
    """External id -> receipt of its first offline word; 0: committed before this connection."""
    all_since: Micros | None = None
    """Receipt of the offline word past MAX_OFFLINE."""

    @classmethod
    def resumed(cls, heard_until: Micros, offline: Iterable[str]) -> "Drain":
        """Return the drain of a session whose rows know these devices as offline later than `heard_until`."""
        self = cls(heard_until)
        for external_id in offline:
            self._note(external_id, 0)
        return self

    def dates(self, external_id: str | None, received_at: Micros) -> bool:
        """Return whether the own time of what was received then dates its device's presence."""
        if self.all_since is not None and self.all_since < received_at:
            return False
        said_at = self.offline.get(external_id or "")
        return said_at is None or said_at >= received_at

    def note(self, observations: Iterable[Observation]) -> None:
        """Remember who said that it goes. The rows tell the next connection the same: offline_at > heard_until."""
        for one in observations:
            if one.presence is Presence.OFFLINE and not one.snapshot:
                self._note(one.device.external_id or "", one.received_at)

    def _note(self, external_id: str, received_at: Micros) -> None:
        if external_id in self.offline:
            return
        if len(self.offline) < MAX_OFFLINE:
            self.offline[external_id] = received_at
        elif self.all_since is None:
            self.all_since = received_at
