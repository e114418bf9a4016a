"""From the row of an mqtt integration to the plan of its sessions."""

from uuid import UUID

from pydantic import SecretStr

from handlers.dialects.plain import Context
from handlers.events import SECOND, Liveness
from handlers.paths import FieldPaths
from handlers.topics import Topics
from ingest.crypto import Keyring
from ingest.egress.address import address_of
from ingest.egress.files import Files
from ingest.egress.gate import Egress
from ingest.errors import Misconfigured
from ingest.integrations import names, secrets
from ingest.integrations.cluster import Cluster, cluster_of
from ingest.integrations.plans import IntegrationPlan, SessionPlan, StreamPlan
from ingest.integrations.settings import (
    LONGEST,
    MqttSettings,
    check_place,
    mqtt_is_proved,
    mqtt_settings,
    webhooks_are_proved,
)
from ingest.mqtt.port import Broker, Tls
from ingest.settings import Settings
from ingest.store.config.integrations import IntegrationRow

_TEXTS = tuple(one for one in secrets.BROKER if one != "password")


class Planner:
    """Turns a row into a plan. Without `egress` and `files` it makes those that the settings ask for."""

    def __init__(
        self, settings: Settings, keyring: Keyring, egress: Egress | None = None, files: Files | None = None
    ) -> None:
        self._settings = settings
        self.keyring = keyring
        self._egress = egress or Egress(settings.networks)
        self._files = files or Files(settings.files)

    def plan(self, row: IntegrationRow) -> IntegrationPlan:
        """Return what the row asks for.

        Raises: Misconfigured, naming the integration and the key.
        """
        if not isinstance(row.settings, dict):
            raise Misconfigured(f"integration {row.name!r}: its settings are not a JSON object")
        check_place(row.name, row.mqtt_place, self._settings)
        wanted = mqtt_settings(secrets.decrypt_settings(row.settings, row.id, self.keyring, _TEXTS), row.name)
        topics, shared = _topics(row.name, wanted)
        policy = wanted.unknown_devices.within(
            self._settings, is_proved=mqtt_is_proved(wanted) and webhooks_are_proved(row.settings)
        )
        offline_after = (wanted.offline_after_s or self._settings.offline_after_s) * SECOND
        broker, context = self._broker(row, wanted), self._context(row.id, topics, wanted)
        if wanted.protocol == "jetstream":
            cluster, filters = self._cluster(row.name, wanted), tuple(topics.filters())
            interval_s = self._settings.marker_interval_s
            return StreamPlan(
                row.id, row.name, broker, cluster, context, policy, offline_after, filters, interval_s
            )
        return SessionPlan(
            integration_id=row.id,
            name=row.name,
            broker=broker,
            protocol=wanted.protocol,
            context=context,
            policy=policy,
            offline_after=offline_after,
            filters=tuple(one for one in topics.filters() if one not in shared),
            marker_interval_s=self._settings.marker_interval_s,
            lease_ttl_s=self._settings.lease_ttl_s,
            shared=shared,
            slots=wanted.slots if shared else 1,
            secret=row.session_secret,
        )

    def _context(self, integration_id: UUID, topics: Topics, wanted: MqttSettings) -> Context:
        ahead = int(self._settings.max_ahead_s * SECOND)
        liveness = Liveness(wanted.liveness == "event_time", ahead, wanted.max_behind_s * SECOND)
        paths, words = FieldPaths(wanted.field_paths), wanted.presence_words.words
        return Context(integration_id, topics, liveness, paths, words=words)

    def _cluster(self, name: str, wanted: MqttSettings) -> Cluster:
        nats = wanted.nats
        return cluster_of(name, wanted, self._settings.max_ahead_s, _clear(nats.creds), _clear(nats.nkey))

    def _broker(self, row: IntegrationRow, wanted: MqttSettings) -> Broker:
        settings, expiry_s = self._settings, wanted.session_expiry_s
        is_operators = row.operator_address == address_of("mqtt", row.base_url, row.settings)
        return Broker(
            host=wanted.host,
            port=wanted.port,
            client_id=client_id(wanted, row.id, row.session_secret),
            username=wanted.username,
            password=password_of(wanted, self.keyring, row.id, row.name),
            tls=_tls(wanted),
            egress=self._egress.everywhere() if is_operators else self._egress,
            files=self._files,
            session_expiry_s=settings.session_expiry_s if expiry_s is None else expiry_s,
            keep_alive_s=settings.keep_alive_s,
            receive_maximum=settings.max_inflight,
            max_payload=settings.max_payload,
        )


def _topics(name: str, wanted: MqttSettings) -> tuple[Topics, tuple[str, ...]]:
    """Return the topics, and the filters that all slots share. Raises: Misconfigured."""
    is_sharing = wanted.slots > 1 and wanted.protocol != "jetstream"
    try:
        topics = Topics.parse(wanted.topics)
        return topics, tuple(topics.shared()) if is_sharing else ()
    except ValueError as error:
        raise Misconfigured(f"integration {name!r}: topics: {error}") from error


def _tls(wanted: MqttSettings) -> Tls | None:
    tls = wanted.tls
    if tls is None:
        return None
    return Tls(
        tls.ca_file,
        tls.cert_file,
        tls.key_file,
        tls.verify_host,
        _clear(tls.ca),
        _clear(tls.cert),
        _clear(tls.key),
    )


def _clear(text: SecretStr | None) -> str | None:
    return text.get_secret_value() if text else None


def password_of(wanted: MqttSettings, keyring: Keyring, integration_id: UUID, name: str) -> str | None:
    """Return the password for an integration's broker in the clear.

    Raises: Misconfigured where a CONNECT has no room for it; SecretUnreadable.
    """
    stored = wanted.password.get_secret_value() if wanted.password else None
    if stored is None:
        return None
    clear = secrets.decrypt_stored(stored, integration_id, "password", keyring)
    if len(clear) > LONGEST:
        raise Misconfigured(f"integration {name!r}: password: expected at most {LONGEST} characters")
    return clear


def client_id(wanted: MqttSettings, integration_id: UUID, secret: str, slot: int = 0) -> str:
    """Return the client id of an integration's session; the number is its slot. A JetStream has none, and no secret."""
    if wanted.protocol == "jetstream":
        return names.client_id(wanted.client_id, integration_id, "", "jetstream")
    return names.client_id(wanted.client_id, integration_id, secret, slot)
