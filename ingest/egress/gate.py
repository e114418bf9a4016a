"""The gate through which every connection goes that a row of device_integrations asks for.

A name is looked up once, its addresses are checked, and the connection goes to an address that was checked: a name that
means another address a moment later (DNS rebinding) changes nothing.
"""

import asyncio
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

from ingest.egress.blocking import Blocking
from ingest.egress.networks import Network, is_permitted
from ingest.errors import AddressRefused

LOOK_UP_WITHIN_S = 8.0
MAX_LOOK_UPS = 64
HEAD_START_S = 0.25
"""How long an address is tried alone before the next one. Source: RFC 8305, 5."""


@dataclass(frozen=True, slots=True)
class Place:
    """An address to connect to, as `socket` takes it."""

    family: int
    sockaddr: tuple[Any, ...]

    @property
    def address(self) -> str:
        """The address as text."""
        return str(self.sockaddr[0])


def _look_ups() -> Blocking:
    return Blocking(MAX_LOOK_UPS, LOOK_UP_WITHIN_S)


@dataclass(frozen=True, slots=True)
class Egress:
    """Where one integration's connections may go. `listed` None: everywhere, as for a row that the operator made."""

    listed: tuple[Network, ...] | None = None
    look_ups: Blocking = field(default_factory=_look_ups, repr=False, compare=False)

    def everywhere(self) -> "Egress":
        """Return the same for a row that the operator made."""
        return Egress(None, self.look_ups)

    async def places(self, host: str, port: int) -> list[Place]:
        """Return the addresses of a host that a connection may go to.

        Raises: AddressRefused where there is none, OSError where the name is not known, or not in time.
        """
        try:
            found = _literal(host, port) or await self.look_ups.run(
                (host, port), lambda: _look_up(host, port)
            )
        except TimeoutError:
            raise OSError(f"its name is not looked up within {LOOK_UP_WITHIN_S:g} s") from None
        if self.listed is None:
            return found
        places = [one for one in found if is_permitted(one.address, self.listed)]
        if not places:
            raise AddressRefused(host)
        return places

    async def connected(self, host: str, port: int) -> socket.socket:
        """Return a socket that is connected to the host; the caller bounds the time.

        Raises: AddressRefused, OSError.
        """
        return await _first_connected(await self.places(host, port))


def _literal(host: str, port: int) -> list[Place]:
    try:
        version = ip_address(host).version
    except ValueError:
        return []
    if version == 4:
        return [Place(socket.AF_INET, (host, port))]
    return [] if "%" in host else [Place(socket.AF_INET6, (host, port, 0, 0))]


def _look_up(host: str, port: int) -> list[Place]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    except UnicodeError:
        raise OSError("it is no host name") from None
    places = [Place(family, sockaddr) for family, _, _, _, sockaddr in found]
    return list(dict.fromkeys(places))


async def _first_connected(places: Sequence[Place]) -> socket.socket:
    """Connect to the first that answers; each next one is tried HEAD_START_S later, or once all before it failed."""
    waiting: set[asyncio.Task[socket.socket]] = set()
    rest, failure = list(places), OSError("it has no address")
    try:
        while rest or waiting:
            if rest:
                waiting.add(asyncio.create_task(_connected(rest.pop(0)), name="connect"))
            done, waiting = await asyncio.wait(
                waiting, timeout=HEAD_START_S if rest else None, return_when=asyncio.FIRST_COMPLETED
            )
            won = [one for one in done if one.exception() is None]
            waiting |= set(won[1:])
            if won:
                return won[0].result()
            for one in done:
                error = one.exception()
                failure = error if isinstance(error, OSError) else failure
        raise failure
    finally:
        await _closed(waiting)


async def _connected(place: Place) -> socket.socket:
    # the protocol is named because asyncio sets TCP_NODELAY only then
    opened = socket.socket(place.family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    opened.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(opened, place.sockaddr)
    except BaseException:
        opened.close()
        raise
    return opened


async def _closed(tasks: set[asyncio.Task[socket.socket]]) -> None:
    for task in tasks:
        task.cancel()
    for one in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(one, socket.socket):
            one.close()
