import logging

from ingest.log import OneLine


def test_a_text_from_outside_cannot_forge_a_line_or_a_colour() -> None:
    said = "m\n2026-01-01 ERROR all is lost\r\x1b[31m\x85\u2028"
    record = logging.LogRecord("ingest", logging.WARNING, "f", 1, "integration %s is away", (said,), None)
    line = OneLine("%(levelname)s %(message)s").format(record)
    assert line == "WARNING integration m\\n2026-01-01 ERROR all is lost\\r\\x1b[31m\\x85\\u2028 is away"
