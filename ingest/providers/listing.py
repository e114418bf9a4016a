"""Pages out of what a provider lists."""

from collections.abc import Iterable

from handlers.events import FieldError
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
