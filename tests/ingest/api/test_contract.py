"""The OpenAPI document against the running service: no answer breaks it, and nothing makes a 5xx."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.ingest.api.test_access import ROUTES
from tests.ingest.api.world import World

CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,"
    "response_schema_conformance,negative_data_rejection,ignored_auth,unsupported_method"
)
SECONDS = 45


@pytest.mark.timeout(SECONDS * 3)
async def test_no_request_that_can_be_thought_of_breaks_the_document(world: World, tmp_path: Path) -> None:
    acme = await world.organization("acme")
    world.cloud.add("acme-1")
    everything = ["--header", f"Authorization: Bearer {acme.tokens['all']}", "--checks", CHECKS]
    bounds = [
        "--max-examples",
        "40",
        "--phases",
        "examples,fuzzing",
        "--seed",
        "1",
        "--max-time",
        str(SECONDS),
    ]
    command = [
        str(Path(sys.executable).with_name("st")),
        "run",
        f"{world.url}/openapi.json",
        *everything,
        *bounds,
    ]
    process = await asyncio.create_subprocess_exec(
        *command,
        "--workers", "2", "--no-color", "--generation-database", "none", "--request-timeout", "10",
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()[-6000:]
    assert acme.tokens["all"] not in output.decode()


async def test_the_document_says_what_a_generated_client_needs(world: World) -> None:
    document: dict[str, Any] = (await world.get("/openapi.json", None)).json()
    operations = [one for item in document["paths"].values() for one in item.values()]
    assert len({one["operationId"] for one in operations}) == len(ROUTES)
    for one in operations:
        assert one["security"] == [{"HTTPBearer": []}]
        assert "application/problem+json" in one["responses"]["401"]["content"]
        assert any(status.startswith("2") for status in one["responses"])
