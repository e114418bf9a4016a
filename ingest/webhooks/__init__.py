"""Webhooks: who may send, how a request proves itself, and what it is answered once its events are committed."""
