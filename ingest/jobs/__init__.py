"""Jobs: what one of all replicas does now and then under a lease: sweep, retention, deployments, the outbox."""
