"""Display of `rollcall up`: a live picture in a terminal, plain lines elsewhere."""

import asyncio
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from ingest.cli.output import formatted, say
from ingest.errors import RollcallError
from ingest.store.people.session import session
from ingest.store.people.summary import Event, Summary, summary

if TYPE_CHECKING:
    from ingest.local.stack import Stack
    from ingest.simulate.fleet import Fleet

REFRESH_S = 1.0
RATE_OVER = 5
EVENTS_A_SECOND = 3
"""Of the timeline, as plain lines."""


class Dashboard:
    """Reads a summary every second and shows it."""

    def __init__(self, stack: "Stack", fleet: "Fleet") -> None:
        self._stack = stack
        self._fleet = fleet
        self._console = Console()
        self._committed: list[tuple[float, int]] = []

    def introduce(self) -> None:
        """Print what runs and what to try next."""
        postgres, broker, service = self._stack.postgres, self._stack.broker, self._stack.service
        query = "select name, status, battery_level, firmware_version, last_seen_online from devices"
        message = """'{"battery": 42, "rssi": -60, "firmware": "9.9.9"}'"""
        topic = "devices/my-first-device/telemetry"
        lines = [
            f"Postgres  {postgres.dsn}",
            f"Broker    mqtt://127.0.0.1:{broker.port}  {broker.name}",
            f"Rollcall  pid {service.pid}, http://127.0.0.1:{service.http_port}/readyz and /metrics",
            "",
            "Try next, in another terminal:",
            f'  {postgres.psql} "{postgres.dsn}" -c "{query} order by 1"',
            f"  mosquitto_pub -p {broker.port} -q 1 -t {topic} -m {message}",
            f'  rollcall devices show sim-00001 --database-url "{postgres.dsn}"',
            f"  kill -9 {service.pid}    # it is started again{', and nothing is lost' if broker.keeps else ''}",
            "",
        ]
        print("\n".join(lines), flush=True)

    async def run(self) -> None:
        """Show until cancelled."""
        if not self._console.is_terminal:
            await self._lines()
            return
        with Live(console=self._console, auto_refresh=False) as live:
            while True:
                live.update(self._picture(await self._read()), refresh=True)
                await asyncio.sleep(REFRESH_S)

    async def _lines(self) -> None:
        shown: set[str] | None = None
        while True:
            now = await self._read()
            say(self._line(now) if now else "the database is away")
            if now is not None:
                events = [_event(event) for event in reversed(now.events)]
                fresh = [event for event in events if shown is not None and event not in shown]
                if fresh:
                    say("\n".join(f"  {event}" for event in fresh[-EVENTS_A_SECOND:]))
                shown = set(events)
            await asyncio.sleep(REFRESH_S)

    async def _read(self) -> Summary | None:
        try:
            async with session(self._stack.postgres.dsn) as connection:
                now = await summary(connection)
        except RollcallError:
            return None
        self._committed = [*self._committed[-RATE_OVER:], (time.monotonic(), now.committed)]
        return now

    def _rate(self) -> float:
        (began, first), (ended, last) = self._committed[0], self._committed[-1]
        return (last - first) / (ended - began) if ended > began else 0.0

    def _line(self, now: Summary) -> str:
        firmware = ", ".join(f"{formatted(version)} x{count}" for version, count in now.firmware)
        return (
            f"online {now.online}  offline {now.offline}  published {self._fleet.published}  "
            f"committed {now.committed} ({self._rate():.0f}/s)  dead letters {now.dead_letters}  "
            f"pid {self._stack.service.pid}  restarts {self._stack.service.restarts}  firmware {firmware or '-'}"
        )

    def _picture(self, now: Summary | None) -> Panel:
        if now is None:
            return Panel(Text("the database is away", style="red"), title="rollcall")
        service = self._stack.service
        counts = Table.grid(padding=(0, 3))
        counts.add_row(
            Text(f"{now.online} online", style="bold green"),
            Text(f"{now.offline} offline", style="bold red"),
            f"{now.committed:,} committed",
            f"{self._rate():,.0f}/s",
            f"{now.dead_letters} dead letters",
            f"pid {service.pid or '-'}, {service.restarts} restarts",
        )
        most = max((count for _, count in now.firmware), default=1)
        firmware = Table.grid(padding=(0, 2))
        for version, count in now.firmware:
            firmware.add_row(
                Text(formatted(version)), f"{count}", Text("█" * max(1, 40 * count // most), style="cyan")
            )
        events = Group(*(Text(_event(event), style=_style(event), no_wrap=True) for event in now.events))
        return Panel(
            Group(counts, Text(), firmware, Text(), events), title="rollcall", subtitle="Ctrl-C stops"
        )


def _event(event: Event) -> str:
    at: datetime = event.at
    detail = " ".join(str(value) for value in (event.detail or {}).values())
    line = f"{at.astimezone(UTC):%H:%M:%S}  {event.name}  {event.kind}  {event.component} {detail}"
    return formatted(line.rstrip())


def _style(event: Event) -> str:
    return {"online": "green", "offline": "red", "firmware": "cyan"}.get(event.kind, "yellow")
