"""Cases of clouds, posted to a real service: the answer, the row and the dead letters are as written."""

from datetime import UTC, datetime
from typing import Any

from tests.cases.cases import differences, filled, load, payload
from tests.http_client import http_client
from tests.ingest.service import Service, running

CASES = load("cloud.jsonl")
DEAD = "select kind from rollcall.dead_letters where integration_id = $1"


async def test_what_clouds_send_becomes_what_a_person_expects(database: str) -> None:
    wrong: list[str] = []
    async with running(database, None) as service:
        for case in CASES:
            wrong += [f"{case['id']}: {told}" for told in await tried(service, case)]
    assert not wrong, "\n".join(wrong)


async def tried(service: Service, case: dict[str, Any]) -> list[str]:
    """Post one case to an integration of its own, and compare."""
    device, want, now = f"case-{case['id']}", case["want"], datetime.now(UTC)
    integration = await service.add_webhooks(case["id"].lower(), webhook={"auth": "none"})
    headers = {name: filled(value, device, now) for name, value in case["headers"].items()}
    async with http_client() as client:
        body = payload(case, device, now)
        answer = await client.post(f"{service.url}/webhooks/{integration}", content=body, headers=headers)
    told = await differences(service.pool, want, device)
    if answer.status_code != want.get("status_code", 200):
        return [*told, f"status {answer.status_code}: {answer.text}"]
    (result,) = answer.json()["results"]
    if result["result"] != want["result"]:
        told.append(f"result {result}")
    errors = [error["field"] for error in result.get("fieldErrors", [])]
    if errors != want.get("errors", []):
        told.append(f"errors {errors}")
    kinds = [letter["kind"] for letter in await service.pool.fetch(DEAD, integration)]
    if kinds != ([want["dead"]] if "dead" in want else []):
        told.append(f"dead letters {kinds}")
    return told
