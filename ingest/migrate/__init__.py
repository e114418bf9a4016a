"""Bring a database to what this release needs: files of schema/migrations, forward only, one runner at a time."""

from ingest.migrate.ledger import FileStatus
from ingest.migrate.runner import MigrationReport, migrate, status

__all__ = ["FileStatus", "MigrationReport", "migrate", "status"]
