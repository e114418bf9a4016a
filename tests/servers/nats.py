"""NATS servers that a test owns, alone or as a cluster: MQTT in, JetStream behind it."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

import pytest

from tests.servers.postgres import free_port

START_WITHIN_S = 20.0


def nats_server() -> str:
    """Return the path of nats-server; where it is missing the test is skipped, in CI it fails."""
    found = shutil.which("nats-server") or shutil.which("nats-server", path="/usr/sbin:/usr/local/bin")
    if found is None:
        if os.environ.get("CI"):
            raise FileNotFoundError("nats-server is not installed")
        pytest.skip("nats-server is not installed (apt install nats-server)")
    return found


class NatsServer:
    """One server in a folder of its own. `extra` is further configuration, `mqtt` of its mqtt block."""

    def __init__(self, name: str = "n0", *, extra: str = "", mqtt: str = "") -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="rollcall-nats-"))
        self.host = "127.0.0.1"
        self.name = name
        self.port, self.mqtt_port, self.monitor_port = free_port(), free_port(), free_port()
        self.extra, self.mqtt = extra, mqtt
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """host:port for NATS clients."""
        return f"{self.host}:{self.port}"

    @property
    def pid(self) -> int:
        """The running server's process."""
        assert self._process is not None
        return self._process.pid

    def launch(self) -> None:
        """Start it and return at once."""
        config = self.folder / "nats.conf"
        config.write_text(self._config())
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen([nats_server(), "-c", str(config)], stdout=log, stderr=log)

    def start(self) -> None:
        """Start and wait until it can serve, JetStream and MQTT included."""
        self.launch()
        self.await_ready()

    def await_ready(self) -> None:
        """Wait until it can serve. What it keeps for others may lag behind: MQTT's own consumers can for long."""
        end = time.monotonic() + START_WITHIN_S
        healthy = f"http://{self.host}:{self.monitor_port}/healthz?js-server-only=true"
        while time.monotonic() < end and self._process is not None and self._process.poll() is None:
            try:
                with urllib.request.urlopen(healthy, timeout=1):
                    return
            except OSError:
                time.sleep(0.05)
        raise RuntimeError(f"nats-server did not start:\n{(self.folder / 'log').read_text()[-2000:]}")

    def kill9(self) -> None:
        """Kill it where it stands."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Stop it in an orderly way."""
        self._end(signal.SIGTERM)

    def destroy(self) -> None:
        """Kill it and remove its folder."""
        self.kill9()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _config(self) -> str:
        return "\n".join(
            [
                f"server_name: {self.name}",
                f'listen: "{self.address}"',
                f'http: "{self.host}:{self.monitor_port}"',
                f'jetstream {{ store_dir: "{self.folder}/store" }}',
                f'mqtt {{\n  listen: "{self.host}:{self.mqtt_port}"\n  {self.mqtt}\n}}',
                self.extra,
            ]
        )

    def _end(self, with_signal: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(with_signal)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


class NatsCluster:
    """Three servers that keep everything three times."""

    def __init__(self) -> None:
        self.nodes = [NatsServer(f"n{i}", mqtt="stream_replicas: 3") for i in range(3)]
        routes = [free_port() for _ in self.nodes]
        for own, node in zip(routes, self.nodes, strict=True):
            others = ", ".join(f'"nats://127.0.0.1:{one}"' for one in routes if one != own)
            node.extra = f'cluster {{ name: c, listen: "127.0.0.1:{own}", routes: [{others}] }}'

    @property
    def addresses(self) -> list[str]:
        """host:port of each, for NATS clients."""
        return [node.address for node in self.nodes]

    def start(self) -> None:
        """Start all of them and wait until each can serve."""
        for node in self.nodes:
            node.launch()
        for node in self.nodes:
            node.await_ready()

    def destroy(self) -> None:
        """Kill all and remove what they keep."""
        for node in self.nodes:
            node.destroy()
