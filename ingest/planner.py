"""From the row of an mqtt integration to the plan of its sessions."""

from uuid import UUID

from handlers.dialects.plain import Context
from handlers.events import SECOND, Liveness
from handlers.paths import FieldPaths
from handlers.topics import Topics
from ingest.crypto import Keyring, is_encrypted, password_context
from ingest.errors import Misconfigured
from ingest.integration_settings import LONGEST, MqttSettings, mqtt_settings
from ingest.jetstream.cluster import cluster_of
from ingest.mqtt.port import Broker, Tls
from ingest.settings import Settings
from ingest.slots.plan import SessionPlan
from ingest.store.creation import UnknownPolicy
from ingest.store.integrations import IntegrationRow


class Planner:
    """Turns a row into a plan."""

    def __init__(self, settings: Settings, keyring: Keyring) -> None:
        self._settings = settings
        self.keyring = keyring

    def plan(self, row: IntegrationRow) -> SessionPlan:
        """Return what the row asks for.

        Raises: Misconfigured, naming the integration and the key.
        """
        if not isinstance(row.settings, dict):
            raise Misconfigured(f"integration {row.name!r}: its settings are not a JSON object")
        wanted = mqtt_settings(row.settings, row.name)
        jetstream = wanted.protocol == "jetstream"
        try:
            topics = Topics.parse(wanted.topics)
            shared = tuple(topics.shared()) if wanted.slots > 1 and not jetstream else ()
        except ValueError as error:
            raise Misconfigured(f"integration {row.name!r}: topics: {error}") from error
        ahead = int(self._settings.max_ahead_s * SECOND)
        liveness = Liveness(wanted.liveness == "event_time", ahead, wanted.max_behind_s * SECOND)
        paths, words = FieldPaths(wanted.field_paths), wanted.presence_words.words
        unknown = wanted.unknown_devices
        after_s = wanted.offline_after_s or self._settings.offline_after_s
        return SessionPlan(
            integration_id=row.id,
            name=row.name,
            broker=self._broker(row.id, row.name, wanted),
            protocol=wanted.protocol,
            context=Context(row.id, topics, liveness, paths, words),
            policy=UnknownPolicy(
                unknown.policy, unknown.max_per_minute, unknown.max_total, unknown.max_parked
            ),
            offline_after=after_s * SECOND,
            filters=tuple(one for one in topics.filters() if one not in shared),
            marker_interval_s=self._settings.marker_interval_s,
            lease_ttl_s=self._settings.lease_ttl_s,
            shared=shared,
            slots=wanted.slots if shared else 1,
            cluster=cluster_of(row.name, wanted, self._settings.max_ahead_s) if jetstream else None,
        )

    def _broker(self, integration_id: UUID, name: str, wanted: MqttSettings) -> Broker:
        settings, tls, expiry_s = self._settings, wanted.tls, wanted.session_expiry_s
        return Broker(
            host=wanted.host,
            port=wanted.port,
            client_id=client_id(wanted, integration_id),
            username=wanted.username,
            password=password_of(wanted, self.keyring, integration_id, name),
            tls=Tls(tls.ca_file, tls.cert_file, tls.key_file, tls.verify_host) if tls else None,
            session_expiry_s=settings.session_expiry_s if expiry_s is None else expiry_s,
            keep_alive_s=settings.keep_alive_s,
            receive_maximum=settings.max_inflight,
            max_payload=settings.max_payload,
        )


def password_of(wanted: MqttSettings, keyring: Keyring, integration_id: UUID, name: str) -> str | None:
    """Return the password for an integration's broker in the clear.

    Raises: Misconfigured where a CONNECT has no room for it; SecretUnreadable.
    """
    stored = wanted.password.get_secret_value() if wanted.password else None
    if stored is not None and is_encrypted(stored):
        stored = keyring.decrypt(stored, password_context(integration_id))
    if stored is not None and len(stored) > LONGEST:
        raise Misconfigured(f"integration {name!r}: password: expected at most {LONGEST} characters")
    return stored


def client_id(wanted: MqttSettings, integration_id: UUID, slot: int = 0) -> str:
    """Return the client id of an integration's session; the number is its slot, and a JetStream has none."""
    return f"{wanted.client_id}-{integration_id}-{'jetstream' if wanted.protocol == 'jetstream' else slot}"
