"""A RabbitMQ (MQTT 3.1.1, through its plugin) that a test owns, with the name server (epmd) that Erlang wants."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from tests.servers.postgres import free_port

START_WITHIN_S = 60.0
INSTALLED = Path("/usr/lib/rabbitmq/lib")


class RabbitMqServer:
    """One node in a folder of its own; anonymous MQTT clients are let in."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="rollcall-rabbit-"))
        self.port, self._amqp_port, self._epmd_port, self._distribution_port = (free_port() for _ in range(4))
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start, and wait until MQTT connections are accepted."""
        (self.folder / "enabled_plugins").write_text("[rabbitmq_mqtt].\n")
        self._run("epmd", "-port", str(self._epmd_port), "-address", "127.0.0.1")
        end = time.monotonic() + START_WITHIN_S
        self._await(self._epmd_port, end)
        self._run(str(self._program()))
        self._await(self.port, end)

    def destroy(self) -> None:
        """Kill what was started, and remove its folder."""
        for process in reversed(self._processes):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # its script starts the node as a child
            process.wait(10)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _program(self) -> Path:
        """Return the server's own script: the one in PATH insists on the system's folders."""
        found = sorted(INSTALLED.glob("rabbitmq_server-*/sbin/rabbitmq-server"))
        if not found:
            raise FileNotFoundError("rabbitmq-server is not installed")
        return found[-1]

    def _run(self, *command: str) -> None:
        config = self.folder / "rabbitmq.conf"
        config.write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self._amqp_port}\nmqtt.listeners.tcp.1 = 127.0.0.1:{self.port}\n"
            "mqtt.allow_anonymous = true\n"
        )
        folder = str(self.folder)
        environment = {
            **os.environ,
            "HOME": folder,
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"r{self.port}@localhost",
            "RABBITMQ_CONFIG_FILE": str(config),
            "RABBITMQ_CONF_ENV_FILE": f"{folder}/none",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/enabled_plugins",
            "RABBITMQ_MNESIA_BASE": f"{folder}/mnesia",
            "RABBITMQ_LOG_BASE": f"{folder}/log",
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
        }
        with (self.folder / "out").open("ab") as log:
            process = subprocess.Popen(
                command, stdout=log, stderr=log, env=environment, cwd=folder, start_new_session=True
            )
        self._processes.append(process)

    def _await(self, port: int, end: float) -> None:
        while time.monotonic() < end and self._processes[-1].poll() is None:
            with socket.socket() as sock:
                sock.settimeout(1)
                if sock.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.1)
        raise RuntimeError(f"RabbitMQ did not start:\n{(self.folder / 'out').read_text()[-3000:]}")
