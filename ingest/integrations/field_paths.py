"""Field paths that lead nowhere: a mistake in a row's settings that otherwise nobody would notice."""

import logging
from collections.abc import Mapping

from handlers.paths import FieldPaths

log = logging.getLogger(__name__)

AFTER_MESSAGES = 100
"""Objects in which a path has led to nothing before the log names it."""


def warn_of_missing(integration: str, paths: Mapping[str, str]) -> None:
    """Log the paths of an integration that have matched in none of its first messages, once."""
    if not isinstance(paths, FieldPaths):
        return
    for field in paths.overdue(AFTER_MESSAGES):
        told = "integration %r: field_paths: %s: %r has matched in none of %d messages"
        log.warning(told, integration, field, paths[field], paths.messages)
