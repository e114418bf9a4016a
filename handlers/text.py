"""What Postgres' text columns can hold, as errors for people."""

MAX_ERROR = 300
"""Characters of an error text: it is stored with every dead letter."""


def text_error(text: str, limit: int) -> str | None:
    """Say why `text` does not fit a column of `limit` characters, or return None."""
    if not text:
        return "is empty"
    if len(text) > limit:
        return f"has {len(text)} characters, at most {limit} fit"
    if "\0" in text:
        return "contains a NUL character, which Postgres cannot store"
    if not text.isascii() and not _encodable(text):
        return "contains a lone surrogate, which is not a character"
    return None


def shown(text: str, limit: int = 60) -> str:
    """Return `text` short and storable, for use inside an error."""
    if len(text) > limit:
        text = text[: limit - 3] + "..."
    return text.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()


def clipped(error: str) -> str:
    """Return `error` in at most MAX_ERROR storable characters."""
    return shown(shown(error, MAX_ERROR), MAX_ERROR)


def described(value: object) -> str:
    """Return a JSON value as an error names it: short, without its whole content."""
    if value is None:
        return "null"
    if isinstance(value, str):
        return f'"{shown(value, 40)}"'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return shown(repr(value), 40)
    return "an object" if isinstance(value, dict) else "an array"


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
