"""Options of `rollcall integration add`."""

from pathlib import Path
from typing import Annotated

import typer

from ingest.cli.integration_webhooks import Kind
from ingest.webhooks.auth import METHODS

Slug = Annotated[str, typer.Option(help="Its slug; created when it is missing.")]
Password = Annotated[str | None, typer.Option(help="Seen by others on this machine: prefer --password-env.")]
PasswordEnv = Annotated[str | None, typer.Option(help="The variable that holds the password.")]
TopicPatterns = Annotated[
    list[str] | None, typer.Option(help="KIND=PATTERN, as telemetry=devices/{device_id}/up; repeatable.")
]
Tls = Annotated[bool, typer.Option("--tls", help="Verify the broker with the system's certificates.")]
CaFile = Annotated[
    Path | None, typer.Option(help="Verify the broker with this CA (implies --tls); its text is stored.")
]
CertFile = Annotated[
    Path | None, typer.Option(help="Our certificate, with its key or with --key-file; its text is stored.")
]
KeyFile = Annotated[Path | None, typer.Option(help="The key of --cert-file; its text is stored.")]
UnknownDevices = Annotated[str | None, typer.Option(help="create, park or ignore.")]
Protocol = Annotated[str | None, typer.Option(help="5, 3.1.1, auto or jetstream.")]
Type = Annotated[Kind, typer.Option("--type", help="What it is.")]
KeyEnv = Annotated[
    str | None, typer.Option(help="Of a provider: the variable that holds its key, or - for stdin.")
]
ProjectId = Annotated[str | None, typer.Option(help="Of golioth.")]
BaseUrl = Annotated[str | None, typer.Option(help="Of a provider: only for another address.")]
Assign = Annotated[
    list[str] | None, typer.Option("--set", help="Of a provider: NAME=VALUE, as region=eu-west-1.")
]
WebhookAuth = Annotated[
    str | None, typer.Option(help=f"Take webhooks that prove themselves so: {', '.join(METHODS)}.")
]
WebhookSecret = Annotated[
    str | None,
    typer.Option(help="Only -: read the secret from stdin. Without it one is made and shown once."),
]
TopicArns = Annotated[list[str] | None, typer.Option(help="For sns: a topic that may send.")]
Replace = Annotated[bool, typer.Option("--replace", help="Change it when it is there.")]
PlainSecrets = Annotated[
    bool, typer.Option("--plain-secrets", help="Without ROLLCALL_KEYS: store secrets in the clear.")
]
