"""The webhook route: a request becomes events, and is answered once they are committed.

The order of the checks: integration, size, authentication, handshake, shape.
"""

import asyncio
import random
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from handlers.webhooks import golioth_pipelines
from handlers.webhooks.delivery import Event, Handshake, Request
from handlers.webhooks.shapes import decode
from ingest.errors import DatabaseAway, Unauthorized, Unavailable
from ingest.mqtt.port import Clock
from ingest.pipeline.deliveries import DUPLICATE, Arrival, Delivery, Result
from ingest.pipeline.intake import Intake
from ingest.problems import Problem
from ingest.webhooks.claims import Claims
from ingest.webhooks.gate import Gate
from ingest.webhooks.hooks import Hook, Hooks
from ingest.webhooks.sns import Signatures

ANSWER_WITHIN_S = 10.0
"""How long a request waits for room in a batch and its commit; Amazon SNS gives up after 15 s."""
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
        self.gate = Gate()

    async def receive(self, http: HttpRequest) -> Response:
        """Answer one request."""
        began = time.perf_counter()
        try:
            response = await self._answer(http)
        except Problem as problem:
            response = problem.response()
        except DatabaseAway:
            response = self._busy(AWAY).response()
        except Unavailable as away:
            response = self._busy(str(away)).response()
        route = "/webhooks/{integration_id}" if http.path_params else "/webhooks"
        self._observe(route, response.status_code, time.perf_counter() - began)
        return response

    async def _answer(self, http: HttpRequest) -> Response:
        hook = self._hook(http)
        if http.method == "OPTIONS":
            return _allowed(http)
        with self.gate.entered(hook.id):
            headers = {
                name.decode("latin-1"): value.decode("latin-1") for name, value in http.scope["headers"]
            }
            self._check_room()
            _check_content(headers)
            body = await self.gate.body(http)
            request = Request(body, headers, self._clock())
            outcome = await self._proven(hook, request)
            if isinstance(outcome, Handshake):
                return await self._shaken(outcome)
            return _told(outcome, await self._results(hook, request, outcome))

    def _hook(self, http: HttpRequest) -> Hook:
        """Return the integration that the request names. Raises: Problem."""
        named = (
            http.path_params.get("integration_id")
            or http.headers.get("x-integration-id")
            or http.query_params.get("integration_id")
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
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                return await self._deliver(hook, request, events)
        except TimeoutError:
            raise self._busy("the events are not committed yet: send them again") from None

    async def _deliver(self, hook: Hook, request: Request, events: Sequence[Event]) -> list[Result]:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        try:
            fresh, others = await self._claims.claim(hook.id, events, done)
            self._check_room()
            await self._intake.until_room()
        except BaseException:
            done.cancel()
            raise
        wanted = [event for event, is_fresh in zip(events, fresh, strict=True) if is_fresh]
        secret = hook.authenticator.secret_headers
        arrival = Arrival(hook.feed, hook.topic, request.headers, secret, request.received_at, done)
        if wanted:
            self._intake.add(Delivery(arrival, wanted), sum(len(event.original) for event in wanted))
        else:
            done.set_result(None)
        self._intake.counts.duplicates += len(events) - len(wanted)
        await asyncio.wait({done, *others})
        if any(other.cancelled() for other in others):
            raise self._busy("an event that another request brought is not committed: send it again")
        results = (arrival.results[place] for place in range(len(wanted)))
        return [next(results) if is_fresh else DUPLICATE for is_fresh in fresh]

    def _check_room(self) -> None:
        """Refuse at once what cannot be committed now. Raises: Problem."""
        if self._outage() is not None:
            raise self._busy(AWAY)
        if self._intake.exhausted:
            raise self._busy("too many events wait to be committed: send these again")

    def _busy(self, detail: str) -> Problem:
        return Problem(503, detail, {"retry-after": str(self._jitter.randint(2, 6))})


def _allowed(http: HttpRequest) -> Response:
    """Answer the handshake of CloudEvents' abuse protection. Source: CloudEvents, HTTP 1.1 Web Hooks, section 4."""
    origin = http.headers.get("webhook-request-origin", "")
    if not _ORIGIN.fullmatch(origin):
        raise Problem(400, "OPTIONS needs the header WebHook-Request-Origin with the name of the sender")
    headers = {
        "webhook-allowed-origin": origin,
        "webhook-allowed-rate": ALLOWED_RATE,
        "allow": "POST, OPTIONS",
    }
    return Response(status_code=200, headers=headers)


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
