"""The API comes a moment after the rest, and what may never be used is not there before it is."""

import subprocess
import sys

import httpx
import pytest

from ingest.app import lazy_api as late
from ingest.app.lazy_api import LazyApi


async def test_a_request_that_comes_before_the_api_is_told_to_try_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(late, "READY_WITHIN_S", 0.05)
    platform = LazyApi(None, None, None, "here")  # type: ignore[arg-type]  # it never gets as far as these
    async with httpx.AsyncClient(transport=httpx.ASGITransport(platform), base_url="http://x") as client:
        answer = await client.get("/openapi.json")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


def test_what_no_setting_asks_for_takes_no_memory() -> None:
    told = "import sys, ingest.cli.run, ingest.app, ingest.app.platform; print(*sys.modules)"
    asked = subprocess.run(
        [sys.executable, "-c", told], check=True, capture_output=True, text=True, timeout=60
    )
    unused = {"httpx", "cryptography", "jwt", "rich", "paho", "nats", "aiobotocore"}
    assert not unused & set(asked.stdout.split())
