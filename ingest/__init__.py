"""Rollcall: the part that does things. Start reading in `ingest/app/__init__.py`."""

__version__ = "0.1.0"
