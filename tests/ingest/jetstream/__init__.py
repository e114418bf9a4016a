"""The JetStream source, on real nats-servers."""
