"""The webhook route: a request becomes events, and is answered once they are committed.

It is plain ASGI: the layers of Starlette around a route took more than a tenth of a request's time.
The order of the checks: integration, size, authentication, handshake, shape.
"""

import asyncio
import random
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

import orjson
from starlette.datastructures import QueryParams
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from handlers.webhooks import golioth_pipelines
from handlers.webhooks.delivery import Event, Handshake, Request
from handlers.webhooks.shapes import decode
from ingest.errors import DatabaseAway, Unauthorized, Unavailable
from ingest.mqtt.port import Clock
from ingest.pipeline.deliveries import DUPLICATE, Arrival, Delivery, Result
from ingest.pipeline.intake import Intake
from ingest.problems import UNEXPECTED, Problem
from ingest.webhooks.claims import Claimed, Claims
from ingest.webhooks.deadlines import Deadlines
from ingest.webhooks.gate import Gate
from ingest.webhooks.hooks import Hook, Hooks
from ingest.webhooks.sns import Signatures

ANSWER_WITHIN_S = 10.0
"""How long a request waits for room in a batch and its commit; Amazon SNS gives up after 15 s."""
PATH = "/webhooks"
METHODS = ("POST", "OPTIONS")
AWAY = "the database cannot be written now: send the events again"
ALLOWED_RATE = "*"
JSON = "application/json"
NOT_EVENTS = ("application/x-www-form-urlencoded", "multipart/", "image/", "audio/", "video/")
_ORIGIN = re.compile(r"[A-Za-z0-9.:-]{1,253}")

Observe = Callable[[str, int, float], None]
"""Is told the route, the status and the seconds of each request."""


class Webhooks:
    """Receives requests. `outage` says why the database cannot be written now."""

    def __init__(
        self,
        hooks: Hooks,
        intake: Intake,
        claims: Claims,
        signatures: Signatures,
        clock: Clock,
        outage: Callable[[], str | None],
        observe: Observe,
        jitter: random.Random,
    ) -> None:
        self._hooks = hooks
        self._intake = intake
        self._claims = claims
        self._signatures = signatures
        self._clock = clock
        self._outage = outage
        self._observe = observe
        self._jitter = jitter
        self._deadlines = Deadlines()
        self.gate = Gate()

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
            response = self._busy(AWAY).response()
        except Unavailable as away:
            response = self._busy(str(away)).response()
        except Exception:
            await Problem(500, UNEXPECTED).response()(scope, receive, send)
            raise
        route = PATH if scope["path"] == PATH else PATH + "/{integration_id}"
        self._observe(route, response.status_code, time.perf_counter() - began)
        await response(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive) -> Response:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        hook = self._hook(scope, headers)
        if scope["method"] == "OPTIONS":
            return _allowed(headers)
        with self.gate.entered(hook.id):
            self._check_room()
            _check_content(headers)
            body = await self.gate.body(headers, receive)
            request = Request(body, headers, self._clock())
            outcome = await self._proven(hook, request)
            if isinstance(outcome, Handshake):
                return await self._shaken(outcome)
            return _told(outcome, await self._results(hook, request, outcome))

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
            raise self._busy("the integrations are not read yet")
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

    async def _proven(self, hook: Hook, request: Request) -> tuple[Event, ...] | Handshake:
        """Return what the request holds, once it has proved itself; AWS asks to confirm a destination without proof."""
        if b"DestinationConfirmation" in request.body:
            outcome = decode(request, hook.context)
            if isinstance(outcome, Handshake) and outcome.kind == "aws_destination":
                return outcome
        try:
            await hook.authenticator.check(request.headers, request.body, request.received_at)
        except Unauthorized as error:
            scheme = "Bearer" if hook.authenticator.method == "bearer" else "Webhook"
            raise Problem(401, str(error), {"www-authenticate": scheme}) from None
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

    async def _results(self, hook: Hook, request: Request, events: Sequence[Event]) -> list[Result]:
        """Return a result for each event, once all of them are committed.

        Raises: Problem when it takes too long (what was taken in is committed all the same), DatabaseAway.
        """
        due = asyncio.get_running_loop().time() + ANSWER_WITHIN_S
        try:
            return await self._deliver(hook, request, events, due)
        except TimeoutError:
            raise self._busy("the events are not committed yet: send them again") from None

    async def _deliver(
        self, hook: Hook, request: Request, events: Sequence[Event], due: float
    ) -> list[Result]:
        loop = asyncio.get_running_loop()
        committed, answered = loop.create_future(), loop.create_future()
        fresh, others = await self._let_in(hook.id, events, committed, due)
        wanted = [event for event, is_fresh in zip(events, fresh, strict=True) if is_fresh]
        self._intake.counts.duplicates += len(events) - len(wanted)
        arrival = Arrival(
            hook.feed,
            hook.topic,
            request.headers,
            hook.authenticator.secret_headers,
            request.received_at,
            committed,
            answered,
        )
        if wanted:
            self._intake.add(Delivery(arrival, wanted), len(request.body))
            await self._deadlines.wait(answered, due)
        else:
            committed.set_result(None)
        if others:
            async with asyncio.timeout_at(due):
                await asyncio.wait(others)
            if any(other.cancelled() for other in others):
                raise self._busy("an event that another request brought is not committed: send it again")
        results = (arrival.results[place] for place in range(len(wanted)))
        return [next(results) if is_fresh else DUPLICATE for is_fresh in fresh]

    async def _let_in(
        self, integration_id: UUID, events: Sequence[Event], committed: asyncio.Future[None], due: float
    ) -> Claimed:
        """Claim the ids of the events and wait for room. Raises: Problem, TimeoutError, DatabaseAway."""
        self._check_room()
        if not self._intake.full and all(event.id is None for event in events):
            return Claimed([True] * len(events), set())
        try:
            async with asyncio.timeout_at(due):
                claimed = await self._claims.claim(integration_id, events, committed)
                self._check_room()
                await self._intake.until_room()
        except BaseException:
            committed.cancel()
            raise
        return claimed

    def _check_room(self) -> None:
        """Refuse at once what cannot be committed now. Raises: Problem."""
        if self._outage() is not None:
            raise self._busy(AWAY)
        if self._intake.exhausted:
            raise self._busy("too many events wait to be committed: send these again")

    def _busy(self, detail: str) -> Problem:
        return Problem(503, detail, {"retry-after": str(self._jitter.randint(2, 6))})


def _allowed(headers: Mapping[str, str]) -> Response:
    """Answer the handshake of CloudEvents' abuse protection. Source: CloudEvents, HTTP 1.1 Web Hooks, section 4."""
    origin = headers.get("webhook-request-origin", "")
    if not _ORIGIN.fullmatch(origin):
        raise Problem(400, "OPTIONS needs the header WebHook-Request-Origin with the name of the sender")
    allowed = {
        "webhook-allowed-origin": origin,
        "webhook-allowed-rate": ALLOWED_RATE,
        "allow": "POST, OPTIONS",
    }
    return Response(status_code=200, headers=allowed)


def _check_content(headers: Mapping[str, str]) -> None:
    """Refuse what is surely no event. Raises: Problem (415)."""
    if headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        told = "the body is compressed, which is not read: send it without Content-Encoding"
        raise Problem(415, told, {"accept-encoding": "identity"})
    is_raw = headers.get("ce-type", "").startswith(golioth_pipelines.PREFIX)
    if not is_raw and headers.get("content-type", "").strip().lower().startswith(NOT_EVENTS):
        raise Problem(415, "the Content-Type is none of events: send application/json")


def _told(events: Sequence[Event], results: Sequence[Result]) -> Response:
    """Return the answer: a result for each event; 400 when none of them could be understood."""
    told = [_result(event, result) for event, result in zip(events, results, strict=True)]
    misunderstood = [event.decoded.dead for event in events]
    if told and all(misunderstood) and all(result.outcome == "dead" for result in results):
        (first, *_) = (dead.error for dead in misunderstood if dead)
        return Problem(400, f"nothing in the body was understood: {first}", results=told).response()
    return Response(orjson.dumps({"results": told}), media_type=JSON)


def _result(event: Event, result: Result) -> dict[str, Any]:
    told: dict[str, Any] = {"result": result.outcome}
    if event.id is not None:
        told["id"] = event.id
    if event.name:
        told["event"] = event.name
    if result.reason is not None:
        told |= {"kind": result.reason.kind, "error": result.reason.error}
    elif event.decoded.field_errors:
        told["fieldErrors"] = [error._asdict() for error in event.decoded.field_errors]
    return told
