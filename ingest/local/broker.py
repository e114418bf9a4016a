"""A broker for this machine: an installed Mosquitto, else amqtt, which keeps nothing over a reconnect."""

import os
import shutil
import sys
from pathlib import Path

from ingest.errors import BrokerAway
from ingest.local.child import Child
from ingest.local.ports import free_port

USUAL_PORT = 1883
START_WITHIN_S = 15.0
SBIN = "/usr/sbin:/usr/local/sbin:/opt/homebrew/sbin:/usr/local/opt/mosquitto/sbin"


def mosquitto() -> str | None:
    """Return the path of an installed Mosquitto, also where sbin is not in PATH."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path=SBIN)


class LocalBroker:
    """One broker on 127.0.0.1, anonymous, with what it persists in `folder`."""

    def __init__(self, folder: Path, program: str | None = None) -> None:
        self.folder = folder
        self.port = 0
        self._program = program or mosquitto()
        self._server: Child | None = None

    @property
    def name(self) -> str:
        """Which broker it is, and what to know about it."""
        return (
            "mosquitto"
            if self._program
            else "amqtt (keeps nothing over a reconnect: install mosquitto for more)"
        )

    @property
    def keeps(self) -> bool:
        """Whether it keeps a session and its messages while nobody is connected."""
        return self._program is not None

    @property
    def protocol(self) -> str:
        """The version of MQTT that it speaks, as the setting `protocol`."""
        return "5" if self._program else "3.1.1"

    @property
    def pid(self) -> int | None:
        """Its pid, while it runs."""
        return self._server.pid if self._server else None

    async def start(self) -> None:
        """Start it and wait until it accepts connections. Raises: BrokerAway."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for attempt in range(3):
            self.port = free_port(USUAL_PORT + 100 * attempt)
            server = Child(self._command(), self.folder.with_suffix(".log"))
            await server.start()
            self._server = server
            if await server.accepts(self.port, START_WITHIN_S):
                return
            await server.stop()
        raise BrokerAway(f"the local broker did not start:\n{server.tail()}")

    async def stop(self) -> None:
        """Stop it in order, so that Mosquitto writes what it holds."""
        if self._server is not None:
            await self._server.stop()

    def _command(self) -> list[str]:
        if self._program is None:
            return [sys.executable, "-m", "ingest.local.amqtt_broker", str(self.port), str(self.folder)]
        config = self.folder / "mosquitto.conf"
        config.write_text("\n".join(mosquitto_config(self.folder, self.port)) + "\n")
        return [self._program, "-c", str(config)]


def mosquitto_config(folder: Path, port: int) -> list[str]:
    """Return what Rollcall needs of Mosquitto: no cap on what is in flight, a long queue, persistence.

    `max_queued_bytes` is not 0, because Mosquitto 2.0.16 then dropped everything (mosquitto #2879).
    """
    return [
        f"listener {port} 127.0.0.1",
        "allow_anonymous true",
        "persistence true",
        f"persistence_location {folder}/",
        "autosave_interval 30",
        "max_inflight_messages 0",
        "set_tcp_nodelay true",
        "max_queued_messages 1000000",
        "max_queued_bytes 1073741824",
        "log_dest stderr",
        *(["user root"] if os.geteuid() == 0 else []),
    ]
