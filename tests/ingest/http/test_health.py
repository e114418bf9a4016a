"""/healthz, /readyz and /metrics, beside MQTT and alone."""

import re
import statistics
import time
from pathlib import Path
from uuid import uuid4

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ingest.errors import Misconfigured
from ingest.store.people import tokens
from ingest.webhooks.route import Webhooks
from tests.http_client import http_client
from tests.ingest.service import Service, running
from tests.servers.mosquitto import MosquittoServer
from tests.waiting import until

OPEN = {"webhook": {"auth": "none"}}
PAGE = Path(__file__).parents[3] / "docs/operations.md"


async def scraped(service: Service) -> dict[str, float]:
    """Every sample without its labels, those of one name added."""
    async with http_client(base_url=service.url) as client:
        answer = await client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(answer.text):
        assert family.documentation, family.name
        for sample in family.samples:
            found[sample.name] = found.get(sample.name, 0) + sample.value
    return found


async def test_both_sides_run_in_one_process_and_are_counted(
    database: str, mosquitto: MosquittoServer
) -> None:
    async with running(database, mosquitto) as service:
        integration = await service.add_integration("plant")
        await service.connected(integration)
        hook = await service.add_webhooks(**OPEN)
        await service.publish("devices/d1/telemetry", b'{"battery": 1}')
        await service.sees("select count(*) from devices", 1)
        async with http_client(base_url=service.url) as client:
            body = [{"device_id": "d2", "battery": 2}, {"device_id": "d3", "battery": 300}, {}]
            await client.post(f"/webhooks/{hook}", json=body)
            await client.post(f"/webhooks/{hook}", content=b"nothing", headers={"content-type": "image/png"})
        found = await scraped(service)
        assert found["rollcall_committed_total"] >= 4
        assert found["rollcall_acknowledged_total"] == found["rollcall_committed_total"]
        assert found["rollcall_dead_letters_total"] == 1
        assert found["rollcall_field_errors_total"] == 1
        assert found["rollcall_commit_seconds_count"] == found["rollcall_batch_messages_count"] > 0
        assert found["rollcall_batch_messages_sum"] == found["rollcall_committed_total"]
        assert found["rollcall_session_state"] == 1
        assert 0 <= found["rollcall_session_lag_seconds"] < 60
        assert found["rollcall_webhook_requests_total"] >= 3
        assert found["rollcall_webhook_seconds_count"] == found["rollcall_webhook_requests_total"]


async def test_every_metric_is_on_the_page_for_operators_and_no_other(database: str) -> None:
    async with running(database, None) as service, http_client(base_url=service.url) as client:
        text = (await client.get("/metrics")).text
    names = set(re.findall(r"^# TYPE (rollcall_\w+)", text, re.MULTILINE))
    assert names == set(re.findall(r"^\| `(rollcall_\w+)`", PAGE.read_text(), re.MULTILINE))


async def test_a_broker_that_is_away_is_named_and_a_session_at_work_makes_it_ready(
    database: str, mosquitto: MosquittoServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.http.health.FRESH_S", 0.0)
    async with running(database, mosquitto) as service, http_client(base_url=service.url) as client:
        assert (await client.get("/readyz")).json() == {
            "ready": True,
            "database": {"writable": True, "outage": None},
            "oldestUnacknowledged": None,
        }
        await service.add_integration("away", port=1, password="hunter2")

        async def red() -> bool:
            answer = await service.ready()
            assert "hunter2" not in answer.text
            states = [session["state"] for session in answer.json()["sessions"]]
            return answer.status_code == 503 and states == ["away"]

        await until(red, 10, "it is not ready")
        await service.add_integration("plant")

        async def green() -> bool:
            answer = await service.ready()
            lags = [session["lagSeconds"] for session in answer.json()["sessions"]]
            return answer.status_code == 200 and len(lags) == 2 and lags[1] is not None

        await until(green, 10, "it is ready")


async def test_an_integration_whose_row_cannot_be_used_is_named_like_a_session_that_is_refused(
    database: str, mosquitto: MosquittoServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.http.health.FRESH_S", 0.0)
    async with running(database, mosquitto) as service, http_client(base_url=service.url) as client:
        nats = {"servers": ["rollcall:hunter2@host:4222"]}
        bad = await service.add_integration("bad", port="x", password=["hunter2"], nats=nats)

        async def is_shown(status: int) -> bool:
            answer = await service.ready()
            assert "hunter2" not in answer.text
            found = [one for one in answer.json()["sessions"] if one["integrationId"] == str(bad)]
            states = [(one["state"], one["clientId"]) for one in found]
            told = all("integration 'bad': port is 'x'" in one["detail"] for one in found)
            return answer.status_code == status and states == [("misconfigured", None)] and told

        await until(lambda: is_shown(503), 10, "it is shown, and nothing is at work")
        label = f'{{client_id="",integration="bad",integration_id="{bad}",state="misconfigured"}} 1.0'
        assert f"rollcall_session_state{label}" in (await client.get("/metrics")).text
        await service.connected(await service.add_integration("plant"))
        await until(lambda: is_shown(200), 10, "it is shown, and another is at work")
        await service.pool.execute("update device_integrations set status = 'inactive' where id = $1", bad)
        await until(lambda: _tells(service, ["connected"]), 10, "nothing is wrong any more")


async def _tells(service: Service, states: list[str]) -> bool:
    answer = await service.ready()
    return [one["state"] for one in answer.json()["sessions"]] == states


async def test_readyz_names_nothing_to_who_shows_no_token_and_no_integration_of_others_to_who_does(
    database: str, mosquitto: MosquittoServer
) -> None:
    async with running(database, mosquitto) as service, http_client(base_url=service.url) as client:
        mine, other = await service.add_integration("mine"), await service.add_integration("other")
        await service.connected(mine)
        await service.connected(other)
        shown = (await service.ready()).json()
        assert [one["integration"] for one in shown["sessions"]] == ["mine", "other"]
        organization = await service.pool.fetchval("select id from organizations where slug = 'mine'")
        _, reads = await tokens.create(service.pool, organization, "r", ["read"], None)
        _, operates = await tokens.create(service.pool, organization, "o", ["operate"], None)
        found = (await client.get("/readyz", headers={"authorization": f"Bearer {reads}"})).json()
        assert [one["integrationId"] for one in found["sessions"]] == [str(mine)]
        assert [one["integration"] for one in found["slots"]] == ["mine"]
        for given in ({}, {"authorization": f"Bearer {operates}"}, {"authorization": "Bearer rc_guessed"}):
            answer = await client.get("/readyz", headers=given)
            assert answer.status_code == 200
            assert answer.json() == {
                "ready": True,
                "database": {"writable": True, "outage": None},
                "oldestUnacknowledged": None,
            }


async def test_an_outage_is_shown_without_its_words_to_who_shows_no_token(
    database: str, mosquitto: MosquittoServer, caplog: pytest.LogCaptureFixture
) -> None:
    refuse = """create function refuse() returns trigger language plpgsql as
        $$ begin raise 'the secret of plant 7' using errcode = '57000'; end $$;
        create trigger refuse before insert or update on devices for each row execute function refuse()"""
    async with running(database, mosquitto) as service, http_client(base_url=service.url) as client:
        await service.connected(await service.add_integration("plant"))
        await service.pool.execute(refuse)
        await service.publish("devices/d1/telemetry", '{"battery": 7}')
        await until(lambda: "the secret of plant 7" in caplog.text, 15, "the outage is in the log")

        async def shown() -> bool:
            return "the secret of plant 7" in (await service.ready()).text

        await until(shown, 10, "the outage is shown to the token")
        answer = await client.get("/readyz")
        assert answer.status_code == 503
        assert not answer.json()["database"]["writable"]
        assert "plant" not in answer.text
        await service.pool.execute("drop trigger refuse on devices")


async def test_an_answer_does_not_wait_for_a_delayed_ack(database: str) -> None:
    """Where it does, half of them take about 40 ms."""
    taken: list[float] = []
    async with running(database, None) as service, http_client(base_url=service.url) as client:
        for _ in range(40):
            began = time.perf_counter()
            await client.get("/healthz")
            taken.append(time.perf_counter() - began)
    assert statistics.median(taken) < 0.03


async def test_what_nobody_expected_is_answered_without_its_text_and_no_answer_names_the_server(
    database: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("hunter2")

    monkeypatch.setattr(Webhooks, "_answer", broken)
    async with running(database, None) as service, http_client(base_url=service.url) as client:
        answers = [await client.post(f"/webhooks/{uuid4()}"), await client.get("/healthz")]
        assert [one.status_code for one in answers] == [500, 200]
        assert answers[0].headers["content-type"] == "application/problem+json"
        assert "hunter2" not in answers[0].text
        assert all("server" not in one.headers for one in answers)
    assert "hunter2" in caplog.text


async def test_mqtt_runs_alone(database: str, mosquitto: MosquittoServer) -> None:
    async with running(database, mosquitto, http="off") as service:
        await service.connected(await service.add_integration())


async def test_a_port_that_is_taken_is_named(database: str) -> None:
    async with running(database, None) as service:
        port = int(service.url.rsplit(":", 1)[1])
        with pytest.raises(Misconfigured, match=f"ROLLCALL_HTTP_PORT {port}"):
            async with running(database, None, http_port=port):
                pass


async def test_with_both_sides_off_there_is_nothing_to_do(database: str) -> None:
    with pytest.raises(Misconfigured, match="ROLLCALL_MQTT and ROLLCALL_HTTP are both off"):
        async with running(database, None, http="off"):
            pass
