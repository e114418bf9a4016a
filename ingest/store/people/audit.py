"""The audit: a row for each integration, token or credential that somebody created, changed, tested or read."""

import getpass
import socket
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

Connection = Any
MAX_NAME: Final = 255


class Actor(NamedTuple):
    """The one who acts: a user of the platform, a token of ours or an operator; with address and program."""

    name: str
    user_id: UUID | None
    token_id: UUID | None
    address: str | None = None
    agent: str | None = None


class Entry(NamedTuple):
    """A row of the audit. `organization` is a slug, or the id of one that is gone."""

    at: datetime
    organization: str
    actor: str
    address: str | None
    action: str
    name: str
    subject: UUID
    agent: str | None


def operator() -> Actor:
    """Return the person who runs a command on this machine."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "of no name"
    return Actor(f"operator {user}", None, None, socket.gethostname(), "rollcall")


async def note(
    connection: Connection, organization_id: UUID, actor: Actor, action: str, subject: UUID, name: str
) -> None:
    """Write one row, in the transaction of the change itself. `action` is such as `integration.created`."""
    await connection.execute(
        """insert into rollcall.audit (organization_id, actor, action, subject, name, address, agent)
        values ($1, $2, $3, $4, $5, $6, $7)""",
        organization_id,
        actor.name,
        action,
        subject,
        name[:MAX_NAME],
        actor.address,
        actor.agent,
    )


async def entries(connection: Connection, organization: UUID | None, limit: int) -> list[Entry]:
    """Return entries, newest first; of all organizations where `organization` is None."""
    found = await connection.fetch(
        """select a.at, coalesce(o.slug, a.organization_id::text) as organization, a.actor, a.address, a.action, a.name,
            a.subject, a.agent
        from rollcall.audit a left join public.organizations o on o.id = a.organization_id
        where $1::uuid is null or a.organization_id = $1 order by a.at desc, a.id desc limit $2""",
        organization,
        limit,
    )
    return [Entry(**row) for row in found]
