"""A server of a test's own, running for as long as a block does."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar


class Server(Protocol):
    """What can be started, and removed with all that it keeps."""

    def start(self) -> None:
        """Start it."""

    def destroy(self) -> None:
        """Remove it, whatever state it is in."""


Kind = TypeVar("Kind", bound=Server)


@contextmanager
def started(server: Kind) -> Iterator[Kind]:
    """Start the server, and remove it afterwards, also where it did not start."""
    try:
        server.start()
        yield server
    finally:
        server.destroy()
