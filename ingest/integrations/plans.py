"""Session plans: where a session connects, what it reads alone and what it shares."""

from dataclasses import dataclass, field, replace
from uuid import UUID

from handlers.dialects.plain import Context
from handlers.events import Micros
from ingest.integrations import names
from ingest.integrations.cluster import Cluster
from ingest.mqtt.port import Broker, Subscription
from ingest.store.commit.creation import UnknownPolicy


@dataclass(frozen=True, slots=True)
class SessionPlan:
    """What one session is to do. An integration's plan is that of its slot 0; `of` gives the others."""

    integration_id: UUID
    name: str
    broker: Broker
    protocol: str
    context: Context
    policy: UnknownPolicy
    offline_after: Micros
    filters: tuple[str, ...]
    """Read by this session alone: retained messages do not come to shared subscriptions."""
    marker_interval_s: float
    lease_ttl_s: float
    shared: tuple[str, ...] = ()
    """Read by all slots together; none where there is one slot."""
    slots: int = 1
    slot: int = 0
    secret: str = field(default="", repr=False)
    """The unguessable part of the sessions' names; "" where there is none."""
    retiring: bool = False
    """Read until all that waits is heard and committed; then the broker forgets the session."""

    def of(self, slot: int) -> "SessionPlan":
        """Return the plan of a slot: only slot 0 reads alone."""
        client_id = f"{self.broker.client_id.removesuffix(f'-{self.slot}')}-{slot}"
        filters = self.filters if slot == 0 else ()
        return replace(self, broker=replace(self.broker, client_id=client_id), filters=filters, slot=slot)

    def retired(self, client_id: str) -> "SessionPlan":
        """Return the plan for a session that is used no longer: subscribe to its marker alone, drain it, forget it."""
        broker = replace(self.broker, client_id=client_id)
        return replace(self, broker=broker, filters=(), shared=(), slots=1, retiring=True)

    @property
    def lease(self) -> str:
        """The name of the lease under which this session runs: one replica at a time."""
        return f"mqtt/{self.broker.client_id}"

    @property
    def marker_topic(self) -> str:
        """The topic of the session's own, on which it hears how far it has heard."""
        return names.marker_topic(self.broker.client_id, self.secret)

    @property
    def public_name(self) -> str:
        """The client id as people may read it."""
        return self.hidden(self.broker.client_id)

    def hidden(self, text: str) -> str:
        """Return a text without the unguessable parts of names."""
        return names.hidden(text, self.secret)

    @property
    def group(self) -> str:
        """What a shared filter of this integration begins with."""
        return f"$share/{names.share_group(self.integration_id, self.secret)}/"

    def subscriptions(self, *, shares: bool) -> list[Subscription]:
        """Return what to subscribe to.

        A session that shares reads its marker through a shared subscription too (of its own): should the broker cease
        to serve those, the marker stays out, and everybody sees that nothing is heard.
        """
        group = self.group if shares else ""
        mine = f"{self.group[:-1]}-{self.slot}/" if shares else ""
        wanted = [*self.filters, *(group + one for one in self.shared)]
        return [*(Subscription(one, qos=2) for one in wanted), Subscription(mine + self.marker_topic)]


@dataclass(frozen=True, slots=True)
class StreamPlan:
    """Reading from a JetStream (ingest/jetstream): all replicas read it together, and there are no slots."""

    integration_id: UUID
    name: str
    broker: Broker
    cluster: Cluster
    context: Context
    policy: UnknownPolicy
    offline_after: Micros
    filters: tuple[str, ...]
    hear_interval_s: float
    """How often the integration records how far it has heard."""
    slots: int = 1
    """It counts as one slot, which each replica that is connected holds."""


IntegrationPlan = SessionPlan | StreamPlan
