"""HTTP: the server with its limits, health and metrics."""
