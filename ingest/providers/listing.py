"""Pages of a provider's device list, each device once, until the provider names no further page."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Any

from handlers.events import FieldError
from ingest.errors import ProviderAway
from ingest.providers.port import ListedDevice, Page

MAX_PAGES = 20_000
"""A listing that goes on past it does not end by itself."""


def page_of(
    found: Iterable[ListedDevice | FieldError], seen: set[str], cursor: str | None, total: int | None = None
) -> Page:
    """Return a page of the devices that are not in `seen`, and add them to it."""
    devices: dict[str, ListedDevice] = {}
    problems: list[FieldError] = []
    for one in found:
        if isinstance(one, FieldError):
            problems.append(one)
        elif one.external_id not in seen:
            devices.setdefault(one.external_id, one)
    seen.update(devices)
    return Page(tuple(devices.values()), cursor, total, tuple(problems))


async def pages(
    name: str,
    fetch: Callable[[str | None], Awaitable[tuple[Sequence[Any], str | None]]],
    read: Callable[[Any], ListedDevice | FieldError],
    after: str | None,
) -> AsyncIterator[Page]:
    """List devices by the provider's own continuation tokens, from the token `after` on.

    `fetch` returns the entries that follow a token and the next token, None on the last page.
    Raises: ProviderAway where a token follows itself or the pages do not end, and what `fetch` raises.
    """
    seen: set[str] = set()
    token = after
    for _ in range(MAX_PAGES):
        entries, following = await fetch(token)
        yield page_of(map(read, entries), seen, following)
        if following is None:
            return
        if following == token:
            break
        token = following
    raise ProviderAway(f"{name}: the listing does not end")
