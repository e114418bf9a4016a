"""A broker of one's own."""

from tests.ingest.conftest import mosquitto

__all__ = ["mosquitto"]
