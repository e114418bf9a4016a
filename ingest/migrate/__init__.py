"""Bring a database to what this release needs: schema/migrations once, schema/functions as they change."""

from ingest.migrate.ledger import FileStatus
from ingest.migrate.runner import MigrationReport, migrate, status

__all__ = ["FileStatus", "MigrationReport", "migrate", "status"]
