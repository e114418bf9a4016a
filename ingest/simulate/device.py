"""One simulated device: what it measures, which firmware it runs and what it says. No I/O."""

import json
import random
from dataclasses import dataclass, field

FIRST_FIRMWARE = (1, 0, 0)


@dataclass(slots=True)
class Device:
    """A battery device with a radio and a thermometer. Times are seconds since the Unix epoch."""

    name: str
    random: random.Random
    battery: float = 100.0
    rssi: int = -60
    temperature: float = 21.0
    firmware: tuple[int, int, int] = FIRST_FIRMWARE
    asleep_until: float | None = None
    topics: "TopicNames" = field(init=False)

    def __post_init__(self) -> None:
        self.battery = self.random.uniform(30, 100)
        self.rssi = self.random.randint(-95, -45)
        self.topics = TopicNames(self.name)

    def telemetry(self, at: float) -> bytes:
        """Measure, and return a telemetry message of the time `at`."""
        self.battery -= self.random.uniform(0, 0.02)
        if self.battery < 5:
            self.battery = 100.0
        self.rssi = max(-110, min(-40, self.rssi + self.random.randint(-2, 2)))
        self.temperature += self.random.uniform(-0.1, 0.1)
        return json.dumps(
            {
                "battery": round(self.battery),
                "rssi": self.rssi,
                "temperature": round(self.temperature, 1),
                "ts": round(at, 3),
            }
        ).encode()

    def status(self, at: float) -> bytes:
        """Return what it says once it has booted: that it is online, and its firmware."""
        version = ".".join(str(part) for part in self.firmware)
        return json.dumps({"status": "online", "firmware": version, "ts": round(at, 3)}).encode()


@dataclass(frozen=True, slots=True)
class TopicNames:
    """Where a device publishes: Rollcall's default topics."""

    name: str

    @property
    def telemetry(self) -> str:
        """Measurements."""
        return f"devices/{self.name}/telemetry"

    @property
    def connection(self) -> str:
        """Retained `online`; its will says `offline` there."""
        return f"devices/{self.name}/connection"

    @property
    def status(self) -> str:
        """What it says after booting."""
        return f"devices/{self.name}/status"
