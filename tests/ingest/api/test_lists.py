"""Lists: filters, order, pages."""

import itertools
from typing import Any

import pytest

from tests.ingest.api.world import Organization, World


@pytest.fixture
async def fleet(world: World, acme: Organization) -> Organization:
    await world.pool.execute(
        """insert into devices (organization_id, name, device_type, serial_number, status, firmware_version, cohort_id,
            last_seen, hardware_ids)
        select $1, 'dev ' || (n % 7), 'x', 'S' || n,
            (array['online', 'offline', 'warning']::device_status[])[n % 3 + 1], '1.' || n % 2, 'c' || n % 4,
            case when n % 5 > 0 then timestamptz '2026-01-01Z' + make_interval(mins => n % 6) end,
            array['hw_' || n]
        from generate_series(1, 60) n""",
        acme.id,
    )
    return acme


async def collected(
    world: World, made: Organization, query: str, key: str = "devices"
) -> list[dict[str, Any]]:
    path, _, rest = query.partition("?")
    found: list[dict[str, Any]] = []
    cursor = ""
    for _ in itertools.repeat(None, 200):
        page = await world.get(f"{path}?{rest}{cursor}", made.tokens["read"])
        assert page.status_code == 200, page.text
        found += page.json()[key]
        if page.json()["nextCursor"] is None:
            return found
        cursor = f"&cursor={page.json()['nextCursor']}"
    raise AssertionError("the list does not end")


@pytest.mark.parametrize("sort", ["name", "-name", "lastSeen", "-lastSeen", "createdAt", "-createdAt"])
async def test_pages_hold_each_device_once_and_in_order(sort: str, world: World, fleet: Organization) -> None:
    found = await collected(world, fleet, f"/api/devices?sort={sort}&limit=7")
    assert len(found) == 61
    assert len({one["id"] for one in found}) == 61
    values = [one[sort.removeprefix("-")] or "" for one in found]
    assert values == sorted(values, reverse=sort.startswith("-"))


@pytest.mark.parametrize(
    "query, count",
    [
        ("status=warning", 20), ("firmware=1.1", 30), ("cohort=c3", 15), ("status=online&cohort=c0", 5),
        ("text=dev%203", 9), ("text=HW_60", 1), ("text=s1%25", 0), ("text=%5F60", 1),
        ("integration=00000000-0000-0000-0000-000000000009", 0),
    ],
)  # fmt: skip
async def test_filters(query: str, count: int, world: World, fleet: Organization) -> None:
    assert len(await collected(world, fleet, f"/api/devices?{query}&limit=200")) == count


@pytest.mark.parametrize(
    "query",
    [
        "limit=0", "limit=201", "limit=x", "sort=secret", "cursor=x", "cursor=W10=", "status=nowhere", "text=a%00b",
        "integration=7", "cursor=" + "A" * 1001,
    ],
)  # fmt: skip
async def test_a_wrong_question_says_which_field_is_wrong(
    query: str, world: World, acme: Organization
) -> None:
    answer = await world.get(f"/api/devices?{query}", acme.tokens["read"])
    assert answer.status_code == 422
    problem = answer.json()
    assert problem["errors"] or "cursor" in problem["detail"]


async def test_a_cursor_of_another_order_is_refused(world: World, fleet: Organization) -> None:
    cursor = (await world.get("/api/devices?limit=5", fleet.tokens["read"])).json()["nextCursor"]
    wrong = await world.get(f"/api/devices?limit=5&sort=-name&cursor={cursor}", fleet.tokens["read"])
    assert wrong.status_code == 422


async def test_the_timeline_pages_through_transitions_of_one_moment(world: World, acme: Organization) -> None:
    await world.pool.execute(
        """insert into rollcall.device_events (subject, kind, component, at, source)
        select $1, 'firmware', 'c' || n, timestamptz '2026-01-01Z' + make_interval(secs => n / 5), 'apply'
        from generate_series(1, 33) n""",
        acme.device,
    )
    found = await collected(world, acme, f"/api/devices/{acme.device}/timeline?limit=4", "events")
    assert len({one["component"] for one in found}) == len(found) == 33
    moments = [one["at"] for one in found]
    assert moments == sorted(moments, reverse=True)


async def test_a_field_that_could_not_be_used_does_not_stay_unseen_nor_is_another_organizations_shown(
    world: World, acme: Organization, other: Organization
) -> None:
    await world.pool.execute(
        """insert into rollcall.field_errors (device_id, field, value, reason, at)
        values ($1, 'battery', '300', 'is above 100', 1767225600000000), ($1, 'rssi', '"x"', 'is text', 1),
            ($2, 'battery', '301', 'is above 100', 1)""",
        acme.device,
        other.device,
    )
    path = f"/api/devices/{acme.device}/field-errors"
    found = (await world.get(path, acme.tokens["read"])).json()["errors"]
    assert found[0] == {
        "field": "battery", "value": "300", "reason": "is above 100", "at": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    assert [one["field"] for one in found] == ["battery", "rssi"]
    assert (await world.get(path, other.tokens["read"])).status_code == 404


async def test_conflicts_are_counted_and_paged(world: World, acme: Organization) -> None:
    await world.pool.execute(
        """insert into sync_conflicts (device_id, field_name, local_value, remote_value, conflict_detected_at)
        select $1, 'metadata.k' || n, '1', '2', '2026-01-01Z' from generate_series(1, 9) n""",
        acme.device,
    )
    found = await collected(world, acme, f"/api/sync/conflicts?deviceId={acme.device}&limit=3", "conflicts")
    assert len({one["id"] for one in found}) == 10
    page = await world.get("/api/sync/conflicts?limit=1", acme.tokens["read"])
    assert page.json()["total"] == 10
