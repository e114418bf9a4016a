"""Webhooks: how a request proves itself."""
