"""Files shipped beside the code: the broker's configuration, the image, the compose file."""

import json
import os
import re
import shutil
import socket
import subprocess
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
import yaml
from paho.mqtt.enums import CallbackAPIVersion

from ingest.settings import PREFIX, Settings

ROOT = Path(__file__).parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text()
SBIN = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
BOUND_S = 10.0


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"])


def test_compose_sets_only_variables_that_the_service_reads(services: dict[str, Any]) -> None:
    fields = {PREFIX + name.upper() for name in Settings.model_fields}
    environment = services["rollcall"]["environment"]
    ours = {name for name in environment if name.startswith(PREFIX)}
    assert f"{PREFIX}DATABASE_URL" in ours
    assert ours <= fields


def test_every_variable_in_the_shell_that_compose_takes_for_us_is_a_setting() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    fields = {PREFIX + name.upper() for name in Settings.model_fields}
    assert set(re.findall(rf"\b{PREFIX}[A-Z_]+\b", text)) <= fields


def test_compose_holds_no_password(services: dict[str, Any]) -> None:
    for service in services.values():
        for name, value in service.get("environment", {}).items():
            if name.endswith(("PASSWORD", "KEYS")):
                assert value.startswith("${"), name


def test_compose_mounts_the_files_that_are_tested_here(services: dict[str, Any]) -> None:
    mounts = [mount.split(":")[0] for mount in services["mosquitto"]["volumes"] if mount.startswith("./")]
    assert sorted(mounts) == ["./mosquitto/acl", "./mosquitto/mosquitto.conf"]
    assert services["postgres"]["volumes"][0] == "./postgres/roles.sh:/docker-entrypoint-initdb.d/roles.sh:ro"
    assert services["migrate"]["command"] == ["migrate"]
    assert services["rollcall"]["command"] == ["run"]


def test_no_container_gains_privileges_and_the_service_has_no_superusers_password(
    services: dict[str, Any],
) -> None:
    for name, service in services.items():
        assert service["security_opt"] == ["no-new-privileges:true"], name
    for name in ("migrate", "rollcall"):
        assert services[name]["cap_drop"] == ["ALL"]
        assert "POSTGRES_PASSWORD" not in json.dumps(services[name])
    assert "OWNER_PASSWORD" not in json.dumps(services["rollcall"])


def test_the_image_has_what_every_kind_of_integration_needs() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    lock = (ROOT / "requirements/image.lock").read_text()
    for one in extras["aws"] + extras["nats"]:
        name = re.match(r"[\w-]+", one)
        assert name
        assert re.search(rf"^{name.group()}==", lock, re.MULTILINE), one
    for line in (ROOT / "requirements/run.lock").read_text().splitlines():
        assert line in lock


def test_the_image_installs_the_lock_and_runs_without_root() -> None:
    final = DOCKERFILE.split("\nFROM ")[-1]
    user = re.search(r"^USER (\S+)$", final, re.MULTILINE)
    assert user
    assert user.group(1) not in ("root", "0")
    assert "pip install --require-hashes -r requirements/image.lock" in DOCKERFILE
    assert re.search(r"HEALTHCHECK .*/healthz", final, re.DOTALL)


def test_the_image_asks_the_page_that_says_whether_it_lives() -> None:
    """The command is JSON, and the Python in it is valid."""
    found = re.search(r"^HEALTHCHECK [^\[]*(\[.*?\])$", DOCKERFILE, re.MULTILINE | re.DOTALL)
    assert found
    program, flag, code = json.loads(found.group(1).replace("\\\n", ""))
    assert (program, flag) == ("python", "-c")
    compile(code, "HEALTHCHECK", "exec")


def test_everything_that_the_image_copies_is_there_and_not_ignored() -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert source in kept


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Any, what: str) -> None:
    deadline = time.monotonic() + BOUND_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {BOUND_S:.0f} s: {what}"
        time.sleep(0.01)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def devices_port() -> int:
    """The port of the devices' listener."""
    return free_port()


@pytest.fixture
def broker(tmp_path: Path, devices_port: int) -> Iterator[int]:
    """Rollcall's port of a Mosquitto on the shipped files, in which only paths and ports are others."""
    mosquitto = shutil.which("mosquitto", path=SBIN)
    passwd = shutil.which("mosquitto_passwd", path=SBIN)
    if not mosquitto or not passwd:
        if os.environ.get("CI"):
            pytest.fail("mosquitto is missing")
        pytest.skip("mosquitto is missing")
    port = free_port()
    conf = (ROOT / "mosquitto" / "mosquitto.conf").read_text()
    conf = conf.replace("listener 1883\n", f"listener {port} 127.0.0.1\n")
    conf = conf.replace("listener 1884\n", f"listener {devices_port} 127.0.0.1\n")
    conf = conf.replace("/mosquitto/data/", f"{tmp_path}/").replace("/mosquitto/config/", f"{tmp_path}/")
    if os.geteuid() == 0:
        conf += "\nuser root\n"  # pytest's folder is closed to the user mosquitto
    (tmp_path / "mosquitto.conf").write_text(conf)
    shutil.copy(ROOT / "mosquitto" / "acl", tmp_path / "acl")
    (tmp_path / "passwords").touch(mode=0o600)
    for user in ("rollcall", "dev-1"):
        subprocess.run(
            [passwd, "-b", tmp_path / "passwords", user, "secret"], check=True, capture_output=True
        )
    log = (tmp_path / "log").open("wb")
    process = subprocess.Popen([mosquitto, "-c", tmp_path / "mosquitto.conf"], stdout=log, stderr=log)
    try:
        wait_until(lambda: listens(port) or process.poll() is not None, "the broker listens")
        assert process.poll() is None, (tmp_path / "log").read_text()
        yield port
    finally:
        process.terminate()
        process.wait(BOUND_S)
        log.close()


class Client:
    """A plain paho client that remembers what it got."""

    def __init__(self, port: int, username: str | None, session: str = "") -> None:
        self.reason: Any = None
        self.got: list[tuple[str, bytes]] = []
        self.granted = False
        version = CallbackAPIVersion.VERSION2
        if session:  # kept by the broker, without an expiry as MQTT 3.1.1 has none
            self.paho = paho.Client(version, session, clean_session=False, protocol=paho.MQTTv311)
        else:
            self.paho = paho.Client(version, protocol=paho.MQTTv5)
        if username:
            self.paho.username_pw_set(username, "secret")
        self.paho.on_connect = self._connected
        self.paho.on_subscribe = self._subscribed
        self.paho.on_message = lambda _client, _data, message: self.got.append(
            (message.topic, message.payload)
        )
        self.paho.connect("127.0.0.1", port)
        self.paho.loop_start()
        wait_until(lambda: self.reason is not None, "a CONNACK")

    def _connected(self, _client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        self.reason = reason
        if reason.is_failure:
            self.paho.disconnect()

    def _subscribed(self, *_: Any) -> None:
        self.granted = True

    def subscribe(self, topic_filter: str) -> None:
        self.granted = False
        self.paho.subscribe(topic_filter, qos=1)
        wait_until(lambda: self.granted, "a SUBACK")

    def publish(self, topic: str, payload: bytes) -> None:
        self.paho.publish(topic, payload, qos=1).wait_for_publish(BOUND_S)

    def close(self) -> None:
        self.paho.disconnect()
        self.paho.loop_stop()


@pytest.fixture
def connect(broker: int, devices_port: int) -> Iterator[Any]:
    clients: list[Client] = []

    def make(username: str | None, session: str = "") -> Client:
        clients.append(Client(broker if username == "rollcall" else devices_port, username, session))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


def test_nobody_connects_without_a_password(connect: Any) -> None:
    assert connect(None).reason.is_failure
    assert not connect("dev-1").reason.is_failure


def test_a_device_speaks_for_itself_and_for_no_other(connect: Any) -> None:
    rollcall, device = connect("rollcall"), connect("dev-1")
    rollcall.subscribe("devices/#")
    device.publish("devices/dev-2/telemetry", b"{}")
    device.publish("devices/dev-1/telemetry", b'{"battery":80}')
    wait_until(lambda: rollcall.got, "the device's telemetry")
    assert rollcall.got == [("devices/dev-1/telemetry", b'{"battery":80}')]


def test_rollcall_hears_its_own_marker_and_a_device_does_not(connect: Any) -> None:
    rollcall, device = connect("rollcall"), connect("dev-1")
    device.subscribe("rollcall/#")
    device.subscribe("devices/#")
    rollcall.subscribe("rollcall/#")
    rollcall.publish("rollcall/markers/x", b"1")
    wait_until(lambda: rollcall.got, "the marker")
    assert device.got == []


def test_more_than_the_default_of_a_thousand_waits_for_an_absent_session(connect: Any) -> None:
    absent = connect("rollcall", "kept")
    absent.subscribe("devices/#")
    absent.close()

    device = connect("dev-1")
    sent = [device.paho.publish("devices/dev-1/telemetry", b"%d" % n, qos=1) for n in range(3_000)]
    for publish in sent:
        publish.wait_for_publish(BOUND_S)

    back = connect("rollcall", "kept")
    wait_until(lambda: len(back.got) == 3_000, "what waited")
    assert [payload for _, payload in back.got] == [b"%d" % n for n in range(3_000)]


def test_a_device_that_asks_for_rollcalls_client_id_takes_nothing_of_its_session(connect: Any) -> None:
    absent = connect("rollcall", "rollcall-secret-0")
    absent.subscribe("devices/#")
    absent.close()
    device = connect("dev-1")
    for n in range(20):
        device.publish("devices/dev-1/telemetry", b"%d" % n)
    thief = connect("dev-1", "rollcall-secret-0")
    thief.publish("devices/dev-1/telemetry", b"20")
    assert thief.got == []
    back = connect("rollcall", "rollcall-secret-0")
    wait_until(lambda: len(back.got) == 21, "what waited")


def test_compose_publishes_the_devices_listener_alone(services: dict[str, Any]) -> None:
    conf = (ROOT / "mosquitto" / "mosquitto.conf").read_text()
    listener = conf.split("use_username_as_clientid true")[0].rsplit("listener ", 1)[1].split()[0]
    (published,) = services["mosquitto"]["ports"]
    assert published.endswith(f":{listener}")
