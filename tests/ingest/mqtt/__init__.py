"""One conformance suite for every MQTT adapter."""
