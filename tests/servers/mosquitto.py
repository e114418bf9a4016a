"""A Mosquitto that a test owns: it can be stopped, frozen, killed and started again with what it persisted."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from tests.servers.postgres import free_port

START_WITHIN_S = 10.0


def binary(name: str) -> str:
    """Return the path of a Mosquitto program, also where sbin is not in PATH."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin:/opt/homebrew/sbin")
    if found is None:
        raise FileNotFoundError(f"{name} is not installed")
    return found


class MosquittoServer:
    """One broker in a folder of its own. `extra` are further lines of its configuration.

    With `users` (name -> password) nobody else gets in.
    """

    def __init__(self, *extra: str, users: Mapping[str, str] | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="rollcall-mqtt-"))
        self.log = self.folder / "log"
        self.host = "127.0.0.1"
        self.port = free_port()
        self.extra = list(extra)
        self._process: subprocess.Popen[bytes] | None = None
        if users:
            self._add_users(users)
        self.extra.append(f"allow_anonymous {'false' if users else 'true'}")

    @property
    def pid(self) -> int:
        """The process id while it runs."""
        assert self._process is not None, "the broker is not running"
        return self._process.pid

    def start(self) -> None:
        """Start and wait until it accepts connections."""
        config = self.folder / "mosquitto.conf"
        config.write_text("\n".join(self._config()) + "\n")
        with self.log.open("ab") as log:
            command = [binary("mosquitto"), "-c", str(config)]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        end = time.monotonic() + START_WITHIN_S
        while time.monotonic() < end and self._process.poll() is None:
            try:
                socket.create_connection((self.host, self.port), timeout=1).close()
            except OSError:
                time.sleep(0.02)
            else:
                return
        self.kill9()
        raise RuntimeError(f"Mosquitto did not start:\n{self.log.read_text()}")

    def stop(self) -> None:
        """Stop in an orderly way: what it holds is persisted."""
        self._end(signal.SIGTERM)

    def kill9(self) -> None:
        """Kill it: what was not persisted is gone."""
        self._end(signal.SIGKILL)

    def saved_at(self) -> float:
        """Return when it has last saved what it holds, in seconds since 1970; 0 where it never has.

        One thread does everything, and none of it while it saves: whatever it has answered before this moment is saved.
        """
        saved = self.folder / "mosquitto.db"
        return saved.stat().st_mtime if saved.exists() else 0.0

    def restart(self) -> None:
        """Stop and start on the same port, with what was persisted."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        """Let it stand still: its sockets stay open and say nothing."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        os.kill(self.pid, signal.SIGCONT)

    def thaw_if_running(self) -> None:
        """Let it go on, where it is there at all."""
        if self._process is not None:
            self.thaw()

    def destroy(self) -> None:
        """Kill it and remove its folder."""
        self.kill9()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _config(self) -> list[str]:
        lines = [f"listener {self.port} {self.host}"]
        if os.geteuid() == 0:
            lines.append("user root")
        return [
            *lines,
            "max_inflight_messages 0",
            "set_tcp_nodelay true",
            "max_queued_messages 2000000",
            "max_queued_bytes 1000000000",
            "persistence true",
            f"persistence_location {self.folder}/",
            *self.extra,
        ]

    def _add_users(self, users: Mapping[str, str]) -> None:
        file = self.folder / "passwords"
        file.touch(mode=0o600)
        for name, password in users.items():
            command = [binary("mosquitto_passwd"), "-b", str(file), name, password]
            subprocess.run(command, check=True, capture_output=True)
        self.extra.append(f"password_file {file}")

    def _end(self, with_signal: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(with_signal)
        if with_signal != signal.SIGKILL:
            process.send_signal(signal.SIGCONT)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
