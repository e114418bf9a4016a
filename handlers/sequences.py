"""The order of clouds' connection events, and what a stream of them says about being offline.

Two events of one device and source compare by time where their times are further apart than the window of their
sequence, else by the sequence's order. On what AWS and Azure can send this is a total order, so a stream's state is a
function of its set of events. Why, and where it ends: docs/adr/0008-order-of-lifecycle-events.md.
"""

from typing import Any, NamedTuple

from handlers.events import MAX_AT, SECOND, Micros, Presence, Sequence, later

AWS_WINDOW: Micros = 300 * SECOND
"""Two times that are each good to two minutes, and one minute for the late end of a session that was taken over."""
AWS_DIGITS = 20
AZURE_WINDOW: Micros = MAX_AT
"""Larger than any difference of two times: only the order decides."""
AZURE_DIGITS = 64

_OFFLINE = Presence.OFFLINE
_HEX = frozenset("0123456789ABCDEF")


def aws_sequence(version: object, presence: Presence) -> Sequence | None:
    """Return the place of an AWS IoT lifecycle event, or None where `versionNumber` is no count.

    The connect and the disconnect of one connection share the number. Source: AWS IoT, lifecycle events.
    """
    if isinstance(version, str) and version.isascii() and version.isdigit() and len(version) <= AWS_DIGITS:
        version = int(version)
    if isinstance(version, bool) or not isinstance(version, int) or not 0 <= version < 10**AWS_DIGITS:
        return None
    return Sequence(AWS_WINDOW, f"{version:0{AWS_DIGITS}}{int(presence is _OFFLINE)}")


def azure_sequence(number: object) -> Sequence | None:
    """Return the place of an Azure Event Grid connection event, or None where `sequenceNumber` is not hexadecimal.

    Source: Azure Event Grid, IoT Hub as a source.
    """
    if not isinstance(number, str) or not 0 < len(number) <= AZURE_DIGITS:
        return None
    digits = number.upper()
    return Sequence(AZURE_WINDOW, digits.rjust(AZURE_DIGITS, "0")) if _HEX.issuperset(digits) else None


class Transition(NamedTuple):
    """One connect or disconnect: the presence, the presence time and the sequence of an observation."""

    presence: Presence
    at: Micros
    sequence: Sequence

    def follows(self, other: "Transition") -> bool:
        """Return whether this is the later of two; at a tie the disconnect is."""
        apart = self.at - other.at
        if abs(apart) > max(self.sequence.window, other.sequence.window):
            return apart > 0
        return self._place() > other._place()

    def _place(self) -> tuple[str, Micros, bool]:
        return self.sequence.order, self.at, self.presence is _OFFLINE


class Stream:
    """The ordered events of one device and source, coalesced to three maxima.

    `add` and `merge` are associative, commutative and idempotent.
    """

    __slots__ = ("connected_at", "disconnected_at", "head")

    def __init__(self) -> None:
        self.connected_at: Micros | None = None
        self.disconnected_at: Micros | None = None
        self.head: Transition | None = None

    def add(self, event: Transition) -> None:
        """Take in one event."""
        if event.presence is _OFFLINE:
            self.disconnected_at = later(self.disconnected_at, event.at)
        else:
            self.connected_at = later(self.connected_at, event.at)
        if self.head is None or event.follows(self.head):
            self.head = event

    def merge(self, other: "Stream") -> None:
        """Take in all of `other`."""
        self.connected_at = later(self.connected_at, other.connected_at)
        self.disconnected_at = later(self.disconnected_at, other.disconnected_at)
        if other.head is not None and (self.head is None or other.head.follows(self.head)):
            self.head = other.head

    @property
    def offline_at(self) -> Micros | None:
        """The newest offline evidence: before the head where that is a connect, else after every connect.

        Online evidence is each connect's own time, as of any observation.
        """
        if self.head is None or self.disconnected_at is None:
            return None
        if self.head.presence is _OFFLINE:
            return later(self.disconnected_at, self.connected_at)
        return min(self.disconnected_at, self.head.at - 1)

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` takes."""
        head = self.head
        return {
            "connected_at": self.connected_at,
            "disconnected_at": self.disconnected_at,
            "head": head and [head.presence, head.at, head.sequence.window, head.sequence.order],
        }

    @classmethod
    def from_json(cls, form: dict[str, Any]) -> "Stream":
        """Return the stream that `to_json` wrote."""
        self = cls()
        self.connected_at = form["connected_at"]
        self.disconnected_at = form["disconnected_at"]
        if form["head"] is not None:
            presence, at, window, order = form["head"]
            self.head = Transition(Presence(presence), at, Sequence(window, order))
        return self
