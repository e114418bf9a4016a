"""Idempotency-Key: a POST that is sent again with the same key gets the first answer, and is not done again.

Source: draft-ietf-httpapi-idempotency-key-header.
"""

import hashlib
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Header, Request, Response

from ingest.api.auth import Caller
from ingest.api.dependencies import Api
from ingest.problems import Problem
from ingest.store.people import requests

Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        pattern=r"^[!-~]+$",
        description="The same key within a day gets the same answer, and nothing is done twice.",
    ),
]


async def idempotent(
    api: Api, caller: Caller, request: Request, key: str | None, work: Callable[[], Awaitable[Response]]
) -> Response:
    """Do `work`, or return the answer that it had under this key. What failed may be tried again.

    Raises: Problem 409 while it is being done, 422 where the key was used for something else.
    """
    if key is None:
        return await work()
    asked = b"\0".join((request.method.encode(), request.url.path.encode(), await request.body()))
    digest = hashlib.sha256(caller.key.encode() + b"\0" + asked).digest()
    async with api.dependencies.tenants.of(caller.organization_id) as connection:
        known = await requests.claim(connection, caller.organization_id, key, digest)
    if known.digest != digest:
        raise Problem(422, "this Idempotency-Key was used for another request")
    if not known.ours:
        return _again(known)
    try:
        response = await work()
    except BaseException:
        async with api.dependencies.tenants.of(caller.organization_id) as connection:
            await requests.release(connection, caller.organization_id, key)
        raise
    async with api.dependencies.tenants.of(caller.organization_id) as connection:
        body = bytes(response.body)
        await requests.complete(connection, caller.organization_id, key, response.status_code, body)
    return response


def _again(known: requests.Claim) -> Response:
    if known.status is None:
        raise Problem(
            409, "a request with this Idempotency-Key is being worked on", headers={"retry-after": "1"}
        )
    return Response(known.answer, known.status, {"idempotency-replayed": "true"}, "application/json")
