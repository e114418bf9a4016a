"""`rollcall integration`: add, list, test and disable integrations, and reset the sessions of one."""

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer

from handlers.topics import Topics
from ingest.cli import integration_options as options
from ingest.cli.integration_broker import reset_sessions, test_broker
from ingest.cli.integration_provider import key_of, save_key, settings_of
from ingest.cli.integration_webhooks import encrypted, webhook_of
from ingest.cli.listing import Connection, ask
from ingest.cli.options import AsJson, DatabaseUrl, Organization
from ingest.cli.output import Row, print_row, print_rows, say
from ingest.crypto import Keyring
from ingest.errors import Misconfigured
from ingest.integrations.settings import mqtt_settings
from ingest.providers.settings import ProviderSettings
from ingest.settings import load_settings
from ingest.store.people import integrations, organizations

app = typer.Typer(no_args_is_help=True, help="The brokers and clouds that Rollcall knows devices from.")


@app.command()
def add(
    name: str,
    organization: options.Slug,
    host: str = "127.0.0.1",
    port: int = 1883,
    username: str | None = None,
    password: options.Password = None,
    password_env: options.PasswordEnv = None,
    topic: options.TopicPatterns = None,
    tls: options.Tls = False,
    ca_file: options.CaFile = None,
    cert_file: options.CertFile = None,
    key_file: options.KeyFile = None,
    unknown_devices: options.UnknownDevices = None,
    protocol: options.Protocol = None,
    kind: options.Type = "mqtt",
    key_env: options.KeyEnv = None,
    project_id: options.ProjectId = None,
    base_url: options.BaseUrl = None,
    assign: options.Assign = None,
    webhook_auth: options.WebhookAuth = None,
    webhook_secret: options.WebhookSecret = None,
    topic_arn: options.TopicArns = None,
    replace: options.Replace = False,
    plain_secrets: options.PlainSecrets = False,
    database_url: DatabaseUrl = None,
) -> None:
    """Add an integration. A running Rollcall connects, asks the provider, or takes webhooks, at once."""
    certificates = _texts(ca=ca_file, cert=cert_file, key=key_file) or tls or None
    broker = _broker(host, port, username, topic or [], certificates, protocol)
    needed = kind != "mqtt" and key_env is None
    webhook = webhook_of(webhook_auth, webhook_secret, topic_arn or [], needed=needed)
    values = _values(broker if kind == "mqtt" else settings_of(assign or []), unknown_devices, webhook)
    provider = _provider(kind, project_id, base_url, key_env, values)
    if kind == "mqtt":
        mqtt_settings(values, name)
        values |= _password(password, password_env)
    new = _New(name, organization, kind, values, provider, replace, plain_secrets, not webhook_secret)
    _add(database_url, new)


@dataclass(frozen=True, slots=True)
class _New:
    """An integration to add. `values` are its settings with secrets in the clear; `plain`: they may stay so.

    `has_new_secret`: the secret of its webhooks, where there is one, was made here and is known to nobody yet.
    """

    name: str
    organization: str
    kind: str
    values: Row
    provider: ProviderSettings | None
    replace: bool
    plain: bool
    has_new_secret: bool


def _add(database_url: str | None, new: _New) -> None:
    """Store an integration and print its id; a webhook secret that was made for it goes to stderr, this once."""
    keyring = Keyring.from_setting(load_settings(database_url=database_url).keys)

    async def store(connection: Connection) -> UUID:
        organization_id = await organizations.ensure(connection, new.organization)
        identifier = await integrations.id_for(connection, organization_id, new.name, new.kind)
        await integrations.save(
            connection,
            identifier,
            organization_id,
            new.name,
            encrypted(new.values, keyring, identifier, plain=new.plain),
            replace=new.replace,
            kind=new.kind,
            takes_webhooks="webhook" in new.values,
        )
        if new.provider is not None:
            await save_key(connection, identifier, new.provider, keyring)
        return identifier

    print(ask(database_url, store))
    if new.has_new_secret and (secret := new.values.get("webhook", {}).get("secret")):
        typer.echo(f"the secret of its webhooks, shown only now: {secret}", err=True)


@app.command("list")
def list_(as_json: AsJson = False, database_url: DatabaseUrl = None) -> None:
    """List the integrations, without secrets."""
    rows = ask(database_url, _rows)
    print_rows(rows, ["organization", "name", "type", "status", "devices", "id"], as_json=as_json)


async def _rows(connection: Connection) -> list[Row]:
    settings = await integrations.settings_without_secrets(connection, None)
    return [
        {
            "id": row.id,
            "organization": row.organization,
            "name": row.name,
            "type": row.integration_type,
            "status": row.status,
            "settings": settings[row.id],
            "devices": row.devices,
        }
        for row in await integrations.integrations(connection, None)
    ]


@app.command("test")
def check(
    name: str, organization: Organization = None, as_json: AsJson = False, database_url: DatabaseUrl = None
) -> None:
    """Connect to the broker with a client id of its own, subscribe, and say what was granted."""
    print_row(
        asyncio.run(test_broker(load_settings(database_url=database_url), name, organization)),
        as_json=as_json,
    )


@app.command()
def disable(name: str, organization: Organization = None, database_url: DatabaseUrl = None) -> None:
    """Stop listening to a broker; its devices stay as they are."""

    async def change(connection: Connection) -> None:
        chosen = await organizations.chosen(connection, organization)
        row = await integrations.find(connection, chosen, name)
        await integrations.set_status(connection, row.id, "inactive")

    ask(database_url, change)
    say(f"{name} is inactive")


@app.command()
def reset_session(
    name: str,
    organization: Organization = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    database_url: DatabaseUrl = None,
) -> None:
    """Make the broker forget the session and all that waits in it. For one that is stuck at a packet.

    A running Rollcall reconnects with a new session; the timeline of the integration has a gap then.
    """
    if not yes:
        typer.confirm("What the broker holds for Rollcall is lost. Go on?", abort=True)
    asyncio.run(reset_sessions(load_settings(database_url=database_url), name, organization))
    say(f"{name}: the broker has forgotten the session")


def _broker(
    host: str,
    port: int,
    username: str | None,
    topics: list[str],
    tls: dict[str, str] | bool | None,
    protocol: str | None,
) -> dict[str, Any]:
    return {
        "host": host,
        "port": port,
        "username": username,
        "topics": _topics(topics),
        "tls": tls,
        "protocol": protocol,
    }


def _topics(given: list[str]) -> dict[str, str | list[str]] | None:
    patterns: dict[str, str | list[str]] = {}
    for text in given:
        kind, equals, pattern = text.partition("=")
        if not equals:
            raise Misconfigured(
                f"--topic {text!r}: expected KIND=PATTERN, as telemetry=devices/{{device_id}}/up"
            )
        known = patterns.get(kind, [])
        patterns[kind] = [*known, pattern] if isinstance(known, list) else [known, pattern]
    try:
        Topics.parse(patterns or None)
    except ValueError as error:
        raise Misconfigured(f"--topic: {error}") from None
    return patterns or None


def _texts(**files: Path | None) -> dict[str, str]:
    """Return the texts of the PEM files that were given. Raises: Misconfigured."""
    texts: dict[str, str] = {}
    for name, file in files.items():
        if file is not None:
            try:
                texts[name] = file.read_text()
            except (OSError, UnicodeDecodeError) as error:
                raise Misconfigured(f"--{name}-file {file}: {error}") from None
    return texts


def _values(given: dict[str, Any], unknown_devices: str | None, webhook: Row | None) -> Row:
    """Return the settings that were given, those of every type included."""
    policy = {"policy": unknown_devices} if unknown_devices else None
    values = {**given, "unknown_devices": policy, "webhook": webhook}
    return {key: value for key, value in values.items() if value is not None}


def _provider(
    kind: str, project_id: str | None, base_url: str | None, key_env: str | None, values: Row
) -> ProviderSettings | None:
    if kind == "mqtt" or key_env is None:
        return None
    return ProviderSettings(kind, project_id, base_url, key_of(key_env), values)


def _password(password: str | None, variable: str | None) -> dict[str, str]:
    """Return the password as a setting. Raises: Misconfigured."""
    if variable is None:
        return {} if password is None else {"password": password}
    try:
        return {"password": os.environ[variable]}
    except KeyError:
        raise Misconfigured(f"--password-env {variable}: that variable is not set") from None
