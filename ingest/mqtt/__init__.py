"""MQTT in: one port (`port.py`), two adapters (`v5.py`, `v311.py`)."""
