"""`rollcall integration`: add, list, test, disable."""

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer

from handlers.topics import Topics
from ingest.cli.integration_broker import reset_sessions, test_broker
from ingest.cli.integration_provider import key_of, save_key, settings_of
from ingest.cli.integration_webhooks import Kind, encrypted, webhook_of
from ingest.cli.options import AsJson, DatabaseUrl, Organization
from ingest.cli.output import print_row, print_rows, say
from ingest.crypto import Keyring
from ingest.errors import Misconfigured
from ingest.integrations.settings import mqtt_settings
from ingest.providers.settings import ProviderSettings
from ingest.settings import Settings, load_settings
from ingest.store.people import admin
from ingest.store.people.session import Row, session
from ingest.webhooks.auth import METHODS

app = typer.Typer(no_args_is_help=True, help="The brokers and clouds that Rollcall knows devices from.")


@app.command()
def add(
    name: str,
    organization: Annotated[str, typer.Option(help="Its slug; created when it is missing.")],
    host: str = "127.0.0.1",
    port: int = 1883,
    username: str | None = None,
    password: Annotated[
        str | None, typer.Option(help="Seen by others on this machine: prefer --password-env.")
    ] = None,
    password_env: Annotated[str | None, typer.Option(help="The variable that holds the password.")] = None,
    topic: Annotated[
        list[str] | None, typer.Option(help="KIND=PATTERN, as telemetry=devices/{device_id}/up; repeatable.")
    ] = None,
    tls: Annotated[
        bool, typer.Option("--tls", help="Verify the broker with the system's certificates.")
    ] = False,
    ca_file: Annotated[
        Path | None, typer.Option(help="Verify the broker with this CA (implies --tls); its text is stored.")
    ] = None,
    cert_file: Annotated[
        Path | None,
        typer.Option(help="Our certificate, with its key or with --key-file; its text is stored."),
    ] = None,
    key_file: Annotated[Path | None, typer.Option(help="The key of --cert-file; its text is stored.")] = None,
    unknown_devices: Annotated[str | None, typer.Option(help="create, park or ignore.")] = None,
    protocol: Annotated[str | None, typer.Option(help="5, 3.1.1, auto or jetstream.")] = None,
    kind: Annotated[Kind, typer.Option("--type", help="What it is.")] = "mqtt",
    key_env: Annotated[
        str | None, typer.Option(help="Of a provider: the variable that holds its key, or - for stdin.")
    ] = None,
    project_id: Annotated[str | None, typer.Option(help="Of golioth.")] = None,
    base_url: Annotated[str | None, typer.Option(help="Of a provider: only for another address.")] = None,
    assign: Annotated[
        list[str] | None, typer.Option("--set", help="Of a provider: NAME=VALUE, as region=eu-west-1.")
    ] = None,
    webhook_auth: Annotated[
        str | None, typer.Option(help=f"Take webhooks that prove themselves so: {', '.join(METHODS)}.")
    ] = None,
    webhook_secret: Annotated[
        str | None,
        typer.Option(help="Only -: read the secret from stdin. Without it one is made and shown once."),
    ] = None,
    topic_arn: Annotated[list[str] | None, typer.Option(help="For sns: a topic that may send.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Change it when it is there.")] = False,
    plain_secrets: Annotated[
        bool, typer.Option("--plain-secrets", help="Without ROLLCALL_KEYS: store secrets in the clear.")
    ] = False,
    database_url: DatabaseUrl = None,
) -> None:
    """Add an integration. A running Rollcall connects, asks the provider, or takes webhooks, at once."""
    settings = load_settings(database_url=database_url)
    mqtt: dict[str, Any] = {
        "host": host,
        "port": port,
        "username": username,
        "topics": _topics(topic or []),
        "tls": _texts(ca=ca_file, cert=cert_file, key=key_file) or tls or None,
        "protocol": protocol,
    }
    given = mqtt if kind == "mqtt" else settings_of(assign or [])
    given["unknown_devices"] = {"policy": unknown_devices} if unknown_devices else None
    given["webhook"] = webhook_of(
        webhook_auth, webhook_secret, topic_arn or [], needed=kind != "mqtt" and key_env is None
    )
    values = {key: value for key, value in given.items() if value is not None}
    if kind == "mqtt":
        mqtt_settings(values, name)
    provider = None
    if kind != "mqtt" and key_env is not None:
        provider = ProviderSettings(kind, project_id, base_url, key_of(key_env), values)
    if kind == "mqtt" and (secret := _password(password, password_env)) is not None:
        values["password"] = secret
    new = _New(name, organization, kind, values, provider, replace=replace, plain=plain_secrets)
    print(asyncio.run(_add(settings, new)))
    if webhook_auth and not webhook_secret and "secret" in values["webhook"]:
        typer.echo(f"the secret of its webhooks, shown only now: {values['webhook']['secret']}", err=True)


@dataclass(frozen=True, slots=True)
class _New:
    """An integration to add. `values` are its settings with secrets in the clear; `plain`: they may stay so."""

    name: str
    organization: str
    kind: str
    values: Row
    provider: ProviderSettings | None
    replace: bool
    plain: bool


async def _add(settings: Settings, new: _New) -> UUID:
    keyring = Keyring.from_setting(settings.keys)
    async with session(settings.database_url) as connection, connection.transaction():
        organization_id = await admin.organization(connection, new.organization)
        identifier = await admin.integration_id(connection, organization_id, new.name, new.kind)
        await admin.save_integration(
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


@app.command("list")
def list_(as_json: AsJson = False, database_url: DatabaseUrl = None) -> None:
    """List the integrations, without secrets."""

    async def fetch() -> list[Row]:
        async with session(load_settings(database_url=database_url).database_url) as connection:
            return await admin.integrations(connection)

    columns = ["organization", "name", "type", "status", "devices", "id"]
    print_rows(asyncio.run(fetch()), columns, as_json=as_json)


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

    async def change() -> None:
        url = load_settings(database_url=database_url).database_url
        async with session(url) as connection, connection.transaction():
            row = await admin.integration(connection, name, organization)
            await admin.set_status(connection, row["id"], "inactive")

    asyncio.run(change())
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


def _password(password: str | None, variable: str | None) -> str | None:
    if variable is None:
        return password
    try:
        return os.environ[variable]
    except KeyError:
        raise Misconfigured(f"--password-env {variable}: that variable is not set") from None
