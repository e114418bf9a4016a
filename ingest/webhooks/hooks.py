"""The integrations that take webhooks, read once and kept in the form in which requests need them."""

import logging
import random
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from handlers.events import SECOND, Liveness
from handlers.paths import FieldPaths
from handlers.webhooks.delivery import Context
from handlers.webhooks.shapes import checked
from ingest.crypto import Keyring, is_encrypted, secret_context
from ingest.errors import Misconfigured, RollcallError
from ingest.integrations.field_paths import warn_of_missing
from ingest.integrations.settings import check_place, webhook_settings, webhooks_are_proved
from ingest.integrations.watch import watch
from ingest.pipeline.adoption import Adopting, adopt_for_ever
from ingest.pipeline.segment import IntegrationContext
from ingest.settings import Settings
from ingest.store.commit.creation import UnknownPolicy
from ingest.store.commit.parking import Parking
from ingest.store.config.integrations import IntegrationRows
from ingest.store.config.webhook_rows import COLUMN, WebhookRow, WebhookRows
from ingest.tasks import background_task
from ingest.webhooks.auth import LONG_ENOUGH, Authenticator, is_short
from ingest.webhooks.sns import Signatures

log = logging.getLogger(__name__)

REREAD_S = 10.0
"""The database tells at once of changed settings, but not of webhook_enabled and webhook_secret."""
PLACES = ("webhook.secret", "webhook.previous_secret", COLUMN)
"""Where a secret may stand."""


@dataclass(frozen=True, slots=True, eq=False)
class Hook:
    """One integration as its requests see it."""

    id: UUID
    name: str
    topic: str
    """The route without its host: what a dead letter names."""
    authenticator: Authenticator
    context: Context
    feed: IntegrationContext


class HookReader:
    """Turns a row into a hook."""

    def __init__(self, settings: Settings, keyring: Keyring, signatures: Signatures) -> None:
        self._settings = settings
        self.keyring = keyring
        self._signatures = signatures

    def read(self, row: WebhookRow) -> Hook:
        """Return what the row says.

        Raises: Misconfigured, naming the integration and the key, never a secret.
        """
        check_place(row.name, row.place, self._settings)
        context, feed = understood(self._settings, row.id, row.name, row.settings)
        authenticator = self._authenticator(row)
        if any(is_short(one) for one in authenticator.secrets):
            log.warning("integration %s: a secret of its webhooks is short: %s", row.name, LONG_ENOUGH)
        return Hook(row.id, row.name, f"/webhooks/{row.id}", authenticator, context, feed)

    def _authenticator(self, row: WebhookRow) -> Authenticator:
        clear = {place: self._clear(row.id, place, secret) for place, secret in secrets(row).items()}
        column = clear.pop(COLUMN, None)
        webhook = row.settings.get("webhook")
        if isinstance(webhook, dict):
            webhook = webhook | {place.removeprefix("webhook."): secret for place, secret in clear.items()}
        try:
            return Authenticator.parse({"webhook": webhook}, column, self._signatures)
        except ValueError as error:
            raise Misconfigured(f"integration {row.name!r}: {error}") from None

    def _clear(self, integration_id: UUID, place: str, secret: str) -> str:
        if not is_encrypted(secret):
            return secret
        return self.keyring.decrypt(secret, secret_context(integration_id, place))


def understood(
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
    policy = UnknownPolicy(
        **wanted.unknown_devices.within(process).model_dump(), matches_others=webhooks_are_proved(settings)
    )
    after_s = wanted.offline_after_s or process.offline_after_s
    words = wanted.presence_words.words
    context = Context(integration_id, liveness, FieldPaths(wanted.field_paths), shape, words)
    return context, IntegrationContext(integration_id, policy, after_s * SECOND, "webhook")


class Hooks:
    """Follows the rows. A wrong one is logged, and its requests are told so; the others do not notice."""

    def __init__(
        self,
        news: IntegrationRows,
        rows: WebhookRows,
        reader: HookReader,
        parking: Parking,
        jitter: random.Random,
    ) -> None:
        self._news = news
        self._rows = rows
        self._reader = reader
        self._parking = parking
        self._jitter = jitter
        self._known: dict[str, tuple[WebhookRow, Hook | None]] = {}
        self.are_known = False
        """Whether the rows were read at all since the start."""

    def find(self, integration_id: str) -> Hook | None:
        """Return the hook with this id, or None where its settings are wrong. Raises: KeyError without such a row."""
        return self._known[integration_id.lower()][1]

    async def run(self) -> None:
        """Follow the rows for ever, and give parked evidence to devices that have appeared."""
        async with background_task(adopt_for_ever(self._parking, self._adopting)):
            await watch(self._news, self._follow, self._jitter, REREAD_S)

    async def _follow(self) -> None:
        found: dict[str, tuple[WebhookRow, Hook | None]] = {}
        for row in await self._rows.enabled():
            await self._encrypt(row)
            known = self._known.get(str(row.id))
            same = known is not None and known[0] == row
            found[str(row.id)] = known if known is not None and same else (row, self._hook(row))
        self._known = found
        self.are_known = True
        for _, hook in found.values():
            if hook is not None:
                warn_of_missing(hook.name, hook.context.field_paths)

    def _hook(self, row: WebhookRow) -> Hook | None:
        try:
            return self._reader.read(row)
        except Misconfigured as error:
            log.error("%s", error)
            return None

    async def _encrypt(self, row: WebhookRow) -> None:
        """Encrypt the secrets that somebody wrote in the clear, in place; they are used also where that fails."""
        keyring = self._reader.keyring
        for place, secret in secrets(row).items():
            if keyring.can_encrypt and secret and not is_encrypted(secret):
                encrypted = keyring.encrypt(secret, secret_context(row.id, place))
                try:
                    await self._rows.replace_secret(row.id, place, secret, encrypted)
                except RollcallError as error:
                    log.warning("integration %s: %s stays in the clear: %s", row.name, place, error)

    def _adopting(self) -> list[Adopting]:
        hooks = [hook for _, hook in self._known.values() if hook is not None]
        return [
            Adopting(hook.id, hook.name, hook.feed.offline_after, hook.feed.policy.matches_others)
            for hook in hooks
        ]


def secrets(row: WebhookRow) -> dict[str, str]:
    """Return the secrets of a row by their places, as they are stored."""
    webhook = row.settings.get("webhook")
    named = {f"webhook.{name}": value for name, value in webhook.items()} if isinstance(webhook, dict) else {}
    named[COLUMN] = row.secret
    return {place: value for place in PLACES if isinstance(value := named.get(place), str)}
