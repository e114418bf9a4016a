"""The webhook route: a request becomes events, and is answered once they are committed.

It is plain ASGI: the layers of Starlette around a route took more than a tenth of a request's time.
The order of the checks: integration, size, authentication, handshake, shape.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from uuid import UUID

import orjson
from starlette.datastructures import QueryParams
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from handlers.webhooks import golioth_pipelines
from handlers.webhooks.delivery import Event, Handshake, Request
from handlers.webhooks.shapes import decode
from ingest.egress.networks import peer_of
from ingest.errors import DatabaseAway, Unauthorized, Unavailable
from ingest.mqtt.port import Clock
from ingest.problems import UNEXPECTED, Problem
from ingest.webhooks.answers import JSON, allowed, answer
from ingest.webhooks.gate import Gate
from ingest.webhooks.guesses import Guesser, Guesses
from ingest.webhooks.hooks import Hook, Hooks
from ingest.webhooks.sns import Signatures
from ingest.webhooks.submissions import AWAY, Submissions

PATH = "/webhooks"
METHODS = ("POST", "OPTIONS")
INTEGRATION = "rollcall.integration_id"
"""Where the scope of a request holds the id of its integration, once that is known."""
MAX_UNPROVEN = 8_192
"""Bytes of a body that is decoded before it has proved itself; AWS' confirmation of a destination has about 600."""
NOT_EVENTS = ("application/x-www-form-urlencoded", "multipart/", "image/", "audio/", "video/")

NOSNIFF = (b"x-content-type-options", b"nosniff")

Observe = Callable[[str, UUID | None, int, float], None]
"""Is given the route, the integration if it takes webhooks, the status and the seconds of each request."""


class Webhooks:
    """Receives requests."""

    def __init__(
        self,
        hooks: Hooks,
        submissions: Submissions,
        signatures: Signatures,
        clock: Clock,
        observe: Observe,
    ) -> None:
        self._hooks = hooks
        self._submissions = submissions
        self._signatures = signatures
        self._clock = clock
        self._observe = observe
        self.gate = Gate()
        self._guesses = Guesses()

    @staticmethod
    def takes(scope: Scope) -> bool:
        """Return whether a request is for this route: /webhooks, or /webhooks/<id>."""
        path: str = scope["path"]
        if not path.startswith(PATH) or scope["method"] not in METHODS:
            return False
        slash, integration_id = path[len(PATH) : len(PATH) + 1], path[len(PATH) + 1 :]
        return not slash or (slash == "/" and integration_id != "" and "/" not in integration_id)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""
        began = time.perf_counter()
        try:
            response = await self._answer(scope, receive)
        except Problem as problem:
            response = problem.response()
        except DatabaseAway:
            response = self._submissions.busy(AWAY).response()
        except Unavailable as away:
            response = self._submissions.busy(str(away)).response()
        except Exception:
            failure = Problem(500, UNEXPECTED).response()
            failure.raw_headers.append(NOSNIFF)
            await failure(scope, receive, send)
            raise
        route = PATH if scope["path"] == PATH else PATH + "/{integration_id}"
        seconds = time.perf_counter() - began
        self._observe(route, scope.get(INTEGRATION), response.status_code, seconds)
        response.raw_headers.append(NOSNIFF)
        await response(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive) -> Response:
        headers = _headers(scope["headers"])
        hook = self._hook(scope, headers)
        scope[INTEGRATION] = hook.id
        if scope["method"] == "OPTIONS":
            return allowed(headers)
        with self.gate.entered(hook.id):
            self._submissions.check_room()
            _check_content(headers)
            body = await self.gate.body(headers, receive)
            request = Request(body, headers, self._clock())
            peer = peer_of(scope["client"][0] if scope.get("client") else None)
            outcome = await self._proven(hook, request, (hook.id, peer), scope.get("proven", _nothing))
            if isinstance(outcome, Handshake):
                return await self._shaken(outcome)
            return answer(outcome, await self._submissions.results(hook, request, outcome))

    def _hook(self, scope: Scope, headers: Mapping[str, str]) -> Hook:
        """Return the integration that the request names. Raises: Problem."""
        named = (
            scope["path"][len(PATH) + 1 :]
            or headers.get("x-integration-id")
            or QueryParams(scope["query_string"]).get("integration_id")
        )
        if not named:
            raise Problem(400, "name the integration: /webhooks/<id>, or the header X-Integration-ID")
        if not self._hooks.are_known:
            raise self._submissions.busy("the integrations are not read yet")
        try:
            hook = self._hooks.find(named)
        except KeyError:
            told = "no integration with this id takes webhooks: it must be active and have webhook_enabled"
            raise Problem(404, told) from None
        if hook is None:
            raise Problem(
                500, "the settings of this integration cannot be used: the log of Rollcall says why"
            )
        return hook

    async def _proven(
        self, hook: Hook, request: Request, guesser: Guesser, proven: Callable[[], None]
    ) -> tuple[Event, ...] | Handshake:
        """Return what the request holds, once it has proved itself; AWS asks to confirm a destination without proof."""
        if len(request.body) <= MAX_UNPROVEN and b"DestinationConfirmation" in request.body:
            outcome = decode(request, hook.context)
            if isinstance(outcome, Handshake) and outcome.kind == "aws_destination":
                return outcome
        self._guesses.check(guesser)
        try:
            await hook.authenticator.check(request.headers, request.body, request.received_at)
        except Unauthorized as error:
            self._guesses.failed(guesser)
            scheme = "Bearer" if hook.authenticator.method == "bearer" else "Webhook"
            raise Problem(401, str(error), {"www-authenticate": scheme}) from None
        if hook.authenticator.method != "none":
            proven()
        return decode(request, hook.context)

    async def _shaken(self, handshake: Handshake) -> Response:
        try:
            if handshake.kind == "sns_subscription":
                await self._signatures.confirm(handshake.url, handshake.arn)
            elif handshake.kind == "aws_destination":
                await self._signatures.enable(handshake.url)
        except Unauthorized as error:
            raise Problem(401, str(error), {"www-authenticate": "Webhook"}) from None
        told = {"validationResponse": handshake.code} if handshake.kind == "azure_validation" else {}
        return Response(orjson.dumps(told), media_type=JSON)


def _headers(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return the headers by name in lower case; of one that comes twice the last counts, of signatures all."""
    headers: dict[str, str] = {}
    for name, value in raw:
        key, text = name.decode("latin-1"), value.decode("latin-1")
        headers[key] = f"{headers[key]}, {text}" if key in headers and key.endswith("-signature") else text
    if "svix-id" in headers:  # Standard Webhooks by its former name: the id is known as one of an event's
        headers.setdefault("webhook-id", headers["svix-id"])
    return headers


def _nothing() -> None:
    """Nothing is noted where the server of the app does not ask for it."""


def _check_content(headers: Mapping[str, str]) -> None:
    """Refuse what is surely no event. Raises: Problem (415)."""
    if headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        told = "the body is compressed, which is not read: send it without Content-Encoding"
        raise Problem(415, told, {"accept-encoding": "identity"})
    is_raw = headers.get("ce-type", "").startswith(golioth_pipelines.PREFIX)
    if not is_raw and headers.get("content-type", "").strip().lower().startswith(NOT_EVENTS):
        raise Problem(415, "the Content-Type is none of events: send application/json")
