"""Topic filters, checked before the broker sees them: at a bad one brokers close the connection, again and again."""

from collections.abc import Awaitable, Callable, Sequence

from ingest.mqtt.port import Granted, Subscription

_MAX_BYTES = 65_535
PER_PACKET = 8
"""Filters in one SUBSCRIBE or UNSUBSCRIBE: AWS IoT Core closes the connection at more."""


def filter_fault(topic_filter: str) -> str | None:
    """Say what is wrong with a topic filter, or None. Source: MQTT 5, 4.7 and 4.8.2."""
    try:
        size = len(topic_filter.encode())
    except UnicodeEncodeError:
        return "not valid text"
    levels = topic_filter.split("/")
    shared = levels[0] == "$share"
    if shared and (len(levels) < 3 or not levels[1] or set(levels[1]) & set("+#")):
        return "a shared filter is $share/{group}/{filter}"
    rest = levels[2:] if shared else levels
    if rest == [""] or "\0" in topic_filter or size > _MAX_BYTES:
        return "empty, too long or with NUL"
    if any("+" in level and level != "+" for level in rest):
        return "+ must stand alone between slashes"
    if any("#" in level for level in rest[:-1]) or ("#" in rest[-1] and rest[-1] != "#"):
        return "# must stand alone at the end"
    return None


async def subscribe_soundly(
    subscriptions: Sequence[Subscription],
    subscribe: Callable[[Sequence[Subscription]], Awaitable[list[Granted]]],
) -> list[Granted]:
    """Send the sound filters in packets of eight and answer for the others; one answer per filter, in order."""
    faults = {s.topic_filter: filter_fault(s.topic_filter) for s in subscriptions}
    sound = [s for s in subscriptions if faults[s.topic_filter] is None]
    granted: dict[str, Granted] = {}
    for i in range(0, len(sound), PER_PACKET):
        granted |= {g.topic_filter: g for g in await subscribe(sound[i : i + PER_PACKET])}
    return [
        granted.get(name) or Granted(name, None, f"not a valid topic filter: {faults[name]}")
        for name in (s.topic_filter for s in subscriptions)
    ]


async def unsubscribe_soundly(
    filters: Sequence[str], unsubscribe: Callable[[Sequence[str]], Awaitable[None]]
) -> None:
    """Send the sound filters in packets of eight; the others were never subscribed."""
    sound = [one for one in filters if filter_fault(one) is None]
    for i in range(0, len(sound), PER_PACKET):
        await unsubscribe(sound[i : i + PER_PACKET])
