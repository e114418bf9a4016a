"""The ceiling of the webhook route: the same server with a plain ASGI app that reads the body and only answers."""

import asyncio
import logging

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ingest.http.server import Http


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    """Read, and answer."""
    while (await receive()).get("more_body"):
        pass
    await Response(b'{"results":[{"result":"applied"}]}', media_type="application/json")(scope, receive, send)


def main() -> None:
    """Serve until killed; the log says where."""
    logging.basicConfig(level="INFO")
    asyncio.run(Http(answer, "127.0.0.1", 0, lambda port: None).run())


if __name__ == "__main__":
    main()
