"""The page /docs: nothing of it is from elsewhere, and nothing in it runs."""

import re

from tests.ingest.api.test_access import ROUTES
from tests.ingest.api.world import World


async def test_the_page_loads_nothing_and_runs_nothing(world: World) -> None:
    answer = await world.get("/docs", None)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    assert answer.headers.get_list("x-content-type-options") == ["nosniff"]
    assert not re.search(r"<script|https?://|src=|//[a-z]", answer.text.lower())


async def test_the_page_shows_every_operation(world: World) -> None:
    page = (await world.get("/docs", None)).text
    document = (await world.get("/openapi.json", None)).json()
    for path, operations in document["paths"].items():
        assert f"<code>{path}</code>" in page
        assert all(f"<b>{method.upper()}</b>" in page for method in operations)
    assert len(document["paths"]) > 10
    assert ROUTES
