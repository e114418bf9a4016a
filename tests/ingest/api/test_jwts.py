"""Tokens of the platform: what proves something, and everything that does not."""

import base64
import hmac
import json
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from ingest.api.jwts import MAX_JWKS, Jwts
from ingest.api.settings import ApiSettings, load_api_settings
from ingest.errors import Misconfigured, Unauthorized, Unavailable
from tests.ingest.api.world import running

SECRET = "a-secret-of-the-platform-with-enough-bytes"
ORGANIZATION = uuid4()
HS256 = {"jwt_secret": SECRET, "jwt_issuer": "platform", "jwt_audience": "rollcall"}
RS256 = {
    "jwt_jwks_url": "https://platform.example/jwks",
    "jwt_issuer": "platform",
    "jwt_audience": "rollcall",
}
KEY = rsa.generate_private_key(65537, 2048)
OTHER_KEY = rsa.generate_private_key(65537, 2048)


def claims(**changes: Any) -> dict[str, Any]:
    told = {
        "iss": "platform", "aud": "rollcall", "sub": str(uuid4()), "exp": time.time() + 60,
        "organization_id": str(ORGANIZATION), "role": "operator", **changes,
    }  # fmt: skip
    return {name: value for name, value in told.items() if value is not None}


def signed(**changes: Any) -> str:
    return jwt.encode(claims(**changes), SECRET, "HS256")


def by_rsa(key: Any = KEY, kid: str | None = "k1", **changes: Any) -> str:
    return jwt.encode(claims(**changes), key, "RS256", headers={"kid": kid} if kid else {})


def jwk(key: Any = KEY, kid: str = "k1") -> dict[str, Any]:
    return {**json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key())), "kid": kid, "alg": "RS256"}


def served(answer: Callable[[], httpx.Response]) -> tuple[Jwts, list[httpx.Request]]:
    asked: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return answer()

    return Jwts(ApiSettings(**RS256), httpx.MockTransport(handle)), asked


async def test_a_role_of_the_platform_becomes_scopes() -> None:
    jwts = Jwts(ApiSettings(**HS256))
    found = await jwts.check(signed(role=["operator", "unknown"]))
    assert (found.organization_id, found.scopes) == (ORGANIZATION, {"read", "operate"})
    assert (await jwts.check(signed(role=None))).scopes == frozenset()


@pytest.mark.parametrize(
    "token",
    [
        signed(exp=time.time() - 120),
        signed(exp=None),
        signed(aud="another"),
        signed(aud=None),
        signed(iss="another"),
        signed(iss=None),
        signed(sub=None),
        signed(organization_id="x"),
        signed(organization_id=None),
        signed(organization_id=7),
        signed(nbf=time.time() + 600),
        jwt.encode(claims(), SECRET + "!", "HS256"),
        jwt.encode(claims(), SECRET + SECRET, "HS512"),
        jwt.encode(claims(), None, "none"),
        by_rsa(),
        signed()[:-3] + "AAA",
        "a.b.c",
        "." * 9000,
    ],
)
async def test_a_token_that_proves_nothing_is_refused(token: str) -> None:
    with pytest.raises(Unauthorized):
        await Jwts(ApiSettings(**HS256)).check(token)


async def test_a_public_key_is_no_secret_of_hs256() -> None:
    """The confusion of algorithms. Source: RFC 8725, 2.1."""
    public = KEY.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    parts = [{"alg": "HS256", "typ": "JWT", "kid": "k1"}, claims()]
    signed_part = b".".join(
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in parts
    )
    mac = base64.urlsafe_b64encode(hmac.digest(public, signed_part, "sha256")).rstrip(b"=")
    forged = (signed_part + b"." + mac).decode()
    jwts, _ = served(lambda: httpx.Response(200, json={"keys": [jwk()]}))
    with pytest.raises(Unauthorized):
        await jwts.check(forged)


async def test_the_keys_are_read_once_and_again_for_a_key_that_is_new(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keys = [jwk()]
    now = 1000.0
    monkeypatch.setattr("ingest.api.jwts.time.monotonic", lambda: now)
    jwts, asked = served(lambda: httpx.Response(200, json={"keys": keys}))
    for _ in range(3):
        assert (await jwts.check(by_rsa())).organization_id == ORGANIZATION
    assert len(asked) == 1
    for _ in range(3):
        with pytest.raises(Unauthorized):
            await jwts.check(by_rsa(OTHER_KEY, "k2"))
    assert len(asked) == 1
    keys.append(jwk(OTHER_KEY, "k2"))
    now += 31
    assert (await jwts.check(by_rsa(OTHER_KEY, "k2"))).organization_id == ORGANIZATION
    assert len(asked) == 2
    with pytest.raises(Unauthorized):
        await jwts.check(by_rsa(OTHER_KEY, "k1"))
    with pytest.raises(Unauthorized):
        await jwts.check(by_rsa(kid=None))


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(500),
        httpx.Response(200, content=b"{"),
        httpx.Response(200, json={"keys": []}),
        httpx.Response(200, content=b" " * (MAX_JWKS + 1)),
        httpx.Response(302, headers={"location": "https://evil.example"}),
    ],
)
async def test_keys_that_cannot_be_had_are_a_matter_of_waiting(answer: httpx.Response) -> None:
    jwts, _ = served(lambda: answer)
    with pytest.raises(Unavailable):
        await jwts.check(by_rsa())


async def test_keys_that_could_not_be_read_for_a_day_are_trusted_no_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, answers = 1000.0, [httpx.Response(200, json={"keys": [jwk()]})]
    monkeypatch.setattr("ingest.api.jwts.time.monotonic", lambda: now)
    jwts, _ = served(lambda: answers[-1])
    assert (await jwts.check(by_rsa())).organization_id == ORGANIZATION
    answers.append(httpx.Response(500))
    now += 86_000
    assert (await jwts.check(by_rsa())).organization_id == ORGANIZATION
    now += 500
    for _ in range(3):
        with pytest.raises(Unavailable, match="trusted no longer"):
            await jwts.check(by_rsa())
    answers.append(httpx.Response(200, json={"keys": [jwk()]}))
    now += 31
    assert (await jwts.check(by_rsa())).organization_id == ORGANIZATION


@pytest.mark.parametrize(
    "wrong",
    [
        {**HS256, "jwt_secret": "short"},
        {**HS256, "jwt_jwks_url": "https://x"},
        {**HS256, "jwt_issuer": None},
        {**HS256, "jwt_audience": None},
        {**RS256, "jwt_jwks_url": "http://platform.example"},
        {**HS256, "jwt_roles": {"x": "everything"}},
    ],
)
def test_settings_that_would_be_unsafe_are_refused_without_repeating_a_secret(wrong: dict[str, Any]) -> None:
    with pytest.raises(Misconfigured) as refused:
        load_api_settings(**wrong)
    assert "short" not in str(refused.value)
    assert SECRET not in str(refused.value)


async def test_a_user_of_the_platform_is_let_in_to_his_organization_and_named_in_the_audit(
    database: str,
) -> None:
    async with running(database, **HS256) as world:
        acme, other = await world.organization("acme"), await world.organization("other")
        user = str(uuid4())
        admin = signed(organization_id=str(acme.id), role="admin", sub=user)
        path = f"/api/devices/{acme.device}/credentials/decrypt"
        assert (await world.post(path, admin, {"credentialId": str(acme.credential)})).status_code == 200
        reader = await world.pool.fetchval("select accessed_by from device_credential_access_log")
        assert reader == UUID(user)
        assert (await world.get(f"/api/devices/{other.device}", admin)).status_code == 404
        viewer = signed(organization_id=str(acme.id), role="viewer")
        assert (await world.post(path, viewer, {"credentialId": str(acme.credential)})).status_code == 403
        assert (await world.get("/api/devices", signed(exp=time.time() - 120))).status_code == 401
