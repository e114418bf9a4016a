"""A broker without shared subscriptions: one slot works, the other replicas stand by."""

import os
from collections.abc import Iterator

import aiomqtt
import pytest

from tests.crash.setting import add_integration
from tests.scale.replicas import Replicas
from tests.servers.rabbitmq import INSTALLED, RabbitMqServer
from tests.servers.started import started
from tests.waiting import until


@pytest.fixture
def rabbitmq() -> Iterator[RabbitMqServer]:
    if not INSTALLED.exists() and not os.environ.get("CI"):
        pytest.skip("rabbitmq-server is not installed: apt install rabbitmq-server")
    with started(RabbitMqServer()) as server:
        yield server


@pytest.mark.timeout(180)
async def test_without_shared_subscriptions_one_works_and_another_takes_over(
    rabbitmq: RabbitMqServer, replicas: Replicas
) -> None:
    await add_integration(replicas.database, rabbitmq.port, slots=4, protocol="auto")
    active = replicas.start()
    await replicas.hold(1, within_s=40)
    replicas.start()
    (session,) = await replicas.rows("select detail from rollcall.mqtt_sessions")
    assert "one slot of 4: nothing came through a shared subscription within 5 s" in session["detail"]
    living = "select count(*) from rollcall.leases where name like 'replica/%'"
    await sees(replicas, living, 2)
    await publish(rabbitmq, 0, 50)
    await sees(replicas, "select count(*) from devices", 50)
    active.kill9()
    await publish(rabbitmq, 50, 100)
    await sees(replicas, "select count(*) from devices", 100)
    await replicas.hold(1)
    assert "nothing came through a shared subscription" in replicas.processes[1].log.read_text()
    await replicas.assert_nothing_twice()


async def publish(broker: RabbitMqServer, first: int, end: int) -> None:
    async with aiomqtt.Client("127.0.0.1", broker.port, protocol=aiomqtt.ProtocolVersion.V311) as device:
        for n in range(first, end):
            await device.publish(f"devices/d{n}/telemetry", b'{"battery": 1}', qos=1)


async def sees(replicas: Replicas, query: str, value: int) -> None:
    async def equal() -> bool:
        return bool((await replicas.rows(query))[0][0] == value)

    await until(equal, 30, query)
