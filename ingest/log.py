"""The log's lines: one a record, whatever a broker, a device or a person put into a text that is logged."""

import logging

CONTROL = {code: repr(chr(code))[1:-1] for code in (*range(32), *range(127, 160), 0x2028, 0x2029)}
"""Control characters and line separators, written out."""


class OneLine(logging.Formatter):
    """Writes control characters out, so that no text can forge a line. A traceback keeps its own lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """Return the line of a record."""
        return super().formatMessage(record).translate(CONTROL)
