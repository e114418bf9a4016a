"""Order of firmware versions. Source: Semantic Versioning 2.0.0, 11."""

import re

_SEMVER = re.compile(r"v?(\d{1,9})\.(\d{1,9})(?:\.(\d{1,9}))?(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?")

Identifier = tuple[int, int, str]
Order = tuple[int, int, int, bool, tuple[Identifier, ...]]


def order(version: str) -> Order | None:
    """Return a key that sorts semantic versions (`v1.2`, `1.2.3-rc.1`), None for what is none."""
    found = _SEMVER.fullmatch(version.strip())
    if found is None:
        return None
    major, minor, patch, pre = found.groups()
    identifiers = tuple(_identifier(one) for one in pre.split(".")) if pre else ()
    return int(major), int(minor), int(patch or 0), pre is None, identifiers


def later(candidate: str, current: str) -> bool | None:
    """Return whether `candidate` is later than `current`; None where the versions do not tell."""
    left, right = order(candidate), order(current)
    return None if left is None or right is None else left > right


def _identifier(text: str) -> Identifier:
    """Numbers compare as numbers and come before words."""
    return (0, int(text), "") if text.isdecimal() and len(text) < 19 else (1, 0, text)
