"""Rights to migrate: the owner of the platform's tables, who need not be a superuser."""

import itertools
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from ingest.errors import MigrationRefused
from ingest.migrate import migrate
from tests.ingest.migrate.conftest import run
from tests.ingest.migrate.platforms import BEFORE, WHOLE, build

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Role:
    name: str
    database: str

    @property
    def dsn(self) -> str:
        return self.database.replace("postgres@", f"{self.name}@")

    async def own_the_platform(self) -> None:
        rows = await run(
            self.database,
            """select format('alter %s public.%I%s owner to ', what, name, arguments) from (
                select 'table' as what, relname as name, '' as arguments from pg_class
                where relnamespace = 'public'::regnamespace and relkind = 'r'
                union all select 'type', 'device_status', ''
                union all select 'function', proname, '(' || pg_get_function_identity_arguments(oid) || ')'
                from pg_proc where pronamespace = 'public'::regnamespace) as owned""",
        )
        for (statement,) in rows:
            await run(self.database, statement + self.name)
        await run(self.database, f"grant create on schema public to {self.name}")
        await run(
            self.database, f"grant create on database {self.database.rpartition('/')[2]} to {self.name}"
        )


@pytest.fixture
async def role(empty_database: str) -> AsyncIterator[Role]:
    """A login role without any right of its own."""
    made = Role(f"owner_{os.getpid()}_{next(_numbers)}", empty_database)
    await run(empty_database, f"create role {made.name} login")
    yield made
    await run(empty_database, f"drop owned by {made.name} cascade")
    await run(empty_database, f"drop role {made.name}")


@pytest.mark.parametrize("older", [BEFORE, WHOLE])
async def test_an_owner_who_may_not_see_the_platforms_users_migrates_without_referencing_them(
    older: int, role: Role
) -> None:
    await build(role.database, older)
    await role.own_the_platform()
    report = await migrate(role.dsn)
    assert (report.skipped, report.warnings) == ((), ())
    assert await run(role.dsn, "select count(*) from devices") == [(2,)]
    ours = "select count(*) from pg_constraint where confrelid = 'auth.users'::regclass"
    assert await run(role.database, ours) == [(0 if older == BEFORE else 3,)]


async def test_a_role_that_owns_nothing_is_refused_and_told_who_should_migrate(role: Role) -> None:
    await build(role.database, BEFORE)
    with pytest.raises(MigrationRefused, match="owner"):
        await migrate(role.dsn)
    await run(role.database, f"grant select on all tables in schema public to {role.name}")
    await run(role.database, f"create policy all_rows on devices for select to {role.name} using (true)")
    name = role.database.rpartition("/")[2]
    await run(role.database, f"grant create on database {name} to {role.name}")
    with pytest.raises(MigrationRefused, match=r"2026.*owner"):
        await migrate(role.dsn)
