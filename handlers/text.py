"""Text that Postgres' columns can hold, and its errors for people."""

from handlers.events import (
    MAIN,
    MAX_COMPONENT,
    MAX_COMPONENTS,
    MAX_VERSION,
    DeadReason,
    Decoded,
    FieldError,
)

MAX_ERROR = 300
"""Characters of an error text: it is stored with every dead letter."""
MAX_FIELD, MAX_VALUE = 90, 60
"""Characters of the name (without the index of an entry) and of the value in a field error."""


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


def truncate(text: str, limit: int = 60) -> str:
    """Return `text` short and storable, for use inside an error."""
    if len(text) > limit:
        text = text[: limit - 3] + "..."
    return text.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()


def fitted(text: str, limit: int) -> str:
    """Return `text` in at most `limit` storable characters."""
    return truncate(truncate(text, limit), limit)


def clipped(error: str) -> str:
    """Return `error` in at most MAX_ERROR storable characters."""
    return fitted(error, MAX_ERROR)


def bad_field(field: str, error: str, value: object) -> FieldError:
    """Return the error of a field with the value that could not be used."""
    return FieldError(fitted(field, MAX_FIELD) or '""', clipped(error), fitted(described(value), MAX_VALUE))


def dead(kind: str, error: str) -> Decoded:
    """Return the outcome of a message that means nothing."""
    return Decoded((), (), False, DeadReason(kind, clipped(error)))


def described(value: object) -> str:
    """Return a JSON value as an error names it: short, without its whole content."""
    if value is None:
        return "null"
    if isinstance(value, str):
        return f'"{truncate(value, 40)}"'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return truncate(repr(value), 40)
    return "an object" if isinstance(value, dict) else "an array"


Versions = tuple[tuple[tuple[str, str], ...], str | None]
"""(component, version) pairs by component, and what is wrong with the first of the others."""


def versions(value: object) -> Versions:
    """Read a version, or an object component -> version; each pair that cannot be used costs only itself.

    An object with a key `version` is one version: of the component that its key `component` names, or of `main`.
    A whole number is its digits.
    """
    if isinstance(value, int):
        value = _as_text(value)
    if isinstance(value, str):
        text = value.strip()
        error = text_error(text, MAX_VERSION)
        return ((), f"the version {error}") if error else (((MAIN, text),), None)
    if not isinstance(value, dict):
        told = 'not a version: send text such as "1.4.2" or an object component: version'
        return (), f"is {described(value)}, {told}"
    if "version" in value:
        component = value.get("component")
        value = {component if isinstance(component, str) else MAIN: value["version"]}
    pairs: dict[str, str] = {}
    problem = None
    for name in sorted(value):
        version = _as_text(value[name])
        if version is None:
            continue
        error = _component_error(name.strip(), version)
        if error is None and len(pairs) == MAX_COMPONENTS:
            error = f"has {len(value)} components, the first {MAX_COMPONENTS} by name were kept"
        if error is None:
            pairs.setdefault(name.strip(), str(version).strip())
        problem = problem or error
    return tuple(sorted(pairs.items())), problem


def _as_text(version: object) -> object:
    """Return a whole number as its digits; `1.10` as a number has lost its nought already."""
    return str(version) if version.__class__ is int and 0 <= version < 10**18 else version


def _component_error(name: str, version: object) -> str | None:
    if not isinstance(version, str):
        return f'component "{truncate(name)}" is {described(version)}: send its version as text'
    error = text_error(name, MAX_COMPONENT) or text_error(version.strip(), MAX_VERSION)
    return error and f'component "{truncate(name)}" or its version {error}'


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
