"""The ceiling of the webhook route: the same server and route with a handler that reads the body and only answers."""

import asyncio
import logging

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ingest.http import Http


async def answer(request: Request) -> Response:
    """Read, and answer."""
    async for _ in request.stream():
        pass
    return Response(b'{"results":[{"result":"applied"}]}', media_type="application/json")


def main() -> None:
    """Serve until killed; the log says where."""
    logging.basicConfig(level="INFO")
    app = FastAPI(routes=[Route("/webhooks/{integration_id}", answer, methods=["POST", "OPTIONS"])])
    asyncio.run(Http(app, "127.0.0.1", 0, lambda port: None).run())


if __name__ == "__main__":
    main()
