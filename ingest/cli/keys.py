"""`rollcall keys`: encrypt all stored secrets anew under the newest key."""

import asyncio
from collections import Counter

import typer

from ingest.app import open_pool
from ingest.cli.options import AsJson, DatabaseUrl
from ingest.cli.output import fail, print_row
from ingest.crypto import Keyring, is_encrypted, secret_context
from ingest.errors import Misconfigured, SecretUnreadable
from ingest.reconcile.keys import decrypt_api_key
from ingest.settings import Settings, load_settings
from ingest.store.config.integrations import API_KEY
from ingest.store.config.secrets import StoredSecret, replace, stored_secrets
from ingest.store.people.credentials import rotate_credentials
from ingest.store.people.session import session

app = typer.Typer(no_args_is_help=True, help="The keys under which secrets are stored: ROLLCALL_KEYS.")


@app.command()
def rotate(as_json: AsJson = False, database_url: DatabaseUrl = None) -> None:
    """Encrypt all stored secrets anew under the first key of ROLLCALL_KEYS; then the other keys can go.

    API keys, broker passwords, webhook secrets and device credentials; what was never encrypted is encrypted. Each is
    changed by itself.
    """
    settings = load_settings(database_url=database_url)
    counts, problems = asyncio.run(_rotate(settings))
    print_row(dict(counts) or {"secrets": 0}, as_json=as_json)
    for problem in problems:
        fail(problem)
    if problems:
        raise typer.Exit(1)


async def _rotate(settings: Settings) -> tuple[Counter[str], list[str]]:
    keyring = Keyring.from_setting(settings.keys)
    if not keyring.can_encrypt:
        raise Misconfigured("ROLLCALL_KEYS is not set: there is no key to encrypt with")
    counts: Counter[str] = Counter()
    problems: list[str] = []
    async with session(settings.database_url) as connection:
        async for secret in stored_secrets(connection):
            if keyring.is_current(secret.stored):
                counts["already current"] += 1
                continue
            try:
                context = secret_context(secret.integration_id, secret.place)
                encrypted = keyring.encrypt(_clear(secret, keyring), context)
            except SecretUnreadable as error:
                problems.append(f"integration {secret.integration!r}, {secret.place}: {error}")
                counts["unreadable"] += 1
                continue
            done = await replace(connection, secret, encrypted)
            counts[secret.place if done else "changed meanwhile"] += 1
    async with await open_pool(settings, most=1) as pool:
        rotated, unreadable = await rotate_credentials(pool, keyring)
    if rotated:
        counts["device credentials"] = rotated
    if unreadable:
        problems.append(f"{unreadable} device credentials cannot be read with the keys at hand")
    return counts, problems


def _clear(secret: StoredSecret, keyring: Keyring) -> str:
    if secret.place == API_KEY:
        return decrypt_api_key(secret.stored, secret.integration_id, keyring)
    if not is_encrypted(secret.stored):
        return secret.stored
    return keyring.decrypt(secret.stored, secret_context(secret.integration_id, secret.place))
