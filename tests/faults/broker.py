"""Faults of the broker, and the messages that each leaves in doubt."""

import asyncio
import time

import aiomqtt

from tests.faults.faults import Fault
from tests.faults.hearing import Hearing
from tests.faults.world import World
from tests.waiting import until

HEARD = """
select client_id, heard_until / 1e6 as heard_until from rollcall.mqtt_sessions
where heard_until is not null and client_id like 'rollcall-%' order by 1"""
CONNECTED = """
select count(*) from rollcall.mqtt_sessions
where client_id like 'rollcall-%' and connected_at > to_timestamp($1)"""
GAPS = "select count(*) from rollcall.device_events where kind = 'gap'"
GAP_WITHIN_S = SHARED_WITHIN_S = 20.0
SAVED_WITHIN_S = 10.0
"""Mosquitto saves every second here, where anything has changed."""
CLOCK_TICK_S = 0.02
"""By how much a file's time may be behind the clock."""


class BrokerFaults:
    """The faults by name."""

    def __init__(self, world: World, hearing: Hearing) -> None:
        self._world = world
        self._hearing = hearing
        self._chance = world.chance
        self.by_name: dict[str, Fault] = {
            "kill the broker": self._kill_broker,
            "restart the broker": self._restart_broker,
            "freeze the broker": self._freeze_broker,
            "discard a session": self._discard,
        }

    async def _kill_broker(self) -> None:
        """Kill it: it comes back as it was when it last saved.

        What it has acknowledged since may be missing. And it may send again what it held then, though it had been
        answered since: in a packet that nobody can recognise where it had not been sent yet.
        """
        broker, devices = self._world.broker, self._world.devices
        await asyncio.to_thread(broker.kill9)
        saved_at, ended_at = broker.saved_at(), time.time()
        await asyncio.to_thread(broker.start)
        await self._share_again(ended_at)
        devices.may_be_missing(saved_at)
        devices.may_be_doubled(self._hearing.before(saved_at), saved_at + CLOCK_TICK_S)
        await self._saved_since(time.time())

    async def _restart_broker(self) -> None:
        """Stop it in an orderly way and start it: it keeps all it has acknowledged, but see `_share_again`."""
        began = time.time()
        await asyncio.to_thread(self._world.broker.restart)
        await self._share_again(began)
        self._world.devices.may_be_missing(began, only_shared=True)

    async def _saved_since(self, moment: float) -> None:
        """Wait until the broker has saved: killed later, it does not come back as it was before."""

        async def saved() -> bool:
            return self._world.broker.saved_at() > moment

        await until(saved, SAVED_WITHIN_S, "the broker has saved what it holds")

    async def _share_again(self, since: float) -> None:
        """Wait until a session has subscribed again.

        Mosquitto 2.0.11 forgets who shares a subscription when it ends: until then it gives such messages to nobody.
        """
        administrator = await self._world.administrator()

        async def shares() -> bool:
            return bool(await administrator.fetchval(CONNECTED, since))

        try:
            await until(shares, SHARED_WITHIN_S, "a session has subscribed again")
        finally:
            await administrator.close()

    async def _freeze_broker(self) -> None:
        self._world.broker.freeze()
        try:
            await self._world.a_while()
        finally:
            self._world.broker.thaw()

    async def _discard(self) -> None:
        """Let the broker forget a session while nobody is connected: what it held for it is lost, which Rollcall says.

        What was acknowledged before the session's newest committed marker was committed, too: all since is in doubt.
        """
        administrator = await self._world.administrator()
        link = self._world.link
        try:
            sessions = await administrator.fetch(HEARD)
            if not sessions:
                return
            client_id, heard_until = self._chance.choice(sessions)
            gaps = await administrator.fetchval(GAPS)
            link.refusing = True
            link.cut()
            await self._forget(client_id)
            forgotten_at = time.time()
            link.refusing = False
            if self._chance.random() < 0.5:
                await asyncio.sleep(self._chance.uniform(0, 0.5))
                self._world.kill_one()

            async def told() -> bool:
                return bool(await administrator.fetchval(GAPS) > gaps)

            await until(told, GAP_WITHIN_S, f"the timeline tells that the session {client_id} was lost")
            only_shared = not client_id.endswith("-0")  # the first slot alone reads connections
            self._world.devices.may_be_missing(float(heard_until), only_shared=only_shared)
            await self._saved_since(forgotten_at)
        finally:
            link.refusing = False
            await administrator.close()

    async def _forget(self, client_id: str) -> None:
        async with aiomqtt.Client(
            "127.0.0.1", self._world.broker.port, identifier=client_id, clean_start=True,
            protocol=aiomqtt.ProtocolVersion.V5, timeout=5,
        ):  # fmt: skip
            pass  # without an expiry the session ends with its connection
