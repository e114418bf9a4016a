"""The four providers, each with something to ask that holds the same five devices, d1 to d5."""

import asyncio
import base64
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Protocol

from ingest.providers.factory import create_provider
from ingest.providers.mqtt import MqttSide
from ingest.providers.port import Installed, ListedDevice, Provider
from ingest.providers.retry import Limits
from ingest.providers.settings import ProviderSettings
from tests.servers import aws_iot, azure_iot, golioth
from tests.servers.http import Fault, HttpServer

IDS = [f"d{number}" for number in range(1, 6)]
HASTY = Limits(
    connect_s=2.0,
    read_s=0.4,
    request_s=1.0,
    retries=2,
    backoff_s=0.01,
    backoff_cap_s=0.02,
    retry_after_cap_s=0.05,
)
SECRET = "s3cr3tKey0123456789"


class World(Protocol):
    """A provider and what it talks to."""

    provider: Provider
    settings: ProviderSettings
    secrets: Sequence[str]
    http: HttpServer | None

    def fault(self, status: int, headers: Mapping[str, str] | None = None) -> Fault: ...
    def remove(self, device_id: str) -> None: ...
    def insert_first(self, device_id: str) -> None: ...
    def spoil(self, device_id: str) -> None: ...
    def before_page(self, hook: Callable[[int], None]) -> None: ...
    def deployments(self) -> int: ...
    def overlap(self) -> None: ...


class GoliothWorld:
    def __init__(self) -> None:
        self.cloud = golioth.Golioth(SECRET)
        self.cloud.per_page = 2
        for device_id in IDS:
            self.cloud.add(device_id)
        self.cloud.artifacts = {
            f"a{number}": {"id": f"a{number}", "package": "main", "version": f"1.{number}.0", "size": "1024"}
            for number in range(1, 4)
        }
        self.cloud.cohorts = {"cohort1": {"cohortId": "cohort1", "name": "all", "deviceCount": 5}}
        self.secrets = [SECRET]

    @property
    def http(self) -> HttpServer:
        return self.cloud.http

    def open(self) -> None:
        self.settings = ProviderSettings("golioth", "fleet", self.http.url, SECRET)
        self.provider = create_provider(self.settings, limits=HASTY)

    def fault(self, status: int, headers: Mapping[str, str] | None = None) -> Fault:
        return Fault("status", status, {"code": 1, "message": f"no, {SECRET}"}, headers or {})

    def remove(self, device_id: str) -> None:
        self.cloud.devices.pop(device_id)

    def insert_first(self, device_id: str) -> None:
        self.cloud.devices = {device_id: golioth.device_of(device_id), **self.cloud.devices}

    def spoil(self, device_id: str) -> None:
        self.cloud.devices[device_id]["hardwareIds"] = ["a\0b"]

    def deployments(self) -> int:
        return len(self.cloud.deployments)

    def overlap(self) -> None:
        self.before_page(lambda number: self.insert_first(f"c{number}") if 1 < number < 4 else None)

    def before_page(self, hook: Callable[[int], None]) -> None:
        self.cloud.before_page = hook


class AwsWorld:
    def __init__(self) -> None:
        self.cloud = aws_iot.AwsIot("AKIDEXAMPLE")
        for device_id in IDS:
            self.cloud.add(device_id)
        self.secrets = [SECRET]

    @property
    def http(self) -> HttpServer:
        return self.cloud.http

    def open(self) -> None:
        key = f"AKIDEXAMPLE:{SECRET}"
        self.settings = ProviderSettings("aws_iot", None, self.http.url, key, {"region": "eu-central-1"})
        self.provider = create_provider(self.settings, limits=HASTY)

    def fault(self, status: int, headers: Mapping[str, str] | None = None) -> Fault:
        response = aws_iot.error(status, f"no, {SECRET}")
        return Fault("status", status, response.body, {**response.headers, **(headers or {})})

    def remove(self, device_id: str) -> None:
        self.cloud.things.pop(device_id)

    def insert_first(self, device_id: str) -> None:
        self.cloud.add(device_id)

    def spoil(self, device_id: str) -> None:
        self.cloud.things[device_id]["attributes"]["hardware_ids"] = "a\0b"

    def deployments(self) -> int:
        return len(self.cloud.jobs)

    def overlap(self) -> None:
        self.cloud.overlapping = True

    def before_page(self, hook: Callable[[int], None]) -> None:
        self.cloud.before_page = hook


class AzureWorld:
    def __init__(self) -> None:
        self.cloud = azure_iot.AzureIot(SECRET.encode())
        for device_id in IDS:
            self.cloud.add(device_id)
        self.secrets = [SECRET, base64.b64encode(SECRET.encode()).decode()]

    @property
    def http(self) -> HttpServer:
        return self.cloud.http

    def open(self) -> None:
        self.settings = ProviderSettings("azure_iot", None, self.http.url, self.cloud.connection_string)
        self.provider = create_provider(self.settings, limits=HASTY)

    def fault(self, status: int, headers: Mapping[str, str] | None = None) -> Fault:
        response = azure_iot.error(status, "Some", f"no, {self.secrets[1]}")
        return Fault("status", status, response.body, headers or {})

    def remove(self, device_id: str) -> None:
        self.cloud.twins.pop(device_id)

    def insert_first(self, device_id: str) -> None:
        self.cloud.add(device_id)

    def spoil(self, device_id: str) -> None:
        self.cloud.twins[device_id]["tags"]["hardware_ids"] = ["a\0b"]

    def deployments(self) -> int:
        return len(self.cloud.deployed)

    def overlap(self) -> None:
        self.cloud.overlapping = True

    def before_page(self, hook: Callable[[int], None]) -> None:
        self.cloud.before_page = hook


class MqttWorld:
    """A table in memory and a broker that keeps what is published."""

    def __init__(self) -> None:
        self.http = None
        self.secrets: Sequence[str] = []
        self.table = {device_id: _row(device_id) for device_id in IDS}
        self.retained: dict[str, bytes] = {}
        self.health: dict[str, str] = {"$SYS/broker/version": "mosquitto version 2.0.11"}
        self.silent = False
        self._hook: Callable[[int], None] = lambda number: None
        self._pages = 0

    def open(self) -> None:
        self.settings = ProviderSettings("mqtt")
        side = MqttSide(self._read_page, self._read_device, self._publish, self._broker_health)
        self.provider = create_provider(self.settings, mqtt=side, limits=HASTY)

    def fault(self, status: int, headers: Mapping[str, str] | None = None) -> Fault:
        raise NotImplementedError

    def remove(self, device_id: str) -> None:
        self.table.pop(device_id)

    def insert_first(self, device_id: str) -> None:
        self.table[device_id] = _row(device_id)

    def spoil(self, device_id: str) -> None:
        raise NotImplementedError

    def deployments(self) -> int:
        return len(self.retained)

    def overlap(self) -> None:
        raise NotImplementedError

    def before_page(self, hook: Callable[[int], None]) -> None:
        self._hook = hook

    async def _read_page(self, after: str | None, limit: int) -> Sequence[ListedDevice]:
        await self._wait_if_silent()
        self._pages += 1
        self._hook(self._pages)
        return [self.table[one] for one in sorted(self.table) if one > (after or "")][:limit]

    async def _read_device(self, external_id: str) -> ListedDevice | None:
        await self._wait_if_silent()
        return self.table.get(external_id)

    async def _publish(self, topic: str, payload: bytes, retain: bool) -> None:
        await self._wait_if_silent()
        assert retain
        self.retained[topic] = payload

    async def _broker_health(self) -> Mapping[str, str]:
        await self._wait_if_silent()
        return self.health

    async def _wait_if_silent(self) -> None:
        if self.silent:
            await asyncio.Event().wait()


def _row(device_id: str) -> ListedDevice:
    return ListedDevice(
        device_id,
        serial_number=f"SN-{device_id}",
        hardware_ids=(f"hw-{device_id}",),
        tags=("field",),
        firmware=(Installed("main", "1.2.3", 1),),
    )


WORLDS: dict[str, Callable[[], Any]] = {
    "golioth": GoliothWorld,
    "aws_iot": AwsWorld,
    "azure_iot": AzureWorld,
    "mqtt": MqttWorld,
}


class Opened:
    """`async with Opened("golioth") as world`: the cloud runs and the provider is made."""

    def __init__(self, name: str) -> None:
        self._world = WORLDS[name]()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Any:
        if self._world.http is not None:
            await self._stack.enter_async_context(self._world.http)
        self._world.open()
        self._stack.push_async_callback(self._world.provider.aclose)
        return self._world

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> bool | None:
        return await self._stack.__aexit__(kind, error, at)
