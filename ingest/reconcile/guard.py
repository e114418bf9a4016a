"""When a listing cannot be believed: nothing is ever deleted or marked offline for not being listed, and more."""

from typing import NamedTuple

MIN_LOST = 5
MAX_LOST = 0.2
"""Of what was listed before, more than this share missing at once stops the run."""


class Coverage(NamedTuple):
    """A whole listing beside what is known: `known` devices were listed before, `lost` of them are not now.

    `missing` is all that is known and not listed, also since earlier runs.
    """

    listed: int
    known: int
    lost: int
    missing: int


def doubt(coverage: Coverage) -> str | None:
    """Return why nothing of this listing should be applied before a person has looked, or None."""
    if coverage.lost <= MIN_LOST or coverage.lost <= MAX_LOST * coverage.known:
        return None
    share = round(100 * coverage.lost / coverage.known)
    return (
        f"the listing has {coverage.listed} devices and misses {coverage.lost} of {coverage.known} known ones"
        f" ({share} %): nothing was applied. Look at the provider; if they are gone for good, run"
        " `rollcall sync INTEGRATION --accept-missing`"
    )
