"""/metrics: what the process counts anyway, read only when somebody asks. Names by Prometheus' conventions."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response

from ingest.http.health import Snapshot, Status
from ingest.pipeline.intake import Intake

COUNTERS = (
    ("rollcall_received", "received", "Messages and events that came in, with what was dead or known."),
    ("rollcall_committed", "committed", "Messages and events whose commit succeeded."),
    ("rollcall_acknowledged", "acknowledged", "Messages and events that were acknowledged or answered."),
    ("rollcall_duplicates", "duplicates", "Messages and events that were known and not applied again."),
    ("rollcall_skewed_times", "skewed", "Messages and events with a time that could not be used."),
    ("rollcall_qos0_dropped", "dropped_qos0", "QoS 0 messages that were dropped for want of room."),
)
"""Name without _total, field of Counts, help."""
BATCHES = (1, 4, 16, 64, 256, 1_024, 4_096, 16_384)
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Buckets:
    """A histogram that costs one bisection an observation."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def family(self, name: str, documentation: str) -> HistogramMetricFamily:
        """Return it as Prometheus has it: each bucket holds those below it, too."""
        total, buckets = 0, []
        for bound, count in zip((*map(str, self._bounds), "+Inf"), self._counts, strict=True):
            total += count
            buckets.append((bound, total))
        return HistogramMetricFamily(name, documentation, buckets=buckets, sum_value=self._sum)


class Measured:
    """What is measured while the work is done: a few additions a commit and a request."""

    def __init__(self) -> None:
        self.batches = Buckets(BATCHES)
        self.commit_seconds = Buckets(SECONDS)
        self.webhook_seconds = Buckets(SECONDS)
        self.webhook_requests: Counter[tuple[UUID | None, str, int]] = Counter()
        self.api_requests: Counter[tuple[int]] = Counter()
        self.dropped_connections = 0
        self.runs: Counter[tuple[str, str]] = Counter()
        self.reconciled: Counter[tuple[str, str]] = Counter()

    def commit(self, entries: int, seconds: float) -> None:
        """Count a commit."""
        self.batches.observe(entries)
        self.commit_seconds.observe(seconds)

    def run(self, integration: str, status: str, counts: Mapping[str, int]) -> None:
        """Count a reconciliation, and what it did to how many devices."""
        self.runs[integration, status] += 1
        for what, count in counts.items():
            self.reconciled[integration, what] += count

    def api(self, status: int) -> None:
        """Count a request to the API: those with 401 and 403 are who could not prove that they may."""
        self.api_requests[(status,)] += 1

    def connection_dropped(self) -> None:
        """Count an HTTP connection that made room for another, or for which there was none."""
        self.dropped_connections += 1

    def webhook(self, route: str, integration_id: UUID | None, status: int, seconds: float) -> None:
        """Count a webhook request; None: it named no integration that takes webhooks."""
        self.webhook_requests[integration_id, route, status] += 1
        self.webhook_seconds.observe(seconds)


class Metrics:
    """Exposes them on a registry of its own."""

    def __init__(self, intake: Intake, measured: Measured, status: Status) -> None:
        self._intake = intake
        self._measured = measured
        self._status = status

    async def expose(self, _: Request) -> Response:
        """Answer a scrape."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(
            _Families([*self._process(), *self._by_integration(), *self._sessions(await self._status.look())])
        )
        ProcessCollector(registry=registry)
        return Response(generate_latest(registry), headers={"content-type": CONTENT_TYPE_LATEST})

    def _process(self) -> Iterator[Metric]:
        """Yield what this process counts."""
        intake, measured = self._intake, self._measured
        for name, field, documentation in COUNTERS:
            yield CounterMetricFamily(name, documentation, getattr(intake.counts, field))
        yield measured.batches.family("rollcall_batch_messages", "Messages and events of a commit.")
        yield measured.commit_seconds.family("rollcall_commit_seconds", "What a commit took.")
        waiting = "Messages and events in hand and not committed."
        yield GaugeMetricFamily("rollcall_waiting_messages", waiting, intake.held)
        yield GaugeMetricFamily("rollcall_waiting_bytes", "Their payloads.", intake.held_bytes)
        oldest = self._status.oldest()
        yield GaugeMetricFamily(
            "rollcall_oldest_unacknowledged_seconds",
            "Since the oldest message that waits for its commit came; 0 where none does.",
            0.0 if oldest is None else oldest.seconds,
        )
        yield _counted("rollcall_api_requests", "Requests to the API.", ("status",), measured.api_requests)
        dropped = "HTTP connections dropped for want of room."
        yield CounterMetricFamily("rollcall_http_dropped", dropped, measured.dropped_connections)
        yield measured.webhook_seconds.family("rollcall_webhook_seconds", "What a webhook request took.")
        ended, did = "Reconciliations that ended.", "What they did to devices."
        yield _counted("rollcall_reconcile_runs", ended, ("integration", "status"), measured.runs)
        yield _counted("rollcall_reconciled_devices", did, ("integration", "result"), measured.reconciled)

    def _by_integration(self) -> Iterator[Metric]:
        """Yield what is counted for each integration: what was not used, and webhook requests."""
        rejections, labels = self._intake.counts.rejections, ("integration", "integration_id")

        def named(counts: Mapping[Any, int]) -> dict[tuple[Any, ...], int]:
            return {(rejections.name(one), one or "", *rest): n for (one, *rest), n in counts.items()}

        dead = "Messages and events that became dead letters."
        yield _counted("rollcall_dead_letters", dead, (*labels, "kind"), named(rejections.dead_letters))
        unused = "Fields that could not be used in messages that could."
        yield _counted("rollcall_field_errors", unused, (*labels, "field"), named(rejections.fields))
        dropped, unknown = "Unknown devices there was no room or policy to keep.", rejections.unknown
        by_id = named({(one,): count for one, count in unknown.items()})
        yield _counted("rollcall_unknown_dropped", dropped, labels, by_id)
        requests = named(self._measured.webhook_requests)
        yield _counted(
            "rollcall_webhook_requests", "Webhook requests.", (*labels, "route", "status"), requests
        )

    def _sessions(self, snapshot: Snapshot) -> Iterator[Metric]:
        outage = "1 while the database cannot be written."
        yield GaugeMetricFamily("rollcall_database_outage", outage, float(snapshot.outage is not None))
        labels = ("integration", "integration_id", "client_id")
        states = GaugeMetricFamily(
            "rollcall_session_state", "1 for the state of each MQTT session.", labels=(*labels, "state")
        )
        lags = GaugeMetricFamily(
            "rollcall_session_lag_seconds", "Since a session has heard all that was published.", labels=labels
        )
        held = GaugeMetricFamily(
            "rollcall_slots_held", "Slots that this process holds.", labels=("integration", "integration_id")
        )
        for one in self._status.slots():
            held.add_metric((one.name, str(one.integration_id)), len(one.held))
        for session in snapshot.sessions:
            named = (session.name, str(session.integration_id), session.client_id or "")
            states.add_metric((*named, session.state), 1)
            if (lag := self._status.lag(session)) is not None:
                lags.add_metric(named, lag)
        yield from (states, lags, held)


def _counted(
    name: str, documentation: str, labels: tuple[str, ...], counts: Mapping[Any, int]
) -> CounterMetricFamily:
    """Return a counter with a child for each tuple of label values that was counted."""
    family = CounterMetricFamily(name, documentation, labels=labels)
    for values, count in counts.items():
        family.add_metric([str(value) for value in values], count)
    return family


class _Families(Collector):
    """What was collected for one scrape."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        """Return it."""
        return self._families
