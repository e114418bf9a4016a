"""Topic filters, checked before a broker sees them: many close the connection for a bad one, again and again."""

from collections.abc import Sequence

from ingest.mqtt.port import Granted, Subscription


def filter_fault(topic_filter: str) -> str | None:
    """Say what is wrong with a topic filter, or None.

    Source: MQTT 5, 4.7 and 4.8.2.
    """
    levels = topic_filter.split("/")
    if levels[0] == "$share":
        if len(levels) < 3 or not levels[1] or "+" in levels[1] or "#" in levels[1]:
            return "a shared filter is $share/{group}/{filter}"
        levels = levels[2:]
    if levels == [""] or "\0" in topic_filter or len(topic_filter.encode(errors="replace")) > 65_535:
        return "a topic filter is not empty, has no NUL and at most 65,535 bytes"
    if any("+" in level and level != "+" for level in levels):
        return "+ must stand alone between slashes"
    if "#" in "".join(levels[:-1]) or ("#" in levels[-1] and levels[-1] != "#"):
        return "# must stand alone at the end"
    return None


def split_faulty(subscriptions: Sequence[Subscription]) -> tuple[list[Subscription], dict[str, Granted]]:
    """Return those that a broker may be asked for, and the answers for the others by filter."""
    faults = {one.topic_filter: filter_fault(one.topic_filter) for one in subscriptions}
    answers = {name: Granted(name, None, fault) for name, fault in faults.items() if fault is not None}
    return [one for one in subscriptions if one.topic_filter not in answers], answers


def in_order(
    subscriptions: Sequence[Subscription], granted: Sequence[Granted], faulty: dict[str, Granted]
) -> list[Granted]:
    """Put the broker's answers and ours into the order of the question."""
    answers = iter(granted)
    return [
        faulty[one.topic_filter] if one.topic_filter in faulty else next(answers) for one in subscriptions
    ]
