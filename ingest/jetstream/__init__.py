"""MQTT publishes out of a NATS cluster's JetStream, which the extra `nats` brings. Imported when used."""
