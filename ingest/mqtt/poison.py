"""Poison packets: a connection that ends at the same packet again and again, because the broker sends it anew."""

MAX_STUMBLES = 3
"""Closes at the same place, after which a person gets a hint."""


class PoisonPacketDetector:
    """Counts closes in a row at one place: the text of a `ProtocolBroken`, which shows how its packet starts."""

    def __init__(self) -> None:
        self._place = ""
        self._count = 0

    def again(self, place: str) -> bool:
        """Count one, and tell whether it is stuck there."""
        self._count = self._count + 1 if place == self._place else 1
        self._place = place
        return self._count >= MAX_STUMBLES

    def past(self) -> None:
        """Begin anew: a connection has come past everything that waited."""
        self._place, self._count = "", 0

    def hint(self, name: str) -> str:
        """Return what a person can do."""
        return (
            f"the connection ended {self._count} times at the same packet ({self._place}); `rollcall integration "
            f"reset-session {name}` makes the broker forget the session, and with it that packet and all that waits"
        )
