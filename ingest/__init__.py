"""Rollcall: the part that does things. Start reading in `ingest/app.py`."""

__version__ = "0.1.0"
