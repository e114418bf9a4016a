"""Faults of sessions: fewer of them, and more again."""

from tests.faults.faults import Fault
from tests.faults.world import World

SLOTS = """
update device_integrations set settings = jsonb_set(settings, '{slots}', to_jsonb($1::int))
where integration_type = 'mqtt'"""
MOST = 4


class SessionFaults:
    """The faults by name."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._chance = world.chance
        self.by_name: dict[str, Fault] = {"fewer slots": self._fewer_slots}

    async def _fewer_slots(self) -> None:
        """Let sessions be retired, at times with a cut link or a killed replica in the midst of it, and taken up again.

        Two stay: where one reads all, others still share with it for a moment, and what has no time comes twice.
        """
        administrator = await self._world.administrator()
        try:
            await administrator.execute(SLOTS, self._chance.randrange(2, MOST))
            await self._world.a_while()
            self._chance.choice((self._world.link.cut, self._world.kill_one, lambda: None))()
            await self._world.a_while()
            await administrator.execute(SLOTS, MOST)
        finally:
            administrator.terminate()
