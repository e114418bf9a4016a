"""Golioth's management API. Contract: tests/providers/contract/golioth-openapi.json."""
