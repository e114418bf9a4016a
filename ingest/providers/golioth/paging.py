"""Golioth's listings: pages by number over a list that changes meanwhile."""

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, NamedTuple

from ingest.errors import Declined, ProviderAway
from ingest.providers.checks import object_of
from ingest.providers.http import JsonApi
from ingest.providers.listing import MAX_PAGES

PER_PAGE = 100


class Numbered(NamedTuple):
    """One page; `cursor` is None on the last one."""

    entries: list[Any]
    cursor: str | None
    total: int | None


async def pages(
    api: JsonApi, path: str, filters: Mapping[str, Any], after: str | None, key: Callable[[Any], object]
) -> AsyncIterator[Numbered]:
    """List `path`, each entry (by `key`) once.

    When `total` shrinks between two requests, entries have moved to a page that was read already: it is read again,
    also by a listing that is resumed, which may then repeat what the one before it had. What can be missed: an entry
    that moves there while as many new ones appear, so that `total` stays. The next listing has it. The numbers start
    at 0; a server that starts at 1 answers 0 and 1 alike, which costs a request and doubles nothing.
    Raises: ProviderAway, Declined for a cursor that is not ours, and the rest of `JsonApi.call`.
    """
    number, before = _position(after)
    seen: set[object] = set()
    stale = 0
    for _ in range(MAX_PAGES):
        query = {**filters, "page": number, "perPage": PER_PAGE}
        where = f"Golioth: {path} page {number}"
        answer = object_of((await api.call("GET", path, query=query)).body, where)
        found = answer.get("list")
        if not isinstance(found, list | None):
            raise ProviderAway(f"{where}: `list` is not a list")
        entries, total = found or [], _count(answer.get("total"))
        per_page = _count(answer.get("perPage")) or PER_PAGE
        unseen = {key(entry): entry for entry in entries if key(entry) not in seen}
        seen.update(unseen)
        stale = 0 if unseen else stale + 1
        shrunk = max(0, before - total) if before is not None and total is not None else 0
        if shrunk:
            last, following = False, max(0, number - -(-shrunk // per_page))
        else:
            last, following = _is_last(len(entries), number, per_page, total, stale), number + 1
        before = total
        yield Numbered(
            list(unseen.values()), None if last else f"{following}/{'' if total is None else total}", total
        )
        if last:
            return
        number = following
    raise ProviderAway(f"Golioth: {path}: the listing did not end within {MAX_PAGES} pages")


def _is_last(length: int, number: int, per_page: int, total: int | None, stale: int) -> bool:
    """A page that is empty or past `total` ends the list; without a total, a short one or two without news."""
    if length == 0 or total is None:
        return length < per_page or stale > 1
    return number * per_page > total or (length < per_page and (number + 1) * per_page >= total)


def _position(after: str | None) -> tuple[int, int | None]:
    """Return the number of the next page, and `total` as it was, from a cursor."""
    if after is None:
        return 0, None
    number, slash, total = after.partition("/")
    if not slash or not number.isdecimal() or len(number) > 9 or (total and not total.isdecimal()):
        raise Declined("this cursor is not one of Golioth's listings: begin anew without it")
    return int(number), int(total) if total else None


def _count(value: object) -> int | None:
    """Return a count; int64 may come as text."""
    if isinstance(value, str) and value.isdecimal() and len(value) < 19:
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
