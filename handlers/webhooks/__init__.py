"""Webhook shapes: a decoder a file, from the bytes and headers of a request to events."""
