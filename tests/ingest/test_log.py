import logging

import asyncpg
import pytest

from ingest.log import OneLine


def test_a_text_from_outside_cannot_forge_a_line_or_a_colour() -> None:
    said = "m\n2026-01-01 ERROR all is lost\r\x1b[31m\x85\u2028"
    record = logging.LogRecord("ingest", logging.WARNING, "f", 1, "integration %s is away", (said,), None)
    line = OneLine("%(levelname)s %(message)s").format(record)
    assert line == "WARNING integration m\\n2026-01-01 ERROR all is lost\\r\\x1b[31m\\x85\\u2028 is away"


async def test_a_traceback_quotes_no_row_that_the_database_refused(database: str) -> None:
    async def fail() -> None:
        try:
            await connection.execute("insert into odd values ('hunter2', 0)")
        except asyncpg.PostgresError as error:
            raise RuntimeError("it failed") from error

    connection = await asyncpg.connect(database)
    await connection.execute("create temporary table odd (secret text, n int check (n > 0))")
    with pytest.raises(RuntimeError) as failed:
        await fail()
    await connection.close()
    assert "hunter2" in str(failed.value.__cause__)
    record = logging.LogRecord("x", logging.ERROR, "", 0, "failed", None, (RuntimeError, failed.value, None))
    line = OneLine().format(record)
    assert "CheckViolationError" in line
    assert "hunter2'" in line, "the statement's own line is ours"
    assert "Failing row" not in line
