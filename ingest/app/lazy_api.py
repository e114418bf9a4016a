"""The API, made ready while the rest serves already: its imports take half of a start."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING
from uuid import UUID

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from ingest.app.pipeline import Pipeline
from ingest.backoff import Backoff
from ingest.errors import DatabaseAway
from ingest.http.health import Readable
from ingest.reconcile.reconciler import Reconciler
from ingest.sessions.supervisor import Integrations

if TYPE_CHECKING:
    from ingest.app.platform import Platform

log = logging.getLogger(__name__)

READY_WITHIN_S = 15.0
Side = Callable[[Pipeline, Integrations, Reconciler, str], "AbstractAsyncContextManager[Platform]"]


class LazyApi:
    """An app that becomes the platform's API; a request that comes before waits for it, within a bound."""

    def __init__(self, pipeline: Pipeline, mqtt: Integrations, reconciler: Reconciler, holder: str) -> None:
        self._pipeline = pipeline
        self._mqtt = mqtt
        self._reconciler = reconciler
        self._holder = holder
        self._app: asyncio.Future[ASGIApp] = asyncio.get_running_loop().create_future()
        self._readable: Readable | None = None

    async def run(self) -> None:
        """Import it beside the loop, wire it, and do what goes on beside it until cancelled.

        The database may have gone away meanwhile: then it is tried again. Raises: Misconfigured where the API is.
        """
        side, backoff = await asyncio.to_thread(_imported), Backoff(self._pipeline.jitter)
        while not self._app.done():
            try:
                async with side(self._pipeline, self._mqtt, self._reconciler, self._holder) as there:
                    self._readable = there.readable
                    self._app.set_result(there.app)
                    await there.deployments.run()
            except DatabaseAway as away:
                if self._app.done():
                    raise
                log.warning("the API waits for the database: %s", away)
                await asyncio.sleep(backoff.next())

    async def readable(self, token: str) -> frozenset[UUID] | None:
        """Return the integrations that a token may read; None where it is not valid, or the API is not ready yet.

        Raises: DatabaseAway.
        """
        return await self._readable(token) if self._readable is not None else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the API does (ASGI)."""
        try:
            app = await asyncio.wait_for(asyncio.shield(self._app), READY_WITHIN_S)
        except TimeoutError:
            body = {"detail": "the API is not ready yet: try again in a moment"}
            await JSONResponse(body, 503, {"retry-after": "1"})(scope, receive, send)
            return
        await app(scope, receive, send)


def _imported() -> Side:
    from ingest.app.platform import platform_side

    return platform_side
