"""A device's connection: the word of its provider counts, unless later evidence says otherwise."""

import pytest

from ingest.api.status import _connected
from ingest.providers.port import ListedDevice


@pytest.mark.parametrize(
    ("connected", "connected_at", "online_at", "offline_at", "told"),
    [
        (False, 100, 50, None, False),
        (False, 100, 200, None, None),
        (False, None, 200, None, False),
        (True, 100, 200, 50, True),
        (True, 100, 50, 200, None),
        (None, None, 200, None, None),
    ],
)
def test_the_providers_word_counts_unless_it_is_older(
    connected: bool | None,
    connected_at: int | None,
    online_at: int | None,
    offline_at: int | None,
    told: bool | None,
) -> None:
    """A device that sends over HTTPS has no connection there, and is online."""
    listed = ListedDevice("d1", connected=connected, connected_at=connected_at)
    assert _connected(online_at, offline_at, listed) is told
