"""The integrations that take webhooks, each in the form in which its requests need it."""

import logging
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from handlers.events import SECOND, Liveness
from handlers.paths import FieldPaths
from handlers.webhooks.delivery import Context
from handlers.webhooks.shapes import checked
from ingest.crypto import Keyring
from ingest.errors import Misconfigured
from ingest.integrations import secrets
from ingest.integrations.catalog import View
from ingest.integrations.settings import check_place, webhook_settings, webhooks_are_proved
from ingest.pipeline.adoption import Adopting
from ingest.pipeline.segment import IntegrationContext
from ingest.settings import Settings
from ingest.store.config.integrations import WEBHOOK_SECRET, IntegrationRow
from ingest.webhooks.auth import LONG_ENOUGH, Authenticator, is_short
from ingest.webhooks.sns import Signatures

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Hook:
    """One integration as its requests see it."""

    id: UUID
    name: str
    topic: str
    """The route without its host: what a dead letter names."""
    authenticator: Authenticator
    context: Context
    integration: IntegrationContext


class HookReader:
    """Turns a row into a hook."""

    def __init__(self, settings: Settings, keyring: Keyring, signatures: Signatures) -> None:
        self._settings = settings
        self._keyring = keyring
        self._signatures = signatures

    def read(self, row: IntegrationRow) -> Hook:
        """Return what the row says.

        Raises: Misconfigured, naming the integration and the key, never a secret.
        """
        check_place(row.name, row.webhook_place, self._settings)
        context, integration = parse_webhook_settings(self._settings, row.id, row.name, row.settings_object)
        authenticator = self._authenticator(row)
        if any(is_short(one) for one in authenticator.secrets):
            log.warning("integration %s: a secret of its webhooks is short: %s", row.name, LONG_ENOUGH)
        return Hook(row.id, row.name, f"/webhooks/{row.id}", authenticator, context, integration)

    def _authenticator(self, row: IntegrationRow) -> Authenticator:
        clear = {
            place: secrets.decrypt_stored(stored, row.id, place, self._keyring)
            for place, stored in secrets.of_webhooks(row).items()
        }
        column = clear.pop(WEBHOOK_SECRET, None)
        webhook = row.settings_object.get("webhook")
        if isinstance(webhook, dict):
            webhook = webhook | {place.removeprefix("webhook."): secret for place, secret in clear.items()}
        try:
            return Authenticator.parse({"webhook": webhook}, column, self._signatures)
        except ValueError as error:
            raise Misconfigured(f"integration {row.name!r}: {error}") from None


def parse_webhook_settings(
    process: Settings, integration_id: UUID, name: str, settings: dict[str, Any]
) -> tuple[Context, IntegrationContext]:
    """Return how an integration's events are read, and what becomes of them.

    Raises: Misconfigured, naming the integration and the key.
    """
    wanted, webhook = webhook_settings(settings, name), settings.get("webhook")
    try:
        shape = checked(webhook.get("shape") if isinstance(webhook, dict) else None)
    except ValueError as error:
        raise Misconfigured(f"integration {name!r}: {error}") from None
    ahead, behind = int(process.max_ahead_s * SECOND), wanted.max_behind_s * SECOND
    liveness = Liveness(wanted.liveness == "event_time", ahead, behind)
    policy = wanted.unknown_devices.within(process, is_proved=webhooks_are_proved(settings))
    after_s = wanted.offline_after_s or process.offline_after_s
    words = wanted.presence_words.words
    context = Context(integration_id, liveness, FieldPaths(wanted.field_paths), shape, words)
    return context, IntegrationContext(integration_id, policy, after_s * SECOND, "webhook")


class Hooks:
    """Finds the hook of a request. The view has parsed the rows; a wrong one is logged there."""

    def __init__(self, view: View[Hook]) -> None:
        self._view = view

    @property
    def are_known(self) -> bool:
        """Whether the rows were read at all since the start."""
        return self._view.is_read

    def find(self, integration_id: str) -> Hook | None:
        """Return the hook with this id, or None where its settings are wrong. Raises: KeyError without such a row."""
        identifier = _uuid(integration_id)
        hook = self._view.valid.get(identifier)
        if hook is None and identifier not in self._view.faults:
            raise KeyError(integration_id)
        return hook

    def adopting(self) -> list[Adopting]:
        """Return the integrations that may have parked ids."""
        return [
            Adopting(
                hook.id, hook.name, hook.integration.offline_after, hook.integration.policy.matches_others
            )
            for hook in self._view.valid.values()
        ]


def _uuid(text: str) -> UUID:
    """Return the id that a path names in its canonical form. Raises: KeyError for any other text."""
    try:
        found = UUID(text)
    except ValueError:
        raise KeyError(text) from None
    if str(found) != text.lower():
        raise KeyError(text)
    return found
