"""Every route, with every scope, for an own and another organization, and with invalid tokens."""

import base64
from typing import Any, NamedTuple
from uuid import uuid4

import pytest

from ingest.store.people.tokens import SCOPES
from tests.ingest.api.world import Organization, World


class Route(NamedTuple):
    """`body` is what a good request sends; names in braces are fields of the organization. `status` of one's own."""

    scope: str
    method: str
    path: str
    status: int
    body: Any = None
    lists: bool = False
    """Answers another organization with nothing in it, since it names nothing of one's own."""


ROUTES = [
    Route("read", "GET", "/api/devices", 200, lists=True),
    Route("read", "GET", "/api/devices/{device}", 200),
    Route("read", "GET", "/api/devices/{device}/timeline", 200),
    Route("read", "GET", "/api/devices/{device}/field-errors", 200),
    Route("read", "GET", "/api/devices/{device}/firmware", 200),
    Route("read", "GET", "/api/devices/{device}/status", 200),
    Route("read", "GET", "/api/devices/{device}/deployments", 200),
    Route("read", "GET", "/api/devices/{device}/credentials", 200),
    Route("secrets", "POST", "/api/devices/{device}/credentials/decrypt", 200, {"credentialId": "{credential}"}),
    Route("secrets", "POST", "/api/devices/{device}/credentials", 201,
          {"credentialType": "TOKEN", "identity": "x", "secret": "y"}),
    Route("secrets", "DELETE", "/api/devices/{device}/credentials/{credential}", 204),
    Route("operate", "POST", "/api/devices/{device}/deploy-firmware", 202, {"artifactId": "{artifact}"}),
    Route("read", "GET", "/api/firmware/artifacts", 200, lists=True),
    Route("read", "GET", "/api/integrations", 200, lists=True),
    Route("read", "GET", "/api/integrations/{integration}", 200),
    Route("read", "GET", "/api/integrations/{integration}/runs", 200),
    Route("operate", "POST", "/api/integrations/{integration}/test", 200),
    Route("operate", "POST", "/api/integrations/{integration}/sync", 200, {"fullSync": False, "dryRun": True}),
    Route("admin", "POST", "/api/integrations", 201, {"integrationType": "mqtt", "name": "new"}, lists=True),
    Route("read", "GET", "/api/sync/conflicts", 200, lists=True),
    Route("operate", "POST", "/api/sync/conflicts/{conflict}/resolve", 200, {"resolution": "remote"}),
    Route("read", "GET", "/api/dead-letters", 200, lists=True),
    Route("operate", "POST", "/api/dead-letters/replay", 200, {"ids": ["{letter}"]}, lists=True),
    Route("read", "GET", "/api/unknown-devices", 200, lists=True),
    Route("operate", "POST", "/api/unknown-devices/adopt", 201,
          {"integrationId": "{integration}", "externalDeviceId": "acme-new"}),
]  # fmt: skip
NAMED = [f"{route.method} {route.path}" for route in ROUTES]


def filled(value: Any, made: Organization) -> Any:
    if isinstance(value, str):
        return value.format(**vars(made)) if "{" in value else value
    if isinstance(value, dict):
        return {key: filled(one, made) for key, one in value.items()}
    return [filled(one, made) for one in value] if isinstance(value, list) else value


async def asked(world: World, route: Route, made: Organization, token: str | None) -> Any:
    options = {} if route.body is None else {"json": filled(route.body, made)}
    return await world.ask(route.method, filled(route.path, made), token, **options)


@pytest.fixture
async def acme(world: World) -> Organization:
    world.cloud.add("acme-1")
    world.cloud.cohorts = {"cohort1": {"cohortId": "cohort1", "name": "all", "deviceCount": 1}}
    world.cloud.artifacts = {"a2": {"id": "a2", "package": "main", "version": "1.3.0", "size": "1"}}
    return await world.organization("acme")


async def test_the_table_has_every_route(world: World) -> None:
    document = (await world.get("/openapi.json", None)).json()
    described = {
        (
            method.upper(),
            path.count("/"),
            path.rpartition("/")[2] if "}" not in path.rpartition("/")[2] else "",
        )
        for path, item in document["paths"].items()
        for method in item
    }
    here = {
        (
            route.method,
            route.path.count("/"),
            route.path.rpartition("/")[2] if not route.path.endswith("}") else "",
        )
        for route in ROUTES
    }
    assert here == described
    assert sum(len(item) for item in document["paths"].values()) == len(ROUTES)


@pytest.mark.parametrize("route", ROUTES, ids=NAMED)
async def test_a_route_is_for_its_scope_and_its_organization_alone(
    route: Route, world: World, acme: Organization, other: Organization
) -> None:
    for token in (None, "rc_" + "A" * 43, "nonsense", "a.b.c"):
        refused = await asked(world, route, acme, token)
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"].startswith("Bearer")
        assert refused.headers["content-type"] == "application/problem+json"
    for scope in set(SCOPES) - {route.scope}:
        assert (await asked(world, route, acme, acme.tokens[scope])).status_code == 403, scope
    strange = await asked(world, route, acme, other.tokens[route.scope])
    if route.lists:
        assert strange.status_code in (200, 201)
        for mine in (acme.device, acme.integration, acme.conflict, acme.artifact):
            assert str(mine) not in strange.text
    else:
        assert strange.status_code in (404, 422 if "artifactId" in (route.body or {}) else 404), strange.text
        nowhere = await asked(world, route, Organization(uuid4()), other.tokens[route.scope])
        assert (nowhere.status_code, nowhere.text) == (strange.status_code, strange.text)
    own = await asked(world, route, acme, acme.tokens[route.scope])
    assert own.status_code == route.status, own.text


@pytest.mark.parametrize("end", ["revoked_at = now()", "expires_at = now() - interval '1 second'"])
async def test_a_token_that_is_over_is_refused_everywhere(end: str, world: World, acme: Organization) -> None:
    await world.pool.execute(f"update rollcall.api_tokens set {end}")
    for route in ROUTES:
        refused = await asked(world, route, acme, acme.tokens["all"])
        assert refused.status_code == 401, route
        assert 'error="invalid_token"' in refused.headers["www-authenticate"]


async def test_the_last_use_of_a_token_is_written_once_a_minute(world: World, acme: Organization) -> None:
    async def used() -> Any:
        return await world.pool.fetchrow(
            "select last_used_at, xmin from rollcall.api_tokens where scopes = '{read}'"
        )

    await world.get("/api/devices", acme.tokens["read"])
    first = await used()
    assert first["last_used_at"] is not None
    await world.get("/api/devices", acme.tokens["read"])
    assert await used() == first


async def test_what_is_stored_of_a_token_does_not_show_it(world: World, acme: Organization) -> None:
    rows = await world.pool.fetch("select t::text from rollcall.api_tokens t")
    for token in acme.tokens.values():
        raw = base64.urlsafe_b64decode(token.removeprefix("rc_") + "=")
        assert len(raw) == 32
        assert not any(token in row[0] or raw.hex() in row[0] for row in rows)


async def test_without_the_role_the_first_wall_holds_alone(database: str) -> None:
    from tests.ingest.api.world import running

    async with running(database, role=False) as world:
        acme, other = await world.organization("acme"), await world.organization("other")
        assert (await world.get(f"/api/devices/{acme.device}", acme.tokens["read"])).status_code == 200
        assert (await world.get(f"/api/devices/{acme.device}", other.tokens["read"])).status_code == 404
        assert str(acme.device) not in (await world.get("/api/devices", other.tokens["read"])).text
