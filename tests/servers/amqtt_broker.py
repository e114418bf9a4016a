"""amqtt (MQTT 3.1.1 only) in a process of its own."""

import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from tests.servers.postgres import free_port

START_WITHIN_S = 20.0
_PROGRAM = """
import asyncio, sys
from amqtt.broker import Broker
from amqtt.contexts import BrokerConfig

async def main():
    plugins = {"amqtt.plugins.authentication.FileAuthPlugin": {"password_file": sys.argv[2]}} if sys.argv[2:] else {
        "amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}
    config = {"listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{sys.argv[1]}"}}, "plugins": plugins}
    broker = Broker(config)
    await broker.start()
    await asyncio.Event().wait()

asyncio.run(main())
"""

_hasher = PasswordHash((Argon2Hasher(),))


class AmqttBroker:
    """Owns one amqtt. `users` (name -> password) are the only ones let in."""

    def __init__(self, users: dict[str, str] | None = None) -> None:
        self.port = free_port()
        self._users = users
        self._folder = tempfile.TemporaryDirectory(prefix="amqtt-")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and wait until it accepts connections."""
        arguments = [str(self.port)]
        if self._users:
            passwords = Path(self._folder.name) / "passwords"
            lines = [f"{name}:{_hasher.hash(word)}" for name, word in self._users.items()]
            passwords.write_text("\n".join(lines) + "\n")
            arguments.append(str(passwords))
        log = (Path(self._folder.name) / "log").open("wb")
        with log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, *arguments], stdout=log, stderr=subprocess.STDOUT
            )
        end = time.monotonic() + START_WITHIN_S
        while not self._accepts():
            assert time.monotonic() < end, "amqtt does not listen"
            time.sleep(0.02)

    def destroy(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
        self._folder.cleanup()

    def _accepts(self) -> bool:
        assert self._process is not None
        log = Path(self._folder.name) / "log"
        assert self._process.poll() is None, f"amqtt ended: {log.read_text()[-2000:]}"
        with socket.socket() as sock:
            sock.settimeout(1)
            return sock.connect_ex(("127.0.0.1", self.port)) == 0
