"""Names of fields in errors: as they are kept for a device, and as the few labels that a metric may have."""

import re

from handlers.events import FieldError
from handlers.keys import NAMES, READINGS

OTHER = "other"
"""The label of every name that a device made up."""
FACTS = (
    "cohort_id",
    "golioth_status",
    "hardware_ids",
    "lifecycle",
    "metadata",
    "name",
    "serial_number",
    "tags",
)
_ENTRY = re.compile(r"\[\d+\]\.(?=.)")
LABELS = frozenset((*NAMES.values(), *READINGS, *FACTS, "offline", "readings"))
"""Fields that the dialects and shapes know."""


def field_name(error: FieldError) -> str:
    """Return the name of an error's field without the index of its entry: `[3].battery` is `battery`."""
    name = error.field
    entry = _ENTRY.match(name) if name.startswith("[") else None
    return name[entry.end() :] if entry else name


def field_label(name: str) -> str:
    """Return the label of a field's name: its own or that of its first step where known, else OTHER."""
    if name in LABELS:
        return name
    head = name.partition(".")[0]
    return head if head in LABELS else OTHER
