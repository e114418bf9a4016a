"""Conflict rules between a row and its provider: three-way, against the value both last agreed on.

Only the provider changed: its value is taken. Only the row changed: it is pushed, or kept where nothing may be pushed.
Both changed: the field's policy decides. A field without a local value takes the provider's; one without an agreed
value, where both have one, counts as changed on both sides.
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

Policy = Literal["local", "merge", "manual"]
METADATA = "metadata."
"""Prefix of a field that is a key of devices.metadata."""
POLICIES: Mapping[str, Policy] = {
    "name": "local",
    "metadata.description": "local",
    "metadata.notes": "local",
    "metadata.tags": "merge",
}
"""Every other field is manual. Status, battery, firmware and last_seen_* are no facts: there the later event wins."""
UNORDERED = frozenset(("hardware_ids", "metadata.tags"))
"""Lists that say the same in any order; an empty one says the same as none."""


class Decision(NamedTuple):
    """What to do with one field.

    `take`: write `value` into the row, both agree on it. `agree`: both say the same already. `push`: the provider is to
    be told `value` (after a merge the row too). `keep`: the row stays, nothing is pushed. `conflict`: a person decides.
    """

    kind: Literal["take", "agree", "push", "keep", "conflict"]
    value: Any = None


def policy_of(field: str) -> Policy:
    """Return the policy of a field."""
    return POLICIES.get(field, "manual")


def decide(field: str, local: Any, remote: Any, agreed: Any) -> Decision:
    """Decide one field. Values are JSON values, None where there is none."""
    if _same(field, local, remote):
        return Decision("agree", remote)
    if local is None or (agreed is not None and _same(field, local, agreed)):
        return Decision("take", remote)
    policy = policy_of(field)
    if agreed is not None and _same(field, remote, agreed):
        return Decision("keep" if policy == "manual" else "push", local)
    if policy == "local":
        return Decision("push", local)
    if policy == "merge":
        return Decision("push", _union(local, remote))
    return Decision("conflict")


def _same(field: str, one: Any, other: Any) -> bool:
    if one == other:
        return True
    if field not in UNORDERED:
        return False
    one, other = one or [], other or []
    both_lists = isinstance(one, list) and isinstance(other, list)
    return both_lists and len(one) == len(other) and all(each in other for each in one)


def _union(local: Any, remote: Any) -> list[Any]:
    """Unite two lists, the row's first; a single value counts as a list of one."""
    ours = local if isinstance(local, list) else [local]
    theirs = remote if isinstance(remote, list) else [remote]
    return [*ours, *(one for one in theirs if one not in ours)]
