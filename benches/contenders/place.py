"""Where a contender finds its broker, its session and its database."""

import os
from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Place:
    """What a contender is told, in its environment."""

    database: str
    port: int
    client_id: str
    integration_id: UUID

    @classmethod
    def from_environment(cls) -> "Place":
        """Read what `environment` wrote."""
        env = os.environ
        return cls(
            env["BENCH_DATABASE"],
            int(env["BENCH_PORT"]),
            env["BENCH_CLIENT_ID"],
            UUID(env["BENCH_INTEGRATION_ID"]),
        )

    def environment(self) -> dict[str, str]:
        """Return the environment of the contender's process."""
        return {
            **os.environ,
            "BENCH_DATABASE": self.database,
            "BENCH_PORT": str(self.port),
            "BENCH_CLIENT_ID": self.client_id,
            "BENCH_INTEGRATION_ID": str(self.integration_id),
            "ROLLCALL_DATABASE_URL": self.database,
            "ROLLCALL_LOG_LEVEL": "warning",
            "ROLLCALL_HTTP": "off",
        }


TOPIC = "devices/+/telemetry"
HOST = "127.0.0.1"
SESSION_EXPIRY_S = 86_400
