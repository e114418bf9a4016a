"""Log lines: one line a record, whatever text a broker, a device or a person put in; and a limit on repeated lines."""

import logging
import traceback
from collections.abc import Callable, Hashable
from time import monotonic

CONTROL = {code: repr(chr(code))[1:-1] for code in (*range(32), *range(127, 160), 0x2028, 0x2029)}
"""Control characters and line separators, written out."""
_BIDIRECTIONAL = (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
"""Marks, embeddings, overrides and isolates, which change the order in which a terminal shows text (UAX 9)."""
_HARMLESS = {ord("\n"), ord("\t")}
ON_ONE_LINE = {**CONTROL, **{code: f"\\u{code:04x}" for code in _BIDIRECTIONAL}}
ON_TERMINAL = {code: text for code, text in ON_ONE_LINE.items() if code not in _HARMLESS}
"""As ON_ONE_LINE, but lines and columns stay what they are."""

EVERY_S = 60.0
MAX_KINDS = 10_000
"""Kinds that are distinguished; while there are more, further ones are not logged."""


class OneLine(logging.Formatter):
    """Writes control characters out, so that no text can forge a line. A traceback keeps its own lines."""

    def formatException(self, ei: object) -> str:  # noqa: N802
        """Return the traceback of a record, without what the database quotes of rows."""
        error = ei[1] if isinstance(ei, tuple) else None
        return traceback_of(error).rstrip().translate(ON_TERMINAL) if isinstance(error, BaseException) else ""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """Return the line of a record."""
        return super().formatMessage(record).translate(ON_ONE_LINE)


def traceback_of(error: BaseException) -> str:
    """Return the traceback of an error and of its causes, without Postgres' DETAIL and HINT: they quote rows."""
    text = "".join(traceback.format_exception(error))
    for one in _chain(error):
        if getattr(one, "sqlstate", None) and one.args and str(one) != one.args[0]:
            text = text.replace(str(one), str(one.args[0]))
    return text


def _chain(error: BaseException) -> list[BaseException]:
    """Return an error with all that it came from."""
    found, waiting = list[BaseException](), [error]
    while waiting:
        one = waiting.pop()
        if all(one is not known for known in found):
            found.append(one)
            more = one.exceptions if isinstance(one, BaseExceptionGroup) else ()
            waiting += [each for each in (one.__cause__, one.__context__, *more) if each is not None]
    return found


class LogLimit:
    """Lets the first line of each kind through, then one every EVERY_S, and counts what happened between."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._kinds: dict[Hashable, tuple[float, int]] = {}
        """When the kind was logged (seconds), and how often it happened since."""

    def count(self, kind: Hashable, happened: int = 1) -> int:
        """Count it; return how often it happened since the last line where one is due now, else 0."""
        now = self._clock()
        known = self._kinds.get(kind)
        if known is not None and now - known[0] < EVERY_S:
            self._kinds[kind] = known[0], known[1] + happened
            return 0
        if known is None and len(self._kinds) >= MAX_KINDS:
            self._kinds = {one: said for one, said in self._kinds.items() if now - said[0] < EVERY_S}
            if len(self._kinds) >= MAX_KINDS:
                return 0
        self._kinds[kind] = now, 0
        return happened + (known[1] if known else 0)
