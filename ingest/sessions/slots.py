"""The slots of one integration in this process: each a session under its lease, as many as are its fair share.

Every replica that runs the integration renews a lease that says so; a few times within its term it looks who lives and
who holds what, and takes up or lets go (ingest/sessions/assignment.py). A replica that stops gives its
leases back; one that dies loses them by time. Slots besides 0 exist only while slot 0 shares its telemetry. Sessions
that are none of the slots are retired by whichever replica gets their lease.
"""

import asyncio
import contextlib
import logging
import random
from typing import NamedTuple

from ingest.errors import RollcallError, SessionTakenOver
from ingest.integrations.plans import SessionPlan
from ingest.mqtt.port import Clock, Connection
from ingest.pipeline.intake import Intake
from ingest.sessions.assignment import rebalance
from ingest.sessions.session import Session
from ingest.store.commit.sessions import Sessions, SlotOwnership

log = logging.getLogger(__name__)

ISOLATED_S = 60.0
"""How long a replica leaves a slot alone that was taken over from it, or all of them where it reaches no broker."""


class Running(NamedTuple):
    """A session that runs."""

    session: Session
    task: asyncio.Task[None]


class Slots:
    """Runs its share of a plan's slots until cancelled."""

    def __init__(
        self,
        plan: SessionPlan,
        sessions: Sessions,
        intake: Intake,
        clock: Clock,
        holder: str,
        jitter: random.Random,
    ) -> None:
        self._plan = plan
        self._sessions = sessions
        self._intake = intake
        self._clock = clock
        self._holder = holder
        self._jitter = jitter
        self._leases = [plan.of(slot).lease for slot in range(plan.slots)]
        self._replicas = f"replica/{plan.integration_id}/"
        self._retiring: dict[str, Running] = {}
        """By client id: sessions that are none of the slots any more."""
        self._running: dict[int, Running] = {}
        self._isolated_until = 0.0
        self._waits = False
        self._barred_until: dict[str, float] = {}
        """By client id: sessions that were taken over from us."""
        self._slots = 1

    @property
    def held(self) -> list[int]:
        """The slots that this process holds."""
        return sorted(slot for slot, (session, _) in self._running.items() if session.leased)

    @property
    def client_ids(self) -> list[str]:
        """The client ids of all slots there are, over all replicas."""
        return [self._plan.of(slot).broker.client_id for slot in range(self._slots)]

    @property
    def connection(self) -> Connection | None:
        """A connection of any of the sessions here, where there is one."""
        connections = (session.connection for session, _ in self._running.values())
        return next((one for one in connections if one is not None), None)

    async def run(self) -> None:
        """Look, acquire and release until cancelled; at the end release everything."""
        try:
            while True:
                try:
                    await self._look()
                except RollcallError as error:
                    log.warning("integration %s: its slots cannot be read: %s", self._plan.name, error)
                await asyncio.sleep(self._jitter.uniform(0.7, 1.0) * self._plan.lease_ttl_s / 3)
        finally:
            await self._stop()

    async def _look(self) -> None:
        await self._renew_or_withdraw()
        slot_ownership = await self._sessions.slot_ownership(
            self._plan.integration_id, self._replicas, self._leases
        )
        first = slot_ownership.subscriptions.get(self._plan.of(0).broker.client_id, ())
        shares = any(one.startswith(self._plan.group) for one in first)
        self._slots = self._plan.slots if shares else 1
        self._reap()
        if not first and self._is_read_under_former_names(slot_ownership):
            return
        moves = rebalance(
            self._holder,
            self._running.keys(),
            self._holders(slot_ownership),
            self._living(slot_ownership),
            self._slots,
        )
        for slot in moves.release:
            await self._let_go(slot)
        for slot in moves.acquire:
            await self._take_up(slot)
        if first:
            self._retire(slot_ownership)

    def _is_read_under_former_names(self, slot_ownership: SlotOwnership) -> bool:
        """Return whether a replica still reads what we would: one of an older release, or with settings of before.

        Both would apply each message. Asked only as long as there is no session under the names of now.
        """
        former = slot_ownership.held - {
            self._plan.of(slot).broker.client_id for slot in range(self._plan.slots)
        }
        if former and not self._waits:
            log.info(
                "integration %s: waits for the replica that reads it under former names", self._plan.name
            )
        self._waits = bool(former)
        return self._waits

    def _holders(self, slot_ownership: SlotOwnership) -> dict[int, str]:
        """Return who holds which slot; one that was taken over from us counts as held for a while."""
        slots = range(self._plan.slots)
        barred = {n: "somebody" for n in slots if self._is_barred(self._plan.of(n).broker.client_id)}
        held = {
            n: slot_ownership.holders[one]
            for n, one in enumerate(self._leases)
            if one in slot_ownership.holders
        }
        return barred | held

    def _is_barred(self, client_id: str) -> bool:
        return self._barred_until.get(client_id, 0.0) > asyncio.get_running_loop().time()

    def _living(self, slot_ownership: SlotOwnership) -> set[str]:
        """Return the replicas among which the slots are shared; a replica with no others is never apart."""
        others = {one.removeprefix(self._replicas) for one in slot_ownership.replicas} - {self._holder}
        isolated = asyncio.get_running_loop().time() < self._isolated_until
        return others if isolated and others else others | {self._holder}

    async def _renew_or_withdraw(self) -> None:
        """Count among the living; but not while none of the sessions here gets through to the broker."""
        now = asyncio.get_running_loop().time()
        if self._running:
            failing = all(session.failing for session, _ in self._running.values())
            self._isolated_until = now + ISOLATED_S if failing else 0.0
        name = self._replicas + self._holder
        if now < self._isolated_until:
            await self._sessions.release(name, self._holder)
        else:
            await self._sessions.lease(name, self._holder, self._plan.lease_ttl_s)

    async def _take_up(self, slot: int) -> None:
        plan = self._plan.of(slot)
        await self._end(self._retiring.pop(plan.broker.client_id, None))
        self._running[slot] = self._started(plan)

    def _started(self, plan: SessionPlan) -> Running:
        session = Session(plan, self._sessions, self._intake, self._clock, self._holder, self._jitter)
        task = asyncio.create_task(session.run(), name=f"session {plan.name}")
        return Running(session, task)

    def _reap(self) -> None:
        """Forget the sessions that have ended by themselves: another replica, or somebody else, has them."""
        for slot, (_, task) in list(self._running.items()):
            if task.done():
                del self._running[slot]
                self._look_why(self._plan.of(slot).broker.client_id, task)
        for client_id, (_, task) in list(self._retiring.items()):
            if task.done():
                del self._retiring[client_id]
                self._look_why(client_id, task)

    def _look_why(self, client_id: str, ended: asyncio.Task[None]) -> None:
        error = ended.exception()
        if isinstance(error, SessionTakenOver):
            self._barred_until[client_id] = asyncio.get_running_loop().time() + ISOLATED_S
        elif error is not None:
            log.error("integration %s: a session failed", self._plan.name, exc_info=error)

    async def _let_go(self, slot: int) -> None:
        """End a session: what is in hand is committed and acknowledged, and its lease is given back."""
        await self._end(self._running[slot])
        del self._running[slot]

    async def _end(self, running: Running | None) -> None:
        if running is not None:
            running.task.cancel()
            await asyncio.gather(running.task, return_exceptions=True)

    def _retire(self, slot_ownership: SlotOwnership) -> None:
        """Retire, beside everything else, the sessions that are none of the slots."""
        for client_id in slot_ownership.subscriptions.keys() - {*self.client_ids, *self._retiring}:
            if not self._is_barred(client_id):
                self._retiring[client_id] = self._started(self._plan.retired(client_id))

    async def _stop(self) -> None:
        await asyncio.gather(*(self._end(running) for running in self._retiring.values()))
        await asyncio.gather(*(self._let_go(slot) for slot in list(self._running)))
        with contextlib.suppress(RollcallError):  # it expires by itself
            await self._sessions.release(self._replicas + self._holder, self._holder)
