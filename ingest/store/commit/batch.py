"""The batch: the content of one commit."""

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from handlers.conflicts import Decision
from handlers.events import Micros
from handlers.evidence import Evidence

if TYPE_CHECKING:
    from ingest.store.commit.columns import Arguments


class Target(NamedTuple):
    """Of whoever spoke for a device: the integration's offline_after, and the source."""

    offline_after: Micros
    source: str = "mqtt"


class DeadLetter(NamedTuple):
    """A message that could not be decoded or was refused. `payload` is whole unless `truncated`."""

    id: UUID
    integration_id: UUID
    session: str
    topic: str
    qos: int
    retain: bool
    content_type: str | None
    received_at: Micros
    kind: str
    error: str
    payload: bytes
    truncated: bool
    headers: str = "{}"
    """JSON; of a webhook those that decide what it means."""


class SessionProgress(NamedTuple):
    """What a commit says about one MQTT session: digests of what it answers, and the newest marker.

    `epoch` is the session's when it was taken up: the commit counts only while nobody else has done so since.
    """

    session_id: int
    seq: int
    digests: bytes
    heard_until: Micros | None
    epoch: int = 0


class Parked(NamedTuple):
    """What a key without a row has said so far; `key` and `evidence` as JSON, `label` as people know it.

    `messages` is what its row counted when it was read, 0 where there was none: who comes between is not overwritten.
    """

    integration_id: UUID
    label: str
    key: str
    evidence: str
    messages: int


class Fact(NamedTuple):
    """The newest word on one field of a device; `remote` is JSON text."""

    device_id: UUID
    field: str
    remote: str
    at: Micros


class Decided(NamedTuple):
    """A fact that needed a decision: the row's value as JSON text, and what is to happen.

    `again`: the provider had said it before, and no agreement came of it.
    """

    fact: Fact
    local: str | None
    decision: Decision
    again: bool = False


@dataclass(slots=True)
class Batch:
    """Everything that is committed together."""

    devices: dict[UUID, Evidence] = field(default_factory=dict)
    targets: dict[UUID, Target] = field(default_factory=dict)
    sessions: list[SessionProgress] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    received: list[tuple[int, int, int]] = field(default_factory=list)
    """QoS 2: (session id, packet id, digest)"""
    released: list[tuple[int, int]] = field(default_factory=list)
    """QoS 2: (session id, packet id)"""
    parked: list[Parked] = field(default_factory=list)
    unparked: list[tuple[UUID, str, int]] = field(default_factory=list)
    """(integration id, label, messages that its row counted when it was read)"""
    event_ids: list[tuple[UUID, str]] = field(default_factory=list)
    """Webhooks: (integration id, event id), remembered for a day."""
    replayed: list[UUID] = field(default_factory=list)
    """Dead letters that are applied by this batch, and so are none any more."""

    rejected_unknown: Counter[UUID] = field(default_factory=Counter)
    """Ids without a row for which there was no room or no policy to keep them, by integration."""
    dropped: Counter[UUID] = field(default_factory=Counter)
    """Those that batches before this one rejected, to be written with this one."""

    has_facts: bool = False
    decided: list[Decided] = field(default_factory=list)
    """Filled by the commit: the facts about which something had to be decided."""
    arguments: "Arguments | None" = None
    """Those of `rollcall.apply`, where they were made ready before."""

    @property
    def epochs(self) -> set[tuple[int, int]]:
        """The sessions that this commit is about, each with the epoch in which it was taken up.

        A process may have one in hand twice: as it was held before its lease was lost, and as it was taken up again.
        """
        return {(one.session_id, one.epoch) for one in self.sessions}

    @property
    def newest(self) -> dict[int, int]:
        """The newest seq of each session of which it holds digests: what its commit leaves in the session's row."""
        found: dict[int, int] = {}
        for one in self.sessions:
            if one.digests:
                found[one.session_id] = max(one.seq, found.get(one.session_id, one.seq))
        return found

    def add(self, device_id: UUID, target: Target, evidence: Evidence) -> None:
        """Put a device in; where two senders spoke for it, they count together."""
        self.has_facts = self.has_facts or bool(evidence.facts)
        known = self.devices.get(device_id)
        if known is None:
            self.devices[device_id] = evidence
            self.targets[device_id] = target
        else:
            self.devices[device_id] = Evidence.united(known, evidence)

    @property
    def has_extras(self) -> bool:
        """Whether more than the one call of `rollcall.apply` is needed."""
        return any(
            (
                self.has_facts,
                self.dead_letters,
                self.received,
                self.released,
                self.event_ids,
                self.parked,
                self.unparked,
                self.replayed,
                self.dropped,
            )
        )
